"""InstanceFlow: the page, and the JSON format of its logs."""
