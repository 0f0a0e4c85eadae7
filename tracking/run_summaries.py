"""What the index knows of every run, so that listing 10,000 runs reads only the records that may have changed since.

Every change of a run adds, replaces or touches an entry of its folder of commits, so the time of that folder's last
change tells whether what is known still holds. A record that someone edits by hand is seen in homes of up to
FEW_RUNS runs, and in others once the index is rebuilt.
"""

import os
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import duckdb

from tracking.home import Home

FEW_RUNS = 1_000
UNSETTLED = 0  # in place of a time of change: look again
# ns that a change must lie back to be told from the next one, as file systems count time in steps
CLOCK_STEP = 100_000_000
OPENING_WAIT = 0.2  # seconds that a listing waits for a writer of the index, before it reads all records
POLL_INTERVAL = 0.02


class RunSummary(NamedTuple):
    """A run without its params, as it was last listed; and when its folder of commits was last changed."""

    run_id: str
    kind: str
    name: str
    source_run_id: str | None
    status: str
    seed_group: str | None
    started_at: str
    deleted: bool  # on a server, at the last fetch
    changed: int  # ns; UNSETTLED if unknown


SUMMARY_COLUMNS = {
    "run_id": "VARCHAR", "kind": "VARCHAR", "name": "VARCHAR", "source_run_id": "VARCHAR", "status": "VARCHAR",
    "seed_group": "VARCHAR", "started_at": "VARCHAR", "deleted": "BOOLEAN", "changed": "BIGINT",
}  # fmt: skip
DIGEST = "select count(*), bit_xor(hash(summaries)) from summaries"
_known: dict[Home, dict[str, RunSummary]] = {}
_indexed: dict[tuple[int, int | None], Mapping[str, RunSummary]] = {}  # of the index that was read last, by its digest


def last_change(folder: str, *, with_record: bool) -> int:
    """When the commits in a run's folder, or its record too, last changed, in ns; UNSETTLED if that cannot be told."""
    try:
        changed = os.stat(f"{folder}/commits").st_ctime_ns
        if with_record:
            changed = max(changed, os.stat(f"{folder}/run.json").st_ctime_ns)
    except OSError:
        return UNSETTLED
    return changed if changed < time.time_ns() - CLOCK_STEP else UNSETTLED


def family_of(run_ids: Collection[str], runs: Sequence[RunSummary]) -> set[str]:
    """`run_ids`, with the runs that are about them, those about these, and so on."""
    family = set(run_ids)
    for run in runs:  # oldest first, so that a run comes after the one that it is about
        if run.source_run_id in family:
            family.add(run.run_id)
    return family


def note_change(home: Home, run_id: str) -> None:
    """Let others see that the run has changed, though it has no new commit."""
    folder = home.run_folder(run_id) / "commits"
    folder.mkdir(parents=True, exist_ok=True)
    os.utime(folder)


def known_summaries(home: Home) -> dict[str, RunSummary]:
    """What this process knows, or else the index; nothing if there is none or another process is writing it.

    A record that has changed since is put in by the next process that reads it.
    """
    if home not in _known:
        _known[home] = dict(_read_index(home.database))
    return _known[home]


def forget_summaries(home: Home) -> None:
    """Let every record be read again."""
    _known[home] = {}


def indexed_summaries(connection: duckdb.DuckDBPyConnection) -> Mapping[str, RunSummary]:
    """What an index holds of every run, by run ID. It is fetched once per process while it stays the same."""
    [digest] = connection.execute(DIGEST).fetchall()
    indexed = _indexed.get(digest)
    if indexed is None:
        rows = connection.execute(f"select {', '.join(SUMMARY_COLUMNS)} from summaries").fetchall()
        indexed = {run.run_id: run for run in map(RunSummary._make, rows)}
        _indexed.clear()
        _indexed[digest] = indexed
    return indexed


def _read_index(database: Path) -> Mapping[str, RunSummary]:
    deadline = time.monotonic() + OPENING_WAIT
    while database.exists():
        try:
            with duckdb.connect(str(database), read_only=True) as connection:
                return indexed_summaries(connection)
        except duckdb.IOException:  # being written
            if time.monotonic() > deadline:
                break
            time.sleep(POLL_INTERVAL)
        except duckdb.Error:  # of another version, or open for writing in this process
            break
    return {}
