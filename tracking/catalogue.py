"""Which runs a study home holds, and what a user's RUN means. Reads their run.json files, so it is quick."""

import sqlite3
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tracking.errors import InputError
from tracking.files import read_json
from tracking.home import Home
from tracking.locks import abandoned

LONGEST = 200  # characters of a run's name
TRAINED = ("train", "import")  # kinds of run that own epochs
BUSY = 1  # seconds to wait for whoever writes to MLflow's database
DELETED = "deleted"  # marks the folder of a run that was deleted on a server


@dataclass(frozen=True)
class RunRecord:
    """One row of table `runs`; the content of a run's run.json."""

    run_id: str
    kind: str
    name: str
    source_run_id: str | None
    status: str
    dataset: str | None
    data_digest: str | None
    seed: int | None
    git_commit: str | None
    started_at: str
    finished_at: str | None
    params: dict[str, Any]

    def content(self) -> dict:
        return asdict(self)


def now() -> str:
    """UTC, to the microsecond, without an offset: the form of the tables' timestamps."""
    return datetime.now(UTC).replace(tzinfo=None).isoformat(" ")


def records(home: Home) -> list[RunRecord]:
    """All runs of the home that are not deleted in MLflow, oldest first; one whose writer is gone is KILLED."""
    gone = deleted(home)
    files = [(file, file.parts[-3]) for file in home.artifacts.glob("*/artifacts/run.json")]
    found = [read_record(file, run_id) for file, run_id in files if run_id not in gone]
    killed = [
        replace(record, status="KILLED") if record.status == "RUNNING" and abandoned(home, record.run_id) else record
        for record in found
    ]
    return sorted(killed, key=lambda record: (record.started_at, record.run_id))


def deleted(home: Home) -> set[str]:
    """Runs that were deleted in MLflow, whose files stay until `mlflow gc`.

    They are looked up in MLflow's database itself, as importing MLflow takes seconds; those of a server are marked when
    they are fetched.
    """
    marked = {mark.parent.name for mark in home.artifacts.glob(f"*/{DELETED}")}
    if not home.mlflow_db.exists():
        return marked
    try:
        return marked | _deleted_in(home.mlflow_db)
    except sqlite3.Error as error:
        raise InputError(f"{home.mlflow_db} cannot be read ({error}); restore it from a backup") from None


def _deleted_in(database: Path) -> set[str]:
    try:
        return _selected(database, "mode=rw")
    except sqlite3.OperationalError as error:
        if "locked" not in str(error):
            raise
        return _selected(database, "mode=ro&immutable=1")  # a writer that stands still keeps nobody from asking


def _selected(database: Path, mode: str) -> set[str]:
    address = f"file:{quote(str(database))}?{mode}"
    with closing(sqlite3.connect(address, uri=True, timeout=BUSY)) as connection:
        rows = connection.execute("select run_uuid from runs where lifecycle_stage = 'deleted'").fetchall()
    return {run_id for (run_id,) in rows}


def read_record(file: Path, run_id: str) -> RunRecord:
    """A run's record in its run.json. Raises InputError if it is none."""
    try:
        record = RunRecord(**read_json(file))
        texts = (record.kind, record.name, record.status, record.started_at)
        right = record.run_id == run_id and isinstance(record.params, dict)
        right = right and all(isinstance(text, str) for text in texts) and datetime.fromisoformat(record.started_at)
    except (TypeError, ValueError):
        right = False
    if not right:
        raise InputError(f"{file} is no record of this run; it was changed, so restore it or move the run away")
    return record


def resolve(home: Home, reference: str, kinds: tuple[str, ...] = TRAINED) -> RunRecord:
    """The run that `reference` means: a run ID, a unique prefix of one, a run name, or `latest`.

    `latest` is the newest run of `kinds`. Raises InputError when no run, several, or one of another kind fits.
    """
    known = records(home)
    if reference == "latest":
        fitting = [record for record in known if record.kind in kinds][-1:]
    else:
        fitting = [record for record in known if reference in (record.run_id, record.name)] or [
            record for record in known if reference and record.run_id.startswith(reference)
        ]
    if not fitting:
        raise InputError(_nothing_fits(home, reference, known, kinds))
    if len(fitting) > 1:
        ids = ", ".join(record.run_id[:8] for record in fitting)
        raise InputError(f"{reference!r} means {len(fitting)} runs ({ids}); give more of the run ID")
    if fitting[0].kind not in kinds:
        without = " (imported, so without checkpoints)" if fitting[0].kind == "import" else ""
        raise InputError(
            f"run {fitting[0].run_id[:8]} is of kind {fitting[0].kind}{without}, needed is {' or '.join(kinds)}; "
            "`study ask runs` lists all"
        )
    return fitting[0]


def _nothing_fits(home: Home, reference: str, known: list[RunRecord], kinds: tuple[str, ...]) -> str:
    if reference in deleted(home):
        return f"run {reference[:8]} was deleted in MLflow; restore it there: mlflow runs restore"
    candidates = [record for record in known if record.kind in kinds]
    if not candidates:
        kind = f" of kind {' or '.join(kinds)}" if known else ""
        return f"no run{kind} in {home.path} yet; `study train` makes one, --home names another study home"
    newest = ", ".join(f"{record.run_id[:8]} ({record.name})" for record in candidates[:-6:-1])
    return f"no run {reference!r} in {home.path}; the newest are: {newest}; `study ask runs` lists all"


def free_name(home: Home, wanted: str | None, default: str) -> str:
    """`wanted` if no run is called that, else an InputError; without it `default`, numbered if taken."""
    if wanted and (wanted == "latest" or len(wanted) > LONGEST or not wanted.isprintable()):
        raise InputError(f"--name is {wanted!r}; it takes 1 to {LONGEST} printable characters, and not latest")
    taken = {record.name for record in records(home)}
    if wanted in taken:
        raise InputError(f"there is a run called {wanted!r} already; choose another --name")
    names = [default, *(f"{default}-{number}" for number in range(2, len(taken) + 3))]
    return wanted or next(name for name in names if name not in taken)
