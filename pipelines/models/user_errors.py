"""Errors of a model of the user's own, told from ours by where they were raised, so that commands end with one line."""

import os
import sysconfig
import traceback
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from types import FrameType

OURS = ("pipelines", "xai", "tracking", "queries")
INSTALLED = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
CALL = "_call_impl"  # of torch.nn.Module: every forward pass of a part of a network, compiled ones too, goes through it
LONGEST = 300  # characters of a reason


@dataclass(frozen=True)
class UserModel:
    """A network that package.module:factory made."""

    name: str
    classes: frozenset[type]  # of all its parts

    def made(self, frame: FrameType) -> bool:
        """Whether code that runs for this network is in the frame: a file of the user's, its package, its forward."""
        packages = {_package(self.name.partition(":")[0])} | {_package(part.__module__) for part in self.classes}
        called = frame.f_code.co_name == CALL and type(frame.f_locals.get("self")) in self.classes
        return called or _is_users(frame.f_code.co_filename) or _package_of(frame) in packages - {"torch"}


IN_USE: ContextVar[UserModel | None] = ContextVar("own model of this process", default=None)


def watch_model(name: str, classes: Iterable[type]) -> None:
    """Whose errors are looked for from now on."""
    IN_USE.set(UserModel(name, frozenset(classes)) if ":" in name else None)


def describe_model_error(error: BaseException) -> str | None:
    """What the own model in use raised, in one line; None for any other error, also for one of ours inside its pass.

    Of the frames that led to the error, the innermost that is the model's or ours decides.
    """
    model = IN_USE.get()
    if model is None or isinstance(error, MemoryError):
        return None
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        if _package_of(frame) in OURS:
            return None
        if model.made(frame):
            place = f"{os.path.basename(frame.f_code.co_filename)}, line {line}"
            return f"model {model.name} raised {describe_error(error)} ({place})"
    return None


def describe_error(error: BaseException) -> str:
    """Class and message of an error, in one line."""
    reason = " ".join(str(error).split())[:LONGEST]
    return f"{type(error).__name__}: {reason}" if reason else type(error).__name__


def _package_of(frame: FrameType) -> str:
    return _package(frame.f_globals.get("__name__", ""))


def _package(module: str) -> str:
    return module.partition(".")[0]


def _is_users(file: str) -> bool:
    """Whether a source file is neither installed nor Python's own; compiled libraries name files that are not there."""
    installed = any(part in file for part in INSTALLED) or file.startswith(sysconfig.get_path("stdlib") + os.sep)
    return os.path.isfile(file) and not installed
