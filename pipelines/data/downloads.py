"""Files of a data set that another library downloads: all of them come into the study home, or none."""

import contextlib
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from pipelines.common.user_code import describe_error
from tracking.errors import InputError
from tracking.staging import scratch_folder


def download_into(place: Path, fetch: Callable[[Path], object], missing: str) -> None:
    """Have `fetch` fill a folder, and copy it to `place`. Raises InputError, with what is `missing`, if it fails."""
    with scratch_folder() as folder:
        try:
            with contextlib.redirect_stdout(sys.stderr):  # standard output is for results
                fetch(folder)
        except Exception as error:  # urllib, ssl and torchvision raise many kinds
            raise InputError(f"{missing}; downloading it failed too: {describe_error(error)}") from None
        shutil.copytree(folder, place, dirs_exist_ok=True)
