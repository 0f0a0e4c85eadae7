"""A run done again from its own record, and whether it came out the same."""

import json
from dataclasses import dataclass

import duckdb

from pipelines import compare, explain, report, train
from pipelines.recorded import recorded_settings
from pipelines.say import say
from pipelines.settings import RerunSettings, TrainSettings
from tracking import catalogue, commits
from tracking.catalogue import RunRecord
from tracking.errors import RunError
from tracking.home import Home
from tracking.index import ingest
from tracking.reading import connect

KINDS = {"train": train.rerun, "explain": explain.rerun, "compare": compare.rerun, "report": report.rerun}


@dataclass(frozen=True)
class Rows:
    """Rows of a kind of run that must come out the same: their keys, and numbers beside all else that must be equal."""

    table: str
    keys: tuple[str, ...]
    numbers: str  # SQL of a list of numbers of a row


WRITTEN = {
    "train": (
        Rows("predictions", ("epoch", "split", "instance_id"), "coalesce(probabilities, [p_predicted, p_true])"),
    ),
    "explain": (
        Rows("maps", ("epoch", "method", "split", "instance_id", "target_kind", "target"), "map"),
        Rows("concepts", ("epoch", "layer", "concept_id"), "vector"),
        Rows("concept_scores", ("epoch", "split", "instance_id", "concept_id"), "[score]"),
        Rows("tcav_scores", ("epoch", "concept_id", "class_id"), "[prevalence, tcav_sign, tcav_magnitude, p_value]"),
    ),
    "compare": (
        Rows("maps", ("epoch", "method", "split", "instance_id", "target_kind", "target"), "map"),
        Rows("attribution_scores", ("epoch", "method", "split", "instance_id", "metric"), "[value]"),
    ),
    "report": (),
}
DIFFERENCE = """
    with one as (
        select
            {keys},
            {numbers} as numbers
        from {table}
        where run_id = $one
    ),
    other as (
        select
            {keys},
            {numbers} as numbers
        from {table}
        where run_id = $other
    )
    select
        count(*) as n,
        count_if(one.numbers is distinct from other.numbers) as n_different,
        count_if(one.numbers is null or other.numbers is null) as n_alone,
        coalesce(max(list_max([abs(pair[1] - pair[2]) for pair in list_zip(one.numbers, other.numbers)])), 0) as most
    from one
    full join other using ({keys})"""


def rerun(settings: RerunSettings, home: Home) -> str:
    """The new run's ID. Raises InputError if the data has another digest, RunError if a check finds a difference."""
    record = catalogue.resolve(home, settings.run, tuple(KINDS))
    made = catalogue.resolve(home, KINDS[record.kind](record, home, settings.data), (record.kind,))
    if settings.check:
        check(record, made, home)
    return made.run_id


def check(record: RunRecord, made: RunRecord, home: Home) -> None:
    """Say that every number of two runs is the same; else raise RunError with how far off, and what differed."""
    if not WRITTEN[record.kind]:
        say("a report is made from what is remembered now, so there is nothing to check")
        return
    ingest(home, [record.run_id, made.run_id], wait=5)
    with connect(home) as connection:
        found = {rows.table: _difference(connection, rows, record, made) for rows in WRITTEN[record.kind]}
    off = {table: counts for table, counts in found.items() if counts[1]}
    if not off:
        counted = ", ".join(f"{n:,} of {table}" for table, (n, *_) in found.items() if n)
        say(f"identical to run {record.run_id[:8]}: {counted}")
        return
    parts = ", ".join(
        f"{different:,} of {n:,} rows of {table}"
        + (f" ({alone:,} in one run only)" if alone else f" by at most {most:.2g}")
        for table, (n, different, alone, most) in off.items()
    )
    raise RunError(f"run {made.run_id[:8]} differs from {record.run_id[:8]} in {parts}; {_why(home, record, made)}")


def _difference(
    connection: duckdb.DuckDBPyConnection, rows: Rows, record: RunRecord, made: RunRecord
) -> tuple[int, int, int, float]:
    """Rows, different ones, ones in one run only, and the largest absolute difference of a number."""
    sql = DIFFERENCE.format(keys=", ".join(rows.keys), numbers=rows.numbers, table=rows.table)
    return connection.execute(sql, {"one": record.run_id, "other": made.run_id}).fetchone()


def _why(home: Home, record: RunRecord, made: RunRecord) -> str:
    """What the two runs ran on, where that differs."""
    one, other = _ran_on(home, record), _ran_on(home, made)
    apart = [f"{name} {one[name]} then, {other.get(name)} now" for name in one if one[name] != other.get(name)]
    return f"that may be by: {'; '.join(apart)}" if apart else "both ran on the same processor, versions and threads"


def _ran_on(home: Home, record: RunRecord) -> dict[str, object]:
    """Everything in the record that may move the last digits."""
    start = commits.by_unit(home, record.run_id)["start"]
    known = json.loads(commits.committed_file(home, start, "environment.json").read_text())
    trained = record if record.kind == "train" else catalogue.resolve(home, record.source_run_id)
    settings = recorded_settings(home, trained, TrainSettings)
    return {
        **{name: known[name] for name in ("git_commit", "processor", "python")},
        **known["packages"],
        **{name: getattr(settings, name) for name in ("device", "precision", "threads")},
    }
