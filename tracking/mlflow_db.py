"""MLflow's own database in a study home, without MLflow, whose import takes seconds.

It knows what happened to runs outside of this program: which were deleted, and which were renamed. It also holds
absolute paths. In a home that was moved or copied they are corrected before anything else, so that nothing written or
deleted through MLflow ever reaches the folder that the home was copied from.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, unquote, urlsplit

from tracking.errors import InputError
from tracking.home import Home
from tracking.locks import runs_written_by_others

EXPERIMENT = "xai-study"
READER_WAIT = 1  # seconds that a question waits for another process to finish writing to the database
WRITER_WAIT = 30  # the same for a command that writes
# where MLflow keeps paths of files: table, column, and a condition on its rows
LOCATIONS = (
    ("experiments", "artifact_location", "true"),
    ("runs", "artifact_uri", "true"),
    ("logged_models", "artifact_location", "true"),
    ("model_versions", "source", "true"),
    ("model_versions", "storage_location", "true"),
    ("trace_tags", "value", "key = 'mlflow.artifactLocation'"),
    ("workspaces", "trace_archival_location", "true"),
)
# folders but :own that runs of studies were written to, according to their experiments and to themselves
FOLDERS = f"""
    with studies as (
        select run_uuid, artifact_uri, artifact_location
        from runs
        cross join experiments using (experiment_id)
        cross join tags using (run_uuid)  -- cross: after the others, so of runs elsewhere alone
        where key = 'study.kind'
            and (artifact_location is not :own or substr(artifact_uri, 1, length(:own) + 1) is not :own || '/')
    )
    select artifact_location, null from experiments where name = '{EXPERIMENT}'
    union
    select artifact_location, run_uuid from studies
    union
    select replace(artifact_uri, '/' || run_uuid || '/artifacts', ''), run_uuid from studies
    where artifact_uri like '%/' || run_uuid || '/artifacts'"""
ENTRIES = "select run_uuid, name, lifecycle_stage = 'deleted' from runs"
IN_DELETED_EXPERIMENTS = """
    select experiments.name, experiment_id, run_uuid
    from experiments
    cross join runs using (experiment_id)  -- cross: after experiments, so not at all if none was deleted
    where experiments.lifecycle_stage = 'deleted'"""


class Entries(NamedTuple):
    """What MLflow says about runs."""

    names: dict[str, str | None]  # by run ID
    deleted: set[str]  # IDs of those that were deleted, by themselves or with their experiment


def read_entries(home: Home) -> Entries:
    """What MLflow says about the runs in the home's database; nothing if there is no database.

    Raises InputError on a file that is not MLflow's database.
    """
    if not home.mlflow_db.exists():
        return Entries({}, set())
    with suppress(InputError, sqlite3.Error):  # a home that is read-only or being written must still answer
        follow_move(home, wait=0)
    rows = _ask(home, ENTRIES)
    return Entries({run_id: name for run_id, name, _ in rows}, {run_id for run_id, _, is_deleted in rows if is_deleted})


def runs_in_deleted_experiments(home: Home) -> list[tuple[str, int, str]]:
    """Name and ID of each experiment that was deleted, with the ID of a run in it. Raises InputError as above."""
    return _ask(home, IN_DELETED_EXPERIMENTS) if home.mlflow_db.exists() else []


def _ask(home: Home, sql: str) -> list[tuple]:
    try:
        return _select(home.mlflow_db, sql)
    except sqlite3.Error as error:
        raise _unreadable(home, error) from None


def schema_revision(home: Home) -> str:
    """Revision of the database's schema. Raises InputError on a file that is not MLflow's database."""
    try:
        [(revision,)] = _select(home.mlflow_db, "select version_num from alembic_version")
    except sqlite3.Error as error:
        raise _unreadable(home, error) from None
    except ValueError:  # no row, or several
        raise _unreadable(home, "its schema has no single version") from None
    return revision


def follow_move(home: Home, wait: float = WRITER_WAIT) -> None:
    """Make every path into the folder that the home was moved or copied from point into the home's own artifacts.

    Other paths, such as those of other experiments, stay. Raises InputError while a run is being written by its old
    path.
    """
    other_folders = _other_folders(
        home, _select(home.mlflow_db, FOLDERS, min(wait, READER_WAIT), own=home.artifacts.as_uri())
    )
    if not other_folders:
        return
    if being_written := runs_written_by_others(home):
        raise InputError(
            f"{home.path} was {_path(other_folders[0])} when run {being_written[0][:8]} was started, which is being "
            "written; use that path, or wait for the run to finish"
        )
    with _opened(home.mlflow_db, "mode=rw", wait) as connection, connection:
        for folder in other_folders:
            _replace_prefix(connection, folder, home.artifacts.as_uri())
            _replace_prefix(connection, _path(folder), str(home.artifacts))


def _other_folders(home: Home, rows: list[tuple[str | None, str | None]]) -> list[str]:
    """Folders, of the rows that FOLDERS selects, that are not the home's but whose runs lie in the home by now."""
    runs_of: dict[str, list[str]] = {}
    for folder, run_id in rows:
        if folder:
            runs = runs_of.setdefault(folder, [])
            if run_id:
                runs.append(run_id)
    other_folders: list[str] = []
    for folder, run_ids in runs_of.items():
        if is_own_folder(home, folder):
            continue
        if not run_ids or any(home.run_folder(run_id).exists() for run_id in run_ids):
            other_folders.append(folder)
    return other_folders


