"""Errors that a user's model raises, told from ours by where they were raised, so that commands end with one line."""

import os
import sysconfig
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import FrameType

from pipelines.common.user_code import describe_error

OUR_PACKAGES = ("pipelines", "xai", "tracking", "queries")
INSTALL_FOLDERS = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
MODULE_CALL = "_call_impl"  # the function of torch.nn.Module that every forward pass goes through, compiled ones too


@dataclass(frozen=True)
class UserModel:
    """A network that package.module:factory made."""

    name: str
    classes: frozenset[type]  # of all its modules

    def runs_in(self, frame: FrameType) -> bool:
        """Whether a frame runs code of this network: a file of the user's, its package, or a forward pass of it."""
        code = frame.f_code
        if code.co_name == MODULE_CALL and type(frame.f_locals.get("self")) in self.classes:
            return True
        packages = {_top_package(self.name.partition(":")[0])}
        packages |= {_top_package(module_class.__module__) for module_class in self.classes}
        packages -= {"torch"}
        return _is_users_file(code.co_filename) or _package_of(frame) in packages


WATCHED: ContextVar[UserModel | None] = ContextVar("the user's model that the command works on", default=None)


@contextmanager
def watching_own_model() -> Iterator[None]:
    """Inside, a command watches the models that it builds itself, and none of an earlier command in this process."""
    outer = WATCHED.set(None)
    try:
        yield
    finally:
        WATCHED.reset(outer)


def watch_model(name: str, classes: Iterable[type]) -> None:
    """Tell errors of this model from ours until the command ends; of none, if the model is built in."""
    WATCHED.set(UserModel(name, frozenset(classes)) if ":" in name else None)


def describe_model_error(error: BaseException) -> str | None:
    """What the watched model raised, in one line; None for any other error, including ours inside its forward pass.

    Of the frames that led to the error, the innermost one that is the model's or ours decides.
    """
    model = WATCHED.get()
    if model is None or isinstance(error, MemoryError):
        return None
    frames = list(traceback.walk_tb(error.__traceback__))
    for frame, line in reversed(frames):
        if _package_of(frame) in OUR_PACKAGES:
            return None
        if model.runs_in(frame):
            place = f"{os.path.basename(frame.f_code.co_filename)}, line {line}"
            return f"model {model.name} raised {describe_error(error)} ({place})"
    return None


def _package_of(frame: FrameType) -> str:
    return _top_package(frame.f_globals.get("__name__", ""))


def _top_package(module: str) -> str:
    return module.partition(".")[0]


def _is_users_file(file: str) -> bool:
    """Whether a source file is neither installed nor Python's own; compiled libraries name missing files."""
    is_installed = any(folder in file for folder in INSTALL_FOLDERS)
    is_pythons = file.startswith(sysconfig.get_path("stdlib") + os.sep)
    return os.path.isfile(file) and not is_installed and not is_pythons
