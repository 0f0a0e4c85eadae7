"""What a comparison found, as metrics, pictures and one table in MLflow; from SQL alone."""

from collections.abc import Iterable

import queries
from pipelines.common.figures import render_figure
from pipelines.common.metrics import BEATS_RANDOM_LEVEL, JUDGING
from pipelines.comparing.comparison import Comparison
from pipelines.comparing.mosaics import draw_captioned, draw_mosaic, read_mosaics
from pipelines.drawing import methods
from pipelines.drawing.concepts import draw_concept_history
from pipelines.drawing.style import LOGGED, draw, name_method
from pipelines.explaining.maps.heatmaps import picture_key
from tracking import commits, committing, display, models, runs
from tracking.index import ingest
from tracking.reading import connect
from xai.references import REFERENCES

UNIT = "summary"
RANKING = "insertion"  # the metric of each method's run that the epoch's model shows in MLflow
# metrics that a method's own run shows in MLflow, where runs are compared, by the name that they have there
HEADLINES = {
    "insertion": "insertion",
    "deletion": "deletion",
    "road_gap": "road_gap",
    "randomized/everything": "randomized",
    "epoch_0": "epoch_0",
    "points_at_glyph": "points_at_glyph",
}
TABLE_COLUMNS = {"": "mean", "_low": "low", "_high": "high"}  # column of the query by ending of the name


def log(comparison: Comparison, run: runs.Run) -> None:
    """Logs the means, then metrics of the methods' runs and of the epoch's model, the table and the pictures.

    The comparison's own run shows no metrics in MLflow, as a chart of each method's would have a single dot.
    """
    # at the report's level, so that MLflow and the report never disagree
    judged = {"compare_run": run.run_id, "level": str(BEATS_RANDOM_LEVEL)}
    rows = ask(comparison, run, "faithfulness_by_method", judged)
    epoch = comparison.selection.epoch
    commit = commits.epoch_commits(run.home, run.run_id).get(UNIT)
    if commit is None:
        means = {f"{row['metric']}/{row['method']}": row["mean"] for row in rows}
        commit = committing.commit(run, UNIT, {}, {}, epoch, means)
    # the rest also if the commit exists: a crash may have come between the two
    models.log_explained(run, commit)
    model_id = models.find_epoch_model(run, run.record.source, epoch)
    for method in comparison.selection.methods:
        headlines = {
            HEADLINES[row["metric"]]: row["mean"]
            for row in rows
            if row["method"] == method and row["metric"] in HEADLINES
        }
        maker = comparison.selection.main_maker(method)
        for key, mean in headlines.items():
            shown_model = model_id if key == RANKING else None
            committing.log_points(run, maker, {key: mean}, epoch, commit.time_ms, shown_model)
        verdict = judge_by_random(row for row in rows if row["method"] == method)
        runs.set_tag(run, display.VERDICT_TAG, "beats random" if verdict == "yes" else verdict, maker)
    ingest(run.home, [run.run_id])
    display.log_tables(run, {"faithfulness.json": _build_table(rows)})
    _log_figures(comparison, run, rows)
    _log_mosaics(comparison, run)


def ask(comparison: Comparison, run: runs.Run, name: str, parameters: dict | None = None) -> list[dict]:
    """Rows of a query about the training run compared."""
    with connect(run.home, run_ids=[comparison.selection.run_id]) as connection:
        return queries.run(connection, name, {"run_id": comparison.selection.run_id} | (parameters or {})).dicts


def judge_by_random(rows: Iterable[dict]) -> str:
    """Whether a method is shown to beat random maps, in words; its rows of faithfulness_by_method."""
    found = [row["beats_random"] for row in rows if row["metric"] in JUDGING and row["beats_random"] is not None]
    if not found:
        return "not judged"
    if not any(found):
        return "not shown"
    return "yes" if all(found) else "partly"


def _build_table(rows: list[dict]) -> list[dict]:
    """A row per method: whether it beats random maps, by what, and mean and 95 % interval of each headline."""
    by_method: dict[str, dict[str, dict]] = {}
    for row in rows:
        by_method.setdefault(row["method"], {})[row["metric"]] = row
    metrics = [metric for metric in HEADLINES if any(metric in by_metric for by_metric in by_method.values())]
    table = []
    for method, by_metric in by_method.items():
        beaten = [HEADLINES[metric] for metric in metrics if by_metric.get(metric, {}).get("beats_random")]
        table_row: dict[str, object] = {
            "method": name_method(method, LOGGED),
            "beats random maps": "reference" if method in REFERENCES else judge_by_random(by_metric.values()),
            "beats_random_by": ", ".join(beaten),
        }
        for metric in metrics:
            row = by_metric.get(metric, {})
            for ending, column in TABLE_COLUMNS.items():
                value = row.get(column)
                table_row[HEADLINES[metric] + ending] = None if value is None else round(value, 3)
            table_row[f"{HEADLINES[metric]}_n"] = row.get("n")
        table.append(table_row)
    return table


def _log_figures(comparison: Comparison, run: runs.Run, rows: list[dict]) -> None:
    selection = comparison.selection
    source_name = comparison.source.record.name
    title = f"{source_name}, epoch {selection.epoch}, {selection.split}, target: {selection.target}"
    scope = {"split": selection.split, "target_kind": selection.target}
    agreement_rows = ask(comparison, run, "attribution_agreement", scope | {"epoch": str(selection.epoch)})
    starts_at_one = selection.target == "predicted"
    drawn = {
        "faithfulness": draw(methods.draw_faithfulness, LOGGED, rows),
        "road": draw(methods.draw_road, LOGGED, rows, starts_at_one=starts_at_one),
        "agreement": draw(methods.draw_agreement, LOGGED, agreement_rows),
    }
    if drift_rows := ask(comparison, run, "explanation_drift", scope):
        drawn["drift"] = draw(methods.draw_drift, LOGGED, drift_rows)
        drawn["settling"] = draw(methods.draw_settling, LOGGED, drift_rows)
    concept_rows = ask(comparison, run, "concepts_by_epoch")
    if len({row["epoch"] for row in concept_rows}) > 1:
        drawn["concepts"] = draw(draw_concept_history, LOGGED, concept_rows)
    for name, figure in drawn.items():
        display.log_picture(run, render_figure(figure, title), f"figures/{name}.png")


def _log_mosaics(comparison: Comparison, run: runs.Run) -> None:
    """Logs a mosaic of the maps of each image that was explained at several epochs, under a key of its own.

    The image itself, with what it was predicted as, goes under the key of its heatmaps, beside those of the methods.
    """
    selection = comparison.selection
    data = comparison.source.data
    split = data.splits[selection.split]
    with connect(run.home, run_ids=[selection.run_id]) as connection:
        mosaics = read_mosaics(connection, selection)
    for mosaic in mosaics:
        image = split.rgb([mosaic.instance])[0]
        key = picture_key(split, selection.split, mosaic.instance, data.classes)
        figure = draw_mosaic(mosaic, image, data.classes)
        display.log_image(run, render_figure(figure), f"heatmap_mosaic/{key}", selection.epoch)
        for epoch in mosaic.all_epochs:
            display.log_image(run, draw_captioned(mosaic, image, epoch, data.classes), f"heatmap/{key}", epoch)
