"""Section 1 ends: how well the model knows when it is right."""

from scipy.stats import binomtest

from pipelines.reporting import figures
from pipelines.reporting.criteria import VERDICTS
from pipelines.reporting.evidence import Said, details, said
from pipelines.reporting.html import NOTHING, Html, figure, html
from pipelines.reporting.subject import Subject
from pipelines.reporting.words import of, percent, plural


def calibration(subject: Subject) -> tuple[list[Said], Html]:
    """Sentences and the reliability diagram."""
    found = subject.ask("calibration", split=subject.split, level=VERDICTS["confidence_bins"].level)
    rows = [row for row in found.rows if row["confidence"] is not None]
    if not rows:
        return said("The run has no probabilities, so nothing can be said about its confidence.", answer=True), NOTHING
    sentences = [
        *said(calibration_sentence(rows), found, key=True),
        *said(bins_sentence(rows), found),
        *said(smoothing_sentence(rows, subject.settings.label_smoothing if subject.settings else 0), found),
    ]
    caption = html("How often the model is right by how confident it is, a 95 % interval for each bin; dashed: as it "
                   "should be. Below, how many images there are (logarithmic).{}", found.mark)  # fmt: skip
    diagram = figure(figures.reliability(rows), caption)
    return sentences, html("<h3>How well it knows when it is right</h3>{}{}", details(sentences), diagram)


def gap(rows: list[dict]) -> tuple[int, float, float]:
    """Number of images, their mean confidence and accuracy over all bins."""
    n = sum(row["n"] for row in rows)
    return n, sum(row["n"] * row["confidence"] for row in rows) / n, sum(row["n"] * row["accuracy"] for row in rows) / n


def differs(rows: list[dict]) -> bool:
    """Whether the accuracy is beyond chance from the mean confidence; rows of calibration.

    The test takes each image's confidence for the mean one, so it is strict: other ones vary less (Hoeffding 1956).
    """
    n, confidence, right = gap(rows)
    return bool(binomtest(round(right * n), n, min(confidence, 1)).pvalue <= VERDICTS["confidence"].level)


def calibration_sentence(rows: list[dict]) -> str:
    """Whether the accuracy is beyond chance from the mean confidence; rows of calibration."""
    n, confidence, right = gap(rows)
    lean = "over" if confidence > right else "under"
    judged = (
        f"it is {lean}-confident on the whole"
        if differs(rows)
        else "no over- or under-confidence is shown on the whole"
    )
    return (
        f"Its mean confidence is {percent(confidence, n)} where it is right on {percent(right, n)}, so {judged}; the "
        f"expected calibration error is {percent(rows[0]['ece'], n)}"
        f", where chance alone makes {percent(rows[0]['ece_by_chance'], n)}."
    )


def bins_sentence(rows: list[dict]) -> str:
    """In which bins the accuracy is beyond chance from the confidence; rows of calibration."""
    off = [row for row in rows if row["is_off"]]
    if not off:
        return f"In none of {plural(len(rows), 'bin')} the accuracy is shown to differ from the mean confidence."
    worst = max(off, key=lambda row: row["n"] * abs(row["confidence"] - row["accuracy"]))
    hits = round(worst["accuracy"] * worst["n"])
    return (
        f"In {len(off)} of {plural(len(rows), 'bin')} the accuracy differs from the mean confidence beyond chance; "
        "most weight has the one where it says "
        f"{percent(worst['confidence'], worst['n'])} and is right on {of(hits, worst['n'])}."
    )


def smoothing_sentence(rows: list[dict], smoothing: float) -> str | None:
    """What may make the model under-confident, where it is shown to be."""
    _, confidence, right = gap(rows)
    if smoothing and confidence < right and differs(rows):
        return f"Label smoothing, here {smoothing:g}, is known to lower the confidence."
    return None
