"""Whether files and folders are still as they were: told by size and times, without reading them."""

import os
from collections.abc import Iterable
from pathlib import Path

FileStamps = dict[str, tuple[int, int, int]]  # by absolute path: bytes, and the times of content and inode in ns


def stamp_files(paths: Iterable[str | Path]) -> FileStamps:
    """To be taken before the files are read, so that a change in the meantime shows. A folder's tells its entries.

    Of a file that is not there, the stamp is zeros.
    """
    stamps = {}
    for path in paths:
        absolute = os.path.abspath(path)
        stamps[absolute] = _stamp(absolute)
    return stamps


def stamp_folder(folder: Path, leaving_out: Iterable[Path] = ()) -> FileStamps:
    """As `stamp_files`, of a folder and everything in it, behind links too, without some of the folders."""
    left_out = {os.path.realpath(path) for path in leaving_out}
    stamps = stamp_files([folder])
    for place, folders, files in os.walk(folder, followlinks=True):
        left_out.add(os.path.realpath(place))  # entered once, as links may lead back
        folders[:] = [name for name in folders if os.path.realpath(os.path.join(place, name)) not in left_out]
        stamps |= stamp_files(os.path.join(place, name) for name in (*folders, *files))
    return stamps


def are_unchanged(stamps: FileStamps) -> bool:
    return all(_stamp(path) == tuple(stamp) for path, stamp in stamps.items())


def _stamp(path: str) -> tuple[int, int, int]:
    try:
        status = os.stat(path)
    except (OSError, ValueError):  # such as of a name with a null byte
        return 0, 0, 0
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns
