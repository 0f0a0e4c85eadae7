"""The study home: one folder that holds everything a study remembers."""

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

from tracking.errors import InputError
from tracking.file_locks import lock_file
from tracking.files import read_json, write_json

LONGEST_NAME = 255  # bytes of a file's name
# characters of a path at which DuckDB ends the name of a folder or of a file
FORBIDDEN = {"\\": "a backslash", "?": "a question mark"}
# variables by which launchers tell each process how many there are, and which of them it is
LAUNCHED = {
    "WORLD_SIZE": "RANK",  # torchrun, accelerate
    "OMPI_COMM_WORLD_SIZE": "OMPI_COMM_WORLD_RANK",
    "PMI_SIZE": "PMI_RANK",
    "SLURM_STEP_NUM_TASKS": "SLURM_PROCID",  # SLURM_NTASKS is set in a job's script too, which runs once
}
FORMAT = 2  # of the files in a home; 1 had no number and no locks, and is read and continued as it is


@dataclass(frozen=True)
class Home:
    """Where the parts of a study home lie. A Home makes and reads nothing by itself."""

    path: Path

    @property
    def mlflow_db(self) -> Path:
        return self.path / "mlflow.db"

    @property
    def mlflow_address(self) -> str:
        """SQLAlchemy's URI of the database, quoted, as a path may hold `%`, `#` and the like.

        It names the driver, as MLflow creates the folder of a plain `sqlite:///PATH` without unquoting PATH.
        """
        return f"sqlite+pysqlite:///{quote(str(self.mlflow_db), safe=' +/')}"

    @property
    def artifacts(self) -> Path:
        return self.path / "artifacts"

    @property
    def database(self) -> Path:
        return self.path / "study.duckdb"

    @property
    def format(self) -> Path:
        return self.path / "format.json"

    @property
    def data(self) -> Path:
        return self.path / "data"

    @property
    def pictures(self) -> Path:
        """Decoded pictures, which are made again if they are deleted."""
        return self.data / "pictures"

    def run_folder(self, run_id: str) -> Path:
        """Folder of a run's files: MLflow's own layout, or the cache of it when a server keeps the truth."""
        return self.artifacts / run_id / "artifacts"

    def record_file(self, run_id: str) -> Path:
        """A run's row of table `runs`, the only one of its files that changes."""
        return self.run_folder(run_id) / "run.json"

    def model_folder(self, model_id: str) -> Path:
        """Folder of a LoggedModel's files, in MLflow's own layout."""
        return self.artifacts / "models" / model_id / "artifacts"


def find_home(path: str | None = None) -> Home:
    """The home at `path`, else STUDY_HOME of the environment, else ./study.

    Raises InputError on an impossible path and on a home that a newer version made.
    """
    home = Home(Path(path or os.environ.get("STUDY_HOME") or "study").absolute())
    _check_path(home)
    _check_format(home)
    return home


def _check_path(home: Home) -> None:
    path = str(home.path)
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        raise InputError(
            f"the study home {path!a} has a path that is not UTF-8; rename it or choose another --home"
        ) from None
    if any(len(os.fsencode(part)) > LONGEST_NAME for part in home.path.parts):
        raise InputError(f"the study home {path} has a name of over {LONGEST_NAME} bytes; choose a shorter --home")
    for character, name in FORBIDDEN.items():
        if character in path:
            raise InputError(
                f"the study home {path} has {name} in its path; rename the folder or choose another --home"
            )


def _check_format(home: Home) -> None:
    if not home.format.exists():  # not made yet, or of format 1
        return
    try:
        home_format = int(read_json(home.format)["format"])
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{home.format} does not say the home's format; it was changed, so restore it") from None
    if home_format > FORMAT:
        raise InputError(
            f"{home.path} has format {home_format}, made by a newer xai-study; this one supports {FORMAT} at most, so "
            "update it"
        )


def is_copy(home: Home) -> bool:
    """Whether MLflow keeps the runs on a server or in another database, so that the home has copies of their files."""
    address = os.environ.get("MLFLOW_TRACKING_URI", "")
    scheme, _, path = address.partition("///")
    return bool(address) and not (scheme.startswith("sqlite") and Path(unquote(path)).absolute() == home.mlflow_db)


_leads_others = False  # whether the other processes of a launcher leave all writing to this one


def lead_processes() -> None:
    """Say that this process, of those that a launcher started together, is the one that writes."""
    global _leads_others
    _leads_others = True


def check_alone() -> None:
    """Raise InputError if a launcher started this program as several processes; each would write a whole run."""
    if _leads_others:
        return
    for size_variable, rank_variable in LAUNCHED.items():
        size = os.environ.get(size_variable, "")
        if rank_variable in os.environ and size.isdigit() and int(size) > 1:
            raise InputError(
                f"this is one of {size} processes ({size_variable}), and only study train, improve, resume and rerun "
                "share a training under torchrun; start the command once, without torchrun, mpirun or srun"
            )


def check_writable(home: Home) -> None:
    """Raise InputError if this process could not write to the home. Makes nothing."""
    check_alone()
    if home.artifacts.is_dir() and not os.access(home.path, os.W_OK):
        raise InputError(f"the study home {home.path} is read-only; it answers questions, new runs need another --home")
    nearest_folder = next(folder for folder in (home.path, *home.path.parents) if folder.exists())
    try:
        _check_locks(nearest_folder)
    except OSError as error:
        raise _unwritable(home, error) from None


def _check_locks(folder: Path) -> None:
    if os.name != "posix":  # Windows opens no folders, and all of its file systems have locks
        return
    if folder.is_dir() and os.access(folder, os.R_OK):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            lock_file(descriptor)
        finally:
            os.close(descriptor)


def make_home(home: Home) -> None:
    """Make the home's folders that are missing. Raises InputError if that is impossible."""
    check_writable(home)
    try:
        home.artifacts.mkdir(parents=True, exist_ok=True)
        home.data.mkdir(exist_ok=True)
        if not home.format.exists():
            write_json(home.format, {"format": FORMAT})
    except OSError as error:
        raise _unwritable(home, error) from None


def _unwritable(home: Home, error: OSError) -> InputError:
    return InputError(
        f"cannot write to the study home {home.path} ({error.strerror}); choose another folder with --home"
    )
