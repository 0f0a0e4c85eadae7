"""Files that a command writes where a user asks for them: an existing one is never replaced."""

import os
from pathlib import Path

from tracking.errors import InputError


def check_new_file(path: Path) -> None:
    """Raise InputError if there is a file of this name already, or no folder for it."""
    if os.path.exists(path):  # unlike Path.exists, for names of any length
        raise InputError(f"{str(path)!r} exists already and is not replaced; name another file or remove it")
    if not os.path.isdir(path.absolute().parent):
        raise InputError(
            f"cannot write {str(path)!r}: there is no folder {str(path.parent)!r}; make it or name another"
        )
