"""Names that users give to concepts."""

import duckdb

from pipelines.common.settings import LabelSettings
from queries import Answer
from tracking import catalogue, runs
from tracking.errors import InputError
from tracking.files import write_table
from tracking.home import Home
from tracking.index import ingest
from tracking.reading import connect

LONGEST = 80  # characters of a name


def label_concept(settings: LabelSettings, home: Home) -> str:
    """Name a concept of an explainer run; returns the concept's key. A later name replaces an earlier one."""
    label = " ".join(settings.label.split())
    if not label or len(label) > LONGEST or not label.isprintable():
        raise InputError(f"the name is {settings.label!r}; it takes 1 to {LONGEST} printable characters")
    record = catalogue.resolve(home, settings.run, ("explain",))
    with connect(home) as connection:
        concept = _concept(connection, record.run_id, settings)
    _commit_label(home, record, concept, label)
    return concept["concept_key"]


def _concept(connection: duckdb.DuckDBPyConnection, run_id: str, settings: LabelSettings) -> dict:
    """The row of table `concepts` that is meant: by ID or the beginning of its key, at the epoch given or the last."""
    found = connection.execute("select * from concepts where run_id = ? order by epoch, concept_id", [run_id])
    rows = Answer([column for column, *_ in found.description], found.fetchall()).dicts
    if not rows:
        raise InputError(f"run {run_id[:8]} has no concepts; `study explain --method ice` finds some")
    epochs = sorted({row["epoch"] for row in rows})
    epoch = epochs[-1] if settings.epoch is None else settings.epoch
    if epoch not in epochs:
        raise InputError(f"run {run_id[:8]} has no concepts of epoch {epoch}; it has epochs {epochs}")
    there = [row for row in rows if row["epoch"] == epoch]
    wanted = settings.concept
    fitting = [row for row in there if wanted in (str(row["concept_id"]), row["concept_key"])] or [
        row for row in there if len(wanted) > 3 and row["concept_key"].startswith(wanted)
    ]
    if len(fitting) != 1:
        raise InputError(
            f"{wanted!r} means {len(fitting)} concepts of epoch {epoch}; there are 0 to {len(there) - 1}, or give a "
            "concept_key"
        )
    return fitting[0]


def _commit_label(home: Home, record: catalogue.RunRecord, concept: dict, label: str) -> None:
    run = runs.open_run(home, record)
    labelled_at = catalogue.utc_now()
    unit = f"label_{labelled_at.translate(str.maketrans('', '', '-: .'))}"
    kept = ("run_id", "epoch", "concept_id", "concept_key", "layer", "vector")
    row = {name: concept[name] for name in kept} | {"label": label, "labelled_at": labelled_at}
    with runs.staging_folder(home) as folder:
        file = write_table(folder / f"{unit}.parquet", {name: [value] for name, value in row.items()})
        runs.commit(run, unit, {f"concept_labels/{unit}.parquet": file}, {}, None)
    runs.set_tag(run, f"study.concept.{concept['epoch']}.{concept['concept_id']}", label)
    ingest(home, [run.run_id])
