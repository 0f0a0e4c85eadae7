"""The study home: one folder that holds everything a study remembers."""

import os
from dataclasses import dataclass
from pathlib import Path

from tracking.errors import InputError

LONGEST = 255  # bytes of a file's name


@dataclass(frozen=True)
class Home:
    """Where the parts of a study home lie. Nothing is made or read before it is needed."""

    path: Path

    @property
    def mlflow_db(self) -> Path:
        return self.path / "mlflow.db"

    @property
    def artifacts(self) -> Path:
        return self.path / "artifacts"

    @property
    def database(self) -> Path:
        return self.path / "study.duckdb"

    @property
    def data(self) -> Path:
        return self.path / "data"

    def run_folder(self, run_id: str) -> Path:
        """Folder of a run's files: MLflow's own layout, or the cache of it when a server keeps the truth."""
        return self.artifacts / run_id / "artifacts"


def find_home(path: str | None = None) -> Home:
    """The home at `path`, else STUDY_HOME of the environment, else ./study. Raises InputError on an impossible name."""
    home = Path(path or os.environ.get("STUDY_HOME") or "study").absolute()
    if any(len(os.fsencode(part)) > LONGEST for part in home.parts):
        raise InputError(f"the study home {home} has a name of over {LONGEST} bytes in it; choose a shorter --home")
    return Home(home)


def make_home(home: Home) -> None:
    """Make the folders of a home; raises InputError where that is impossible."""
    try:
        home.artifacts.mkdir(parents=True, exist_ok=True)
        home.data.mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(
            f"cannot make the study home {home.path} ({error.strerror}); choose another folder with --home"
        ) from None
