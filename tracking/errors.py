"""Errors that commands print as one line instead of a traceback."""

STORES = ("mlflow", "sqlalchemy", "sqlite3", "duckdb", "_duckdb", "pyarrow")  # by name, as importing them takes seconds


class InputError(ValueError):
    """Wrong input, exit code 2. The message says what is wrong, what there is, and what to do."""


class RunError(RuntimeError):
    """A run that could not be finished, exit code 1. The message says why and how to go on."""


def from_outside(error: BaseException) -> str | None:
    """In words what the disk, memory, a database or a server refused; None for any other error."""
    if isinstance(error, MemoryError):
        return "there is not enough memory"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    if isinstance(error, OSError) or type(error).__module__.split(".")[0] in STORES:
        return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return None
