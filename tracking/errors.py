"""Errors that commands print as one line instead of a traceback."""


class InputError(ValueError):
    """Wrong input, exit code 2. The message says what is wrong, what there is, and what to do."""


class RunError(RuntimeError):
    """A run that could not be finished, exit code 1. The message says why and how to go on."""
