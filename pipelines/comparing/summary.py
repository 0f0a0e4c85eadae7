"""What a comparison found, as metrics, figures and one table in MLflow; from SQL alone."""

import queries
from pipelines.common.figures import pixels
from pipelines.comparing import figures, history
from pipelines.comparing.comparison import Comparison
from pipelines.comparing.strips import read_strips, strip
from tracking import commits, models, runs
from tracking.index import ingest
from tracking.reading import connect

UNIT = "summary"
# measures that hang on the epoch's model, by the name they have there
HEADLINES = {
    "insertion": "insertion",
    "deletion": "deletion",
    "road_gap": "road_gap",
    "randomized/everything": "randomized",
    "epoch_0": "epoch_0",
    "points_at_glyph": "points_at_glyph",
}


def log(comparison: Comparison, run: runs.Run) -> None:
    """Metrics of the run and of the epoch's model, then pictures and the table."""
    rows = ask(comparison, run, "faithfulness_by_method", {"compare_run": run.run_id})
    commit = commits.commits_by_unit(run.home, run.run_id).get(UNIT)
    if commit is None:
        metrics = {f"{row['metric']}/{row['method']}": row["mean"] for row in rows}
        commit = runs.commit(run, UNIT, {}, metrics, comparison.chosen.epoch)
    # again where a crash came before it
    models.log_explained(run, comparison.chosen.epoch, _headlines(rows), commit.time_ms)
    ingest(run.home, [run.run_id])
    runs.log_table(run, _table(rows), "faithfulness.json")
    _log_figures(comparison, run, rows)
    _log_strips(comparison, run)


def ask(comparison: Comparison, run: runs.Run, name: str, values: dict | None = None) -> list[dict]:
    """Rows of a query about the training run compared."""
    with connect(run.home) as connection:
        return queries.run(connection, name, {"run_id": comparison.chosen.run_id} | (values or {})).dicts


def _headlines(rows: list[dict]) -> dict[str, float]:
    return {f"{row['method']}_{HEADLINES[row['metric']]}": row["mean"] for row in rows if row["metric"] in HEADLINES}


def _table(rows: list[dict]) -> list[dict]:
    """A row per method: mean and 95 % interval of each headline, and by which it beats random noise."""
    found = {(row["method"], row["metric"]): row for row in rows}
    metrics = [metric for metric in HEADLINES if any(metric == key for _, key in found)]
    return [
        {"method": method}
        | {
            HEADLINES[metric] + ending: found[method, metric][key] if (method, metric) in found else None
            for metric in metrics
            for ending, key in (("", "mean"), ("_low", "low"), ("_high", "high"), ("_n", "n"))
        }
        | {
            "beats_random_by": ", ".join(
                HEADLINES[m] for m in metrics if found.get((method, m), {}).get("beats_random")
            )
        }
        for method in dict.fromkeys(method for method, _ in found)
    ]


def _log_figures(comparison: Comparison, run: runs.Run, rows: list[dict]) -> None:
    chosen = comparison.chosen
    title = f"{comparison.source.record.name}, epoch {chosen.epoch}, {chosen.split}, target: {chosen.target}"
    shown = {"split": chosen.split, "target_kind": chosen.target}
    drawn = {
        "faithfulness": figures.faithfulness(rows, title),
        "road": figures.road_curves(rows, title, predicted=chosen.target == "predicted"),
        "agreement": figures.agreement(
            ask(comparison, run, "attribution_agreement", shown | {"epoch": str(chosen.epoch)}), title
        ),
    }
    if moving := ask(comparison, run, "explanation_drift", shown):
        drawn["drift"] = history.drift(moving, title)
    found = ask(comparison, run, "concepts_by_epoch")
    if len({row["epoch"] for row in found}) > 1:
        drawn["concepts"] = history.concepts(found, comparison.source.record.name)
    for name, figure in drawn.items():
        runs.log_picture(run, pixels(figure), f"figures/{name}.png")


def _log_strips(comparison: Comparison, run: runs.Run) -> None:
    """Instances explained at several epochs, a picture each."""
    chosen, data = comparison.chosen, comparison.source.data
    with connect(run.home) as connection:
        found = read_strips(connection, chosen)
    for one in found:
        image = data.splits[chosen.split].rgb([one.instance])[0]
        title = f"{chosen.split} #{one.instance}, every map on its own scale; {comparison.source.record.name}"
        name = f"strip_{chosen.split.replace(':', '_')}_{one.instance:05d}"
        runs.log_picture(run, pixels(strip(one, image, data.classes, title)), f"figures/{name}.png")
