"""Repeats a run from its own record, and checks whether the result is identical."""

from dataclasses import dataclass

import numpy as np

import queries
from pipelines.common import workers
from pipelines.common.settings import RerunSettings, TrackedSettings
from pipelines.common.splits import TRAIN_FOLDS
from pipelines.common.terminal import say
from pipelines.data.added import EXTRA_PREFIX
from pipelines.kinds import KINDS, check_repeatable, check_shareable, check_spreadable
from pipelines.lifecycle.run_inputs import read_recorded_config, read_recorded_settings
from pipelines.models.networks import MODELS
from tracking import catalogue, commits
from tracking.catalogue import WITH_CHECKPOINTS, RunRecord
from tracking.errors import RunError
from tracking.files import read_json
from tracking.home import Home
from tracking.index import ingest
from tracking.reading import connect


@dataclass(frozen=True)
class TableDifference:
    """How the rows of one table differ between two runs."""

    row_count: int  # in both runs
    different: int
    unmatched: int  # rows in one run only
    max_difference: float  # largest absolute difference of a number
    is_new: bool = False  # whether only the repeated run has rows

    @classmethod
    def combine(cls, rows: list[dict]) -> "TableDifference":
        """The sum of rows of the question `run_difference`."""
        return cls(
            row_count=sum(row["n"] for row in rows),
            different=sum(row["n_different"] for row in rows),
            unmatched=sum(row["only_here"] + row["only_other"] for row in rows),
            max_difference=float(np.max([row["max_difference"] or 0 for row in rows])),  # NaN if any is
            is_new=not any(row["n"] or row["only_other"] for row in rows),
        )

    def describe(self, table: str) -> str:
        """How the rows of `table` differ; empty if they do not."""
        differences = []
        if self.different:
            # maps of different sizes have no numeric difference
            by = f" by at most {self.max_difference:.2g}" if self.max_difference else ""
            differences.append(f"{self.different:,} of {self.row_count:,} rows of {table}{by}")
        if self.unmatched:
            differences.append(f"{self.unmatched:,} rows of {table} in one run only")
        return ", ".join(differences)


def rerun(settings: RerunSettings, home: Home) -> str:
    """The new run's ID. Raises InputError if the data has another digest, RunError if a check finds a difference."""
    original = catalogue.resolve(home, settings.run, tuple(KINDS))
    check_repeatable(original, home)
    check_shareable(original)
    check_spreadable(original, settings)
    with workers.working(settings.workers, settings.scheduler, home, original.run_id):
        repeated_id = KINDS[original.kind].repeat(original, home, settings.data)
    if settings.check:
        check(original, catalogue.resolve(home, repeated_id, (original.kind,)), home)
    return repeated_id


def check(original: RunRecord, repeated: RunRecord, home: Home) -> None:
    """Say that all numbers of two runs are identical; else raise RunError with the differences and a likely cause."""
    if not KINDS[original.kind].has_numbers:
        say(f"a {original.kind} is made from what is tracked now, so there is nothing to check")
        return
    compared = _compare_tables(original, repeated, home)
    differences = {table: difference for table, difference in compared.items() if not difference.is_new}
    if not differences:  # two empty runs must not be called identical
        raise RunError(
            f"run {repeated.run_id[:8]} and {original.run_id[:8]} have nothing to compare: no prediction, map, concept "
            "or score"
        )
    descriptions = [difference.describe(table) for table, difference in differences.items()]
    if any(descriptions):
        raise RunError(
            f"run {repeated.run_id[:8]} differs from {original.run_id[:8]} in {', '.join(filter(None, descriptions))}; "
            f"{_likely_cause(home, original, repeated)}"
        )
    counts = ", ".join(f"{difference.row_count:,} of {table}" for table, difference in differences.items())
    say(f"identical to run {original.run_id[:8]}: {counts}")
    if later := compared.keys() - differences.keys():  # a run of an earlier version may lack a table
        say(f"run {original.run_id[:8]} has no rows of {', '.join(sorted(later))} to compare")


def _compare_tables(original: RunRecord, repeated: RunRecord, home: Home) -> dict[str, TableDifference]:
    """The differences by table, over all epochs, splits and methods."""
    ingest(home, [original.run_id, repeated.run_id], wait=5)
    with connect(home, run_ids=[repeated.run_id, original.run_id]) as connection:
        run_ids = {"run_id": repeated.run_id, "other_run_id": original.run_id}
        rows = queries.run(connection, "run_difference", run_ids).dicts
    rows_by_table: dict[str, list[dict]] = {}
    for row in rows:
        # images that were added later belong to `study predict`, and folds to `study folds`, not to the training
        split = row["split"] or ""  # concepts have none
        is_later = split.startswith(EXTRA_PREFIX) or split == TRAIN_FOLDS
        if original.kind in WITH_CHECKPOINTS and is_later:
            continue
        rows_by_table.setdefault(row["what"], []).append(row)
    return {table: TableDifference.combine(table_rows) for table, table_rows in rows_by_table.items()}


def _likely_cause(home: Home, original: RunRecord, repeated: RunRecord) -> str:
    """How the two runs' machines, versions and code differ, if they do."""
    conditions_now = _read_conditions(home, repeated)
    changes = []
    for name, then in _read_conditions(home, original).items():
        now = conditions_now.get(name)
        if then != now:
            changes.append(f"{name} {then} then, {now} now")
    if changes:
        return f"the cause may be: {'; '.join(changes)}"
    model = read_recorded_settings(home, _training_run(home, original), TrackedSettings).model
    unseeded = "" if model in MODELS else f", so {model} may draw random numbers that no seed controls"
    return f"both ran on the same processor, versions and threads{unseeded}"


def _read_conditions(home: Home, record: RunRecord) -> dict[str, object]:
    """Everything on record that may change the last digits of a number."""
    start = commits.commits_by_unit(home, record.run_id)["start"]
    environment = read_json(commits.committed_file(home, start, "environment.json"))
    training_run = _training_run(home, record)
    config = read_recorded_config(home, training_run)
    settings, model_code = config["settings"], config.get("model_code", {})
    epochs = commits.read_epochs(home, training_run.run_id)
    # several numbers if the training was resumed with another one
    processes = {int(commit.details.get("processes", 1)) for commit in epochs if commit.epoch}
    return {
        **{name: environment[name] for name in ("git_commit", "processor", "python")},
        **environment["packages"],
        **{name: settings.get(name) for name in ("device", "precision", "threads")},
        "processes": " and ".join(map(str, sorted(processes))),
        **{f"code of {module}": f"sha256 {digest[:8]}" for module, digest in model_code.items()},
    }


def _training_run(home: Home, record: RunRecord) -> RunRecord:
    return record if record.kind in WITH_CHECKPOINTS else catalogue.resolve(home, record.source)
