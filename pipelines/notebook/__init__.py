"""A study in Python and in notebooks: `tracking.open(home)`."""
