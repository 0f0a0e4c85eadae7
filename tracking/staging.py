"""Files on their way into a run lie in the home: they come into place in one step, and what a kill leaves is swept."""

import os
import re
import shutil
import socket
import tempfile
from pathlib import Path
from types import TracebackType

from tracking.errors import InputError
from tracking.files import lock_file
from tracking.home import Home, check_writable

FOLDER = ".staging"  # in the home, so that no other disk is filled, and a file is moved rather than copied to its place
PREFIX = "study-"


def staging(home: Home) -> "Folder":
    """A context manager whose value is a folder for files on their way into a run."""
    check_writable(home)
    parent = home.path / FOLDER
    parent.mkdir(parents=True, exist_ok=True)
    return Folder(parent)


def scratch() -> "Folder":
    """The same outside of any home, for what is only tried."""
    return Folder(Path(tempfile.gettempdir()))


class Folder(tempfile.TemporaryDirectory):
    """A folder named after its process, and locked for as long as that lives."""

    def __init__(self, parent: Path) -> None:
        super().__init__(dir=parent, prefix=f"{PREFIX}{socket.gethostname()}.{os.getpid()}.")
        self._opened = os.open(self.name, os.O_RDONLY)
        lock_file(self._opened, shared=True)

    def __enter__(self) -> Path:
        return Path(super().__enter__())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        os.close(self._opened)
        super().__exit__(kind, error, traceback)


def put(home: Home, local: Path, place: Path) -> None:
    """Replace `place` by a copy of a file in one step, with the mode that the umask says, unlike temporary files."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with staging(home) as folder:
        os.replace(shutil.copyfile(local, folder / place.name), place)


def sweep(home: Home) -> None:
    """Remove what processes of this user and this machine left when they were killed."""
    for parent in (home.path / FOLDER, Path(tempfile.gettempdir())):
        for folder in parent.glob(f"{PREFIX}{socket.gethostname()}.*"):
            if _is_left(folder):
                shutil.rmtree(folder, ignore_errors=True)


def _is_left(folder: Path) -> bool:
    """Whether the folder's process is gone: nobody has its number, nor its lock, as one in a container may."""
    number = re.fullmatch(r".*\.(\d+)\.\w+", folder.name)
    try:
        if number is None or folder.stat().st_uid != os.geteuid() or _is_alive(int(number[1])):
            return False
        opened = os.open(folder, os.O_RDONLY)
        try:
            return lock_file(opened, shared=False)
        finally:
            os.close(opened)
    except (OSError, InputError):  # it cannot be known
        return False


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True
