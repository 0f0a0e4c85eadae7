"""What a comparison found, as metrics, figures and one table in MLflow; from SQL alone."""

import queries
from pipelines.common.figures import render_figure
from pipelines.comparing import figures, history
from pipelines.comparing.comparison import Comparison
from pipelines.comparing.strips import draw_strip, read_strips
from tracking import commits, models, runs
from tracking.index import ingest
from tracking.reading import connect

UNIT = "summary"
# metrics that are logged for the epoch's model, by the name that they have there
HEADLINES = {
    "insertion": "insertion",
    "deletion": "deletion",
    "road_gap": "road_gap",
    "randomized/everything": "randomized",
    "epoch_0": "epoch_0",
    "points_at_glyph": "points_at_glyph",
}
TABLE_COLUMNS = {"": "mean", "_low": "low", "_high": "high", "_n": "n"}  # column of the query by ending of the name


def log(comparison: Comparison, run: runs.Run) -> None:
    """Logs metrics of the run and of the epoch's model, then the table and the figures."""
    rows = ask(comparison, run, "faithfulness_by_method", {"compare_run": run.run_id})
    epoch = comparison.selection.epoch
    commit = commits.commits_by_unit(run.home, run.run_id).get(UNIT)
    if commit is None:
        metrics = {f"{row['metric']}/{row['method']}": row["mean"] for row in rows}
        commit = runs.commit(run, UNIT, {}, metrics, epoch)
    headlines = {
        f"{row['method']}_{HEADLINES[row['metric']]}": row["mean"] for row in rows if row["metric"] in HEADLINES
    }
    # also if the commit exists: a crash may have come between the two
    models.log_explained(run, epoch, headlines, commit.time_ms)
    ingest(run.home, [run.run_id])
    runs.log_table(run, _build_table(rows), "faithfulness.json")
    _log_figures(comparison, run, rows)
    _log_strips(comparison, run)


def ask(comparison: Comparison, run: runs.Run, name: str, parameters: dict | None = None) -> list[dict]:
    """Rows of a query about the training run compared."""
    with connect(run.home) as connection:
        return queries.run(connection, name, {"run_id": comparison.selection.run_id} | (parameters or {})).dicts


def _build_table(rows: list[dict]) -> list[dict]:
    """A row per method: mean and 95 % interval of each headline, and by which of them it beats random noise."""
    by_method: dict[str, dict[str, dict]] = {}
    for row in rows:
        by_method.setdefault(row["method"], {})[row["metric"]] = row
    metrics = [metric for metric in HEADLINES if any(metric in by_metric for by_metric in by_method.values())]
    table = []
    for method, by_metric in by_method.items():
        table_row: dict[str, object] = {"method": method}
        for metric in metrics:
            for ending, column in TABLE_COLUMNS.items():
                table_row[HEADLINES[metric] + ending] = by_metric[metric][column] if metric in by_metric else None
        beaten = [metric for metric in metrics if by_metric.get(metric, {}).get("beats_random")]
        table_row["beats_random_by"] = ", ".join(HEADLINES[metric] for metric in beaten)
        table.append(table_row)
    return table


def _log_figures(comparison: Comparison, run: runs.Run, rows: list[dict]) -> None:
    selection = comparison.selection
    source_name = comparison.source.record.name
    title = f"{source_name}, epoch {selection.epoch}, {selection.split}, target: {selection.target}"
    scope = {"split": selection.split, "target_kind": selection.target}
    agreement_rows = ask(comparison, run, "attribution_agreement", scope | {"epoch": str(selection.epoch)})
    drawn = {
        "faithfulness": figures.faithfulness(rows, title),
        "road": figures.road_curves(rows, title, predicted=selection.target == "predicted"),
        "agreement": figures.agreement(agreement_rows, title),
    }
    if drift_rows := ask(comparison, run, "explanation_drift", scope):
        drawn["drift"] = history.drift(drift_rows, title)
    concept_rows = ask(comparison, run, "concepts_by_epoch")
    if len({row["epoch"] for row in concept_rows}) > 1:
        drawn["concepts"] = history.concepts(concept_rows, source_name)
    for name, figure in drawn.items():
        runs.log_picture(run, render_figure(figure), f"figures/{name}.png")


def _log_strips(comparison: Comparison, run: runs.Run) -> None:
    """Logs a figure per instance explained at several epochs."""
    split = comparison.selection.split
    data = comparison.source.data
    with connect(run.home) as connection:
        strips = read_strips(connection, comparison.selection)
    for strip in strips:
        image = data.splits[split].rgb([strip.instance])[0]
        title = f"{split} #{strip.instance}, each map on its own scale; {comparison.source.record.name}"
        name = f"strip_{split.replace(':', '_')}_{strip.instance:05d}"
        runs.log_picture(run, render_figure(draw_strip(strip, image, data.classes, title)), f"figures/{name}.png")
