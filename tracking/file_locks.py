"""Locks of open files, which the kernel keeps: each ends with its process, however that ends."""

import errno
import sys

from tracking.errors import InputError

UNSUPPORTED = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOLCK)  # what a file system without locks says


def lock_file(descriptor: int, *, shared: bool = False) -> bool:
    """Lock an open file until its descriptor is closed, without waiting. Returns whether the lock was free.

    Raises InputError where the file system has no locks, or the platform has no shared ones.
    """
    try:
        return _lock_shared(descriptor) if shared else _lock_exclusively(descriptor)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        raise InputError(
            f"the file system of the study home has no file locks ({error.strerror}), which keep two processes from "
            "writing the same run; choose another folder with --home"
        ) from None


def unlock_file(descriptor: int) -> None:
    """End the lock of an open file, also for processes that were forked since and have the file open too."""
    from filelock import unlock_descriptor

    unlock_descriptor(descriptor)


def _lock_exclusively(descriptor: int) -> bool:
    # imported here, as its 20 ms are wasted on commands that lock nothing; its FileLock would refuse a lock file
    # that is a symbolic link, and turn into a marker file, which outlives a kill, on a file system without locks
    from filelock import lock_descriptor

    return lock_descriptor(descriptor, blocking=False)


def _lock_shared(descriptor: int) -> bool:
    # Ours, as filelock's shared locks do not fit: ReadWriteLock is an SQLite database, so it refuses the lock files
    # of existing homes and symbolic links and cannot name its holder; SoftReadWriteLock outlives a kill.
    try:
        import fcntl
    except ImportError:
        raise InputError(
            f"this platform ({sys.platform}) has no shared file locks (fcntl), which keep checkpoints from being "
            "pruned while they are read; use Linux or macOS, or a container"
        ) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
