"""Remembering: MLflow runs, the commit protocol, and the DuckDB index of everything committed.

`tracking.open(home)` is the door for people: a study, to be asked from Python or a notebook.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipelines.notebook.study import Study


def open(home: str | os.PathLike[str] | None = None) -> Study:
    """The study in a home, by default STUDY_HOME, else ./study; it answers with DataFrames, arrays and pages.

    Imports neither torch nor MLflow. Raises InputError if there is no study.
    """
    from pipelines.notebook.study import open_study  # the one import of what is built on this package

    return open_study(home)
