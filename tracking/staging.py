"""Folders for files on their way into a run. Files are moved into place in one step; what a kill leaves is removed."""

import os
import re
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

from tracking.errors import InputError
from tracking.file_locks import lock_file
from tracking.home import Home, check_writable

FOLDER = ".staging"  # in the home, so that files can be moved into place without a copy and no other disk fills up
PREFIX = "study-"


def staging_folder(home: Home) -> "Folder":
    """A context manager that yields the path of a folder for files on their way into a run."""
    check_writable(home)
    parent = home.path / FOLDER
    parent.mkdir(parents=True, exist_ok=True)
    return Folder(parent)


@contextmanager
def unmade_home_removed(home: Home) -> Iterator[None]:
    """After an error, a home in which no run was started is as it was: without pictures that were decoded for one."""
    parts = (home.pictures, home.data, home.path / FOLDER, home.path, *home.path.parents)
    new = [folder for folder in parts if not folder.exists()]
    try:
        yield
    except BaseException:
        if not home.artifacts.exists():
            if home.pictures in new:
                shutil.rmtree(home.pictures, ignore_errors=True)
            for folder in new:
                with suppress(OSError):  # it holds something else, such as files that were downloaded
                    folder.rmdir()
        raise


def scratch_folder() -> "Folder":
    """The same outside of any home, for what is only tried out."""
    return Folder(Path(tempfile.gettempdir()))


class Folder(tempfile.TemporaryDirectory):
    """A temporary folder that is named after its process, and locked for as long as that process uses it."""

    def __init__(self, parent: Path) -> None:
        super().__init__(dir=parent, prefix=f"{PREFIX}{socket.gethostname()}.{os.getpid()}.")
        self._descriptor: int | None = None
        if os.name == "posix":  # Windows opens no folders; `sweep` does nothing there
            self._descriptor = os.open(self.name, os.O_RDONLY)
            lock_file(self._descriptor)

    def __enter__(self) -> Path:
        return Path(super().__enter__())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
        super().__exit__(kind, error, traceback)


def copy_into_place(home: Home, local: Path, place: Path) -> None:
    """Replace `place` by a copy of `local` in one step. Its mode follows the umask, unlike that of a temporary file."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with staging_folder(home) as folder:
        os.replace(shutil.copyfile(local, folder / place.name), place)


def sweep(home: Home) -> None:
    """Remove the folders that killed processes of this user and machine left behind."""
    if os.name != "posix":  # Windows cannot tell whether a process lives without the risk of ending it
        return
    for parent in (home.path / FOLDER, Path(tempfile.gettempdir())):
        for folder in parent.glob(f"{PREFIX}{socket.gethostname()}.*"):
            if _is_leftover(folder):
                shutil.rmtree(folder, ignore_errors=True)


def _is_leftover(folder: Path) -> bool:
    """Whether the folder's process is gone: no process has its number, and none in a container holds its lock."""
    number = re.fullmatch(r".*\.(\d+)\.\w+", folder.name)
    try:
        if number is None or folder.stat().st_uid != os.geteuid() or _is_alive(int(number[1])):
            return False
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            return lock_file(descriptor)
        finally:
            os.close(descriptor)
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
