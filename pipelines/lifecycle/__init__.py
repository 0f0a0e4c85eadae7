"""How a run begins, is read back from its own record, is reopened and ends."""