def take_experiment(home: Home, experiment_id: str) -> bool:
    """Let an experiment that was created in MLflow keep its files in the home; False if it already has runs."""
    with _opened(home.mlflow_db, "mode=rw", WRITER_WAIT) as connection, connection:
        changed = connection.execute(
            """
            update experiments set artifact_location = ?
            where experiment_id = ? and experiment_id not in (select experiment_id from runs)""",
            [home.artifacts.as_uri(), int(experiment_id)],
        )
        return changed.rowcount == 1


def is_own_folder(home: Home, location: str) -> bool:
    """Whether a path or URI in MLflow's database means the home's folder of artifacts, possibly by another path."""
    with suppress(OSError):
        return location == home.artifacts.as_uri() or home.artifacts.samefile(_path(location))
    return False


def _path(location: str) -> str:
    """The path in a URI such as file:///home/me/study/artifacts; a path as it is."""
    return unquote(urlsplit(location).path) if location.startswith("file:") else location


def _replace_prefix(connection: sqlite3.Connection, before: str, now: str) -> None:
    """Move every location in `before`, or that folder itself, to `now`."""
    tables = {name for (name,) in connection.execute("select name from sqlite_master where type = 'table'")}
    for table, column, condition in LOCATIONS:
        if table in tables:  # earlier versions of MLflow lack some
            connection.execute(
                f"""
                update {table} set {column} = :now || substr({column}, length(:before) + 1)
                where ({column} = :before or substr({column}, 1, length(:before) + 1) = :before || '/')
                    -- in a copy below the folder that it was copied from these are right already
                    and (length(:now) < length(:before) or substr({column}, 1, length(:now) + 1) <> :now || '/')
                    and {condition}""",
                {"now": now, "before": before},
            )


def _select(database: Path, sql: str, wait: float = READER_WAIT, **parameters: str) -> list[tuple]:
    try:
        with _opened(database, "mode=rw", wait) as connection:
            return connection.execute(sql, parameters).fetchall()
    except sqlite3.OperationalError as error:
        if "locked" not in str(error):
            raise
    with _opened(database, "mode=ro&immutable=1", READER_WAIT) as connection:
        return connection.execute(sql, parameters).fetchall()  # a writer that hangs must not block questions


@contextmanager
def _opened(database: Path, mode: str, wait: float) -> Iterator[sqlite3.Connection]:
    address = f"file:{quote(str(database))}?{mode}"
    with closing(sqlite3.connect(address, uri=True, timeout=wait)) as connection:
        yield connection


def _unreadable(home: Home, reason: object) -> InputError:
    if home.mlflow_db.is_file() and not os.access(home.mlflow_db, os.R_OK):
        return InputError(f"{home.mlflow_db} is not readable for this user; change its permissions")
    return InputError(f"{home.mlflow_db} cannot be read as MLflow's database ({reason}); restore it from a backup")
