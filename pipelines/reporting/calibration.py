"""Section 1 ends: how well the model knows when it is right."""

from pipelines.reporting import figures
from pipelines.reporting.criteria import IMAGES_FOR_CALIBRATION
from pipelines.reporting.evidence import Said, details, said
from pipelines.reporting.html import NOTHING, Html, figure, html
from pipelines.reporting.subject import Subject
from pipelines.reporting.words import of, percent, plural


def calibration(subject: Subject) -> tuple[list[Said], Html]:
    """Sentences and the reliability diagram."""
    found = subject.ask("calibration", split=subject.split)
    rows = [row for row in found.rows if row["confidence"] is not None]
    if not rows:
        return said("The run has no probabilities, so nothing can be said about its confidence.", answer=True), NOTHING
    [right] = subject.ask("accuracy_by_epoch").where(split=subject.split, epoch=subject.epoch)
    sentences = [
        *said(calibration_sentence(rows, right["low"], right["high"]), found, key=True),
        *said(bins_sentence(rows), found),
        *said(smoothing_sentence(rows, subject.settings.label_smoothing if subject.settings else 0), found),
    ]
    caption = html("How often the model is right by how confident it is, with 95 % intervals; dashed: as it should be. "
                   "Below, how many images there are (logarithmic).{}", found.mark)  # fmt: skip
    diagram = figure(figures.reliability(rows), caption)
    return sentences, html("<h3>How well it knows when it is right</h3>{}{}", details(sentences), diagram)


def gap(rows: list[dict]) -> tuple[int, float, float]:
    """Number of images, their mean confidence and accuracy over all bins."""
    n = sum(row["n"] for row in rows)
    return n, sum(row["n"] * row["confidence"] for row in rows) / n, sum(row["n"] * row["accuracy"] for row in rows) / n


def calibration_sentence(rows: list[dict], low: float, high: float) -> str:
    """Whether the mean confidence lies in the interval `low` to `high` of the accuracy; rows of calibration."""
    n, confidence, right = gap(rows)
    lean = "over" if confidence > right else "under"
    judged = (
        f"it is {lean}-confident on the whole"
        if not low <= confidence <= high
        else "no over- or under-confidence is shown on the whole"
    )
    return (
        f"Its mean confidence is {percent(confidence, n)} where it is right on {percent(right, n)}, so {judged}; the "
        f"expected calibration error is {percent(rows[0]['ece'], n)}"
        f"{', an overestimate on so few images' if n < IMAGES_FOR_CALIBRATION else ''}."
    )


def bins_sentence(rows: list[dict]) -> str:
    off = [row for row in rows if not row["accuracy_low"] <= row["confidence"] <= row["accuracy_high"]]
    if not off:
        return f"In all {plural(len(rows), 'bin')} the mean confidence lies within the interval of the accuracy."
    worst = max(off, key=lambda row: row["n"] * abs(row["confidence"] - row["accuracy"]))
    hits = round(worst["accuracy"] * worst["n"])
    return (
        f"In {len(off)} of {plural(len(rows), 'bin')} the mean confidence lies outside the interval of the accuracy; "
        "most weight has the one where it says "
        f"{percent(worst['confidence'], worst['n'])} and is right on {of(hits, worst['n'])}."
    )


def smoothing_sentence(rows: list[dict], smoothing: float) -> str | None:
    _, confidence, right = gap(rows)
    if smoothing and confidence < right:
        return f"Label smoothing, here {smoothing:g}, is known to lower the confidence."
    return None
