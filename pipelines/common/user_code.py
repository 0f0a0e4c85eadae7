"""Code of the user's own: how it is imported, and how its errors are reported."""

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tracking.errors import InputError

LONGEST_REASON = 300  # characters


def import_factory(name: str, what: str) -> Callable[..., Any]:
    """What `package.module:factory` names, which makes a `what`. Raises InputError if there is no such function.

    The current folder is searched last, so that nothing in it replaces an installed package.
    """
    module, _, function = name.partition(":")
    if "" not in sys.path:
        sys.path.append("")
    try:
        with errors_reported(f"cannot find {what} {name}"):
            return getattr(importlib.import_module(module), function)
    except InputError as error:
        if f"No module named {module.partition('.')[0]!r}" not in str(error):
            raise
        raise InputError(
            f"{error}; install it, run study in the folder that contains it, or add that folder to PYTHONPATH"
        ) from None


@contextmanager
def errors_reported(problem: str) -> Iterator[None]:
    """Any error of the user's code inside becomes an InputError: `problem`, then the reason, in one line."""
    try:
        yield
    except (InputError, MemoryError):
        raise
    except (Exception, SystemExit) as error:
        raise InputError(f"{problem}: {describe_error(error)}") from None


def describe_error(error: BaseException) -> str:
    """Class and message of an error, in one line."""
    reason = " ".join(str(error).split())[:LONGEST_REASON]
    return f"{type(error).__name__}: {reason}" if reason else type(error).__name__
