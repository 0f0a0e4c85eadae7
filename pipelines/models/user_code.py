"""The user's own code in a training: how it is imported, how its errors are reported, and its digest."""

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from torch import nn

from pipelines.models.user_errors import describe_error
from tracking.errors import InputError
from tracking.files import sha256

VERSIONED_PACKAGES = ("torch", "torchvision", "pipelines")  # a run records their versions, so needs no digests


def import_factory(name: str) -> Callable[..., nn.Module]:
    """What `package.module:factory` names. Raises InputError if there is no such module or function.

    The current folder is searched last, so that nothing in it replaces an installed package.
    """
    module, _, function = name.partition(":")
    if "" not in sys.path:
        sys.path.append("")
    try:
        with errors_reported(f"cannot find model {name}"):
            return getattr(importlib.import_module(module), function)
    except InputError as error:
        if f"No module named {module.partition('.')[0]!r}" not in str(error):
            raise
        raise InputError(
            f"{error}; install it, run study in the folder that contains it, or add that folder to PYTHONPATH"
        ) from None


@contextmanager
def errors_reported(problem: str) -> Iterator[None]:
    """Whatever the user's code raises inside becomes an InputError: `problem`, then the reason, in one line."""
    try:
        yield
    except (InputError, MemoryError):
        raise
    except (Exception, SystemExit) as error:
        raise InputError(f"{problem}: {describe_error(error)}") from None


def digest_code(name: str, model: nn.Module) -> dict[str, str]:
    """The sha256 of each source file that the model `name` is made of, by module; not of torch's and ours."""
    modules = {type(part).__module__ for part in model.modules()}
    if ":" in name:
        modules.add(name.partition(":")[0])
    digests = {}
    for module in sorted(modules):
        file = getattr(sys.modules.get(module), "__file__", None)
        is_versioned = module.partition(".")[0] in VERSIONED_PACKAGES
        if not is_versioned and file and Path(file).is_file():
            digests[module] = sha256(Path(file))
    return digests
