"""Data of the figures on methods: faithfulness, agreement, and when their maps settle."""

from pipelines.drawing import methods
from pipelines.reporting.criteria import VERDICTS
from pipelines.reporting.figure_request import Content, Request, span
from pipelines.reporting.subject import ask_faithfulness, newest_comparison
from tracking.errors import InputError
from xai import METHODS

STUDENT = "95 % intervals of the mean"
# what is on the axis of each panel
MEASURES = {
    "insertion": "Insertion: mean probability of the class while pixels enter a blurred image, most relevant first.",
    "deletion": "Deletion: the same while they are blurred away.",
    "road_gap": (
        "ROAD gap: how much more often the class is kept when the least relevant pixels are imputed than when the most "
        "relevant ones are."
    ),
    methods.ESTIMATE: (
        "Random weights: rank correlation of the maps with those of the model with all weights drawn again, an "
        "estimate that is not tested; references do not depend on weights, so they are at 1 by definition."
    ),
    "points_at_glyph": "On what decides: fraction of images whose strongest pixel lies on what decides the class.",
}


def gather_faithfulness(request: Request) -> Content:
    rows = _read_comparison(request)
    shown = [row for row in rows if row["metric"] in methods.PANELS]
    if not shown:
        raise request.missing("metric of this figure in the comparison", f"study compare {request.run_id}")
    level = VERDICTS["beats_random"].level
    caption = f"Faithfulness of explanation methods: means with {STUDENT}; dashed: random maps. "
    if any(row["low"] is None for row in shown):
        caption += "On fewer than 20 images a mean has neither interval nor verdict. "
    caption += " ".join(text for metric, text in MEASURES.items() if any(row["metric"] == metric for row in shown))
    caption += (
        " Filled circles: better than random maps, by a permutation test (paired sign flips, step-down "
        "max-T over all methods and metrics) and by intervals of the difference that exclude 0 and allow for unseen "
        "images anywhere in the metric's range; hollow: test or interval does not show it, even where the mean is "
        f"better. Level {level}, as in the report, whose tests share 5 %; study ask faithfulness_by_method "
        f"--level {level} gives the same verdicts."
    )
    return Content((rows,), caption, rows[0]["epoch"])


def gather_road(request: Request) -> Content:
    rows = _read_comparison(request)
    comparison = newest_comparison(request.subject)
    if comparison is None or not any(row["metric"].startswith("road_morf_") for row in rows):
        raise request.missing("ROAD metrics in the comparison", f"study compare {request.run_id}")
    predicted = comparison.params.get("target", "predicted") == "predicted"
    caption = (
        "ROAD: images whose top class stays the one explained, as pixels are imputed in the order of each method's "
        "maps. Most relevant first: lower is better; least relevant first: higher is better."
    )
    return Content(
        (rows,), caption, rows[0]["epoch"], max(row["n"] for row in rows), options={"starts_at_one": predicted}
    )


def _read_comparison(request: Request) -> list[dict]:
    """Rows of faithfulness_by_method of the newest comparison of the split."""
    comparison = newest_comparison(request.subject)
    if comparison is None:
        command = f"study compare {request.run_id} --split {request.split}"
        if not request.subject.ask("explained").where(split=request.split):
            command = f"{request.subject.explain(*METHODS, more=request.subject.some)} && {command}"
        raise request.missing(f"comparison of methods on split {request.split}", command)
    return request.limit_methods(ask_faithfulness(request.subject, comparison).rows, "method")


def gather_agreement(request: Request) -> Content:
    found = request.subject.ask("attribution_agreement", epoch=request.settings.epoch, split=request.split)
    rows = [row for row in found.rows if row["subset"] == "all"]
    if not rows:
        command = request.subject.explain(*METHODS, more=request.subject.some)
        raise request.missing(f"maps of two methods on the same images of split {request.split}", command)
    rows = request.limit_methods(rows, "method_a", "method_b")
    if not rows:
        raise InputError("agreement is between two methods or more; give --method two")
    caption = (
        "Agreement of explanation methods: mean rank correlation of the maps' absolute values, and mean overlap "
        "(intersection over union) of their strongest tenths; two random maps overlap by 0.05."
    )
    return Content((rows,), caption, rows[0]["epoch"], min(row["n"] for row in rows))


def gather_drift(request: Request) -> Content:
    rows = _read_drift(request)
    caption = (
        "Rank correlation of each epoch's maps (8x8, absolute values) with those of the last epoch explained, with "
        f"{STUDENT}."
    )
    return Content((rows,), caption, span(rows, "epoch"), max(row["n"] for row in rows))


def gather_settling(request: Request) -> Content:
    rows = _read_drift(request)
    caption = "Images whose prediction, and whose map by each method, stays as it is from that epoch on."
    return Content((rows,), caption, span(rows, "epoch"), max(row["n"] for row in rows))


def _read_drift(request: Request) -> list[dict]:
    rows = [
        row
        for row in request.subject.ask("explanation_drift", split=request.split).rows
        if row["method"] in METHODS and row["to_last"] is not None
    ]
    if len({row["epoch"] for row in rows}) < 2:
        more = f" --epochs all{request.subject.some}"
        raise request.missing(
            f"maps of several epochs of split {request.split}", request.subject.explain("saliency", more=more)
        )
    return request.limit_methods(request.limit_epochs(rows, "epoch"), "method")
