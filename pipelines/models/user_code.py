"""Code of the user's that a training runs: found, kept from raising tracebacks, and known by its digest."""

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from torch import nn

from pipelines.models.user_errors import describe_error
from tracking.errors import InputError
from tracking.files import sha256

RECORDED = ("torch", "torchvision", "pipelines")  # packages whose versions a run records anyway


def import_factory(name: str) -> Callable[..., nn.Module]:
    """What `package.module:factory` names. Raises InputError if there is no such module or function.

    The current folder is searched too, last, so that nothing in it replaces an installed package.
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
            f"{error}; install it, run study in the folder it lies in, or put that on PYTHONPATH"
        ) from None


@contextmanager
def errors_reported(what: str) -> Iterator[None]:
    """Whatever the user's code raises inside becomes an InputError: `what`, then the reason in one line."""
    try:
        yield
    except (InputError, MemoryError):
        raise
    except (Exception, SystemExit) as error:
        raise InputError(f"{what}: {describe_error(error)}") from None


def digest_code(name: str, model: nn.Module) -> dict[str, str]:
    """By module, the sha256 of the source files that the model `name` is made by; torch's and ours are left out."""
    own = [name.partition(":")[0]] if ":" in name else []
    modules = {*own, *(type(part).__module__ for part in model.modules())}
    files = {module: getattr(sys.modules.get(module), "__file__", None) for module in sorted(modules)}
    return {
        module: sha256(Path(file))
        for module, file in files.items()
        if module.partition(".")[0] not in RECORDED and file and Path(file).is_file()
    }
