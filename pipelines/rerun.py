"""Repeating a run from its own record, and whether it comes out the same."""

from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

import numpy as np

import queries
from pipelines.common.settings import RerunSettings, TrainSettings
from pipelines.common.terminal import say
from pipelines.data.added import PREFIX
from pipelines.kinds import KINDS
from pipelines.lifecycle.run_inputs import read_recorded_config, read_recorded_settings
from pipelines.models.networks import MODELS
from tracking import catalogue, commits
from tracking.catalogue import RunRecord
from tracking.errors import RunError
from tracking.files import read_json
from tracking.home import Home
from tracking.index import ingest
from tracking.reading import connect


@dataclass(frozen=True)
class Compared:
    """How rows of one table came out in two runs."""

    n: int  # rows in both
    different: int
    alone: int  # rows in one run only
    most: float  # largest absolute difference of a number

    def told(self, table: str) -> str:
        """What is off; empty if nothing is."""
        by = f" by at most {self.most:.2g}" if self.most else ""  # maps of another size differ by no number
        off = f"{self.different:,} of {self.n:,} rows of {table}{by}" if self.different else ""
        alone = f"{self.alone:,} rows of {table} in one run only" if self.alone else ""
        return ", ".join(filter(None, (off, alone)))


def rerun(settings: RerunSettings, home: Home) -> str:
    """The new run's ID. Raises InputError if the data has another digest, RunError if a check finds a difference."""
    record = catalogue.resolve(home, settings.run, tuple(KINDS))
    made = catalogue.resolve(home, KINDS[record.kind].repeat(record, home, settings.data), (record.kind,))
    if settings.check:
        check(record, made, home)
    return made.run_id


def check(record: RunRecord, made: RunRecord, home: Home) -> None:
    """Say that every number of two runs is the same; else raise RunError with how far off, and what differed."""
    if not KINDS[record.kind].has_numbers:
        say(f"a {record.kind} is made from what is tracked now, so there is nothing to check")
        return
    found = _compared(record, made, home)
    between = f"run {made.run_id[:8]} and {record.run_id[:8]}"
    if not found:  # else two empty runs would be called identical
        raise RunError(f"{between} have nothing to compare: no prediction, map, concept or score")
    if off := [told for table, rows in found.items() if (told := rows.told(table))]:
        differs = f"run {made.run_id[:8]} differs from {record.run_id[:8]} in {', '.join(off)}"
        raise RunError(f"{differs}; {_why(home, record, made)}")
    counted = ", ".join(f"{rows.n:,} of {table}" for table, rows in found.items())
    say(f"identical to run {record.run_id[:8]}: {counted}")


def _compared(record: RunRecord, made: RunRecord, home: Home) -> dict[str, Compared]:
    """By table, over all epochs, splits and methods."""
    ingest(home, [record.run_id, made.run_id], wait=5)
    with connect(home) as connection:
        both = {"run_id": made.run_id, "other_run_id": record.run_id}
        rows = queries.run(connection, "run_difference", both).dicts
    if record.kind == "train":  # images that were added later belong to `study predict`, not to the training
        rows = [row for row in rows if not row["split"].startswith(PREFIX)]
    return {table: _added_up(list(part)) for table, part in groupby(rows, key=itemgetter("what"))}


def _added_up(rows: list[dict]) -> Compared:
    return Compared(
        n=sum(row["n"] for row in rows),
        different=sum(row["n_different"] for row in rows),
        alone=sum(row["only_here"] + row["only_other"] for row in rows),
        most=float(np.max([row["max_difference"] or 0 for row in rows])),  # NaN, if one is
    )


def _why(home: Home, record: RunRecord, made: RunRecord) -> str:
    """What the two runs ran on, where that differs."""
    one, other = _ran_on(home, record), _ran_on(home, made)
    apart = [f"{name} {one[name]} then, {other.get(name)} now" for name in one if one[name] != other.get(name)]
    if apart:
        return f"that may be by: {'; '.join(apart)}"
    model = read_recorded_settings(home, _trained(home, record), TrainSettings).model
    left = f", so {model} may draw random numbers that no seed reaches" if model not in MODELS else ""
    return f"both ran on the same processor, versions and threads{left}"


def _ran_on(home: Home, record: RunRecord) -> dict[str, object]:
    """Everything in the record that may move the last digits."""
    start = commits.commits_by_unit(home, record.run_id)["start"]
    known = read_json(commits.committed_file(home, start, "environment.json"))
    trained = _trained(home, record)
    settings, code = (
        read_recorded_settings(home, trained, TrainSettings),
        read_recorded_config(home, trained).get("model_code", {}),
    )
    return {
        **{name: known[name] for name in ("git_commit", "processor", "python")},
        **known["packages"],
        **{name: getattr(settings, name) for name in ("device", "precision", "threads")},
        **{f"code of {module}": f"sha256 {digest[:8]}" for module, digest in code.items()},
    }


def _trained(home: Home, record: RunRecord) -> RunRecord:
    return record if record.kind == "train" else catalogue.resolve(home, record.source)
