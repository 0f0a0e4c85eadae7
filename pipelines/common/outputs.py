"""Files that commands write: where a user asks for them, none is replaced; pages are named by what they show."""

import os
from pathlib import Path

from tracking.errors import InputError
from tracking.home import Home


def check_new_file(path: Path) -> None:
    """Raise InputError if there is a file of this name already, or no folder for it."""
    if os.path.exists(path):  # unlike Path.exists, for names of any length
        raise InputError(f"{str(path)!r} exists already and is not replaced; name another file or remove it")
    if not os.path.isdir(path.absolute().parent):
        raise InputError(
            f"cannot write {str(path)!r}: there is no folder {str(path.parent)!r}; make it or name another"
        )


def name_page(stem: str, split: str, other_run_id: str | None = None) -> str:
    """The name of a page's file; the split test is not mentioned, and a page of two runs names the second."""
    of_split = "" if split == "test" else f"_{split.replace(':', '_')}"
    against = f"_against_{other_run_id[:8]}" if other_run_id else ""
    return f"{stem}{of_split}{against}.html"


def find_page(home: Home, run_id: str, stem: str, split: str, other_run_id: str | None = None) -> str | None:
    """The name of a run's page, if there is one."""
    name = name_page(stem, split, other_run_id)
    return name if (home.run_folder(run_id) / name).is_file() else None
