"""How well the model knows when it is right."""

from dataclasses import dataclass

from scipy.stats import binomtest

from pipelines.common.settings import TrainSettings
from pipelines.pages.evidence import Answer
from pipelines.reporting.criteria import VERDICTS
from pipelines.reporting.subject import Subject


@dataclass(frozen=True)
class Calibration:
    """Confidence beside accuracy, over all images and by bin of the confidence."""

    source: Answer  # of calibration
    rows: list[dict]  # of its bins
    n: int
    confidence: float  # mean over all images
    accuracy: float
    lean: str | None  # over or under, None if neither is shown
    off: list[dict]  # bins whose accuracy differs beyond chance
    smoothing: float  # of the labels in training, which is known to lower the confidence


def gather_calibration(subject: Subject) -> Calibration | None:
    """None for a run without probabilities."""
    found = subject.ask("calibration", split=subject.split, level=VERDICTS["confidence_bins"].level)
    rows = [row for row in found.rows if row["confidence"] is not None]
    if not rows:
        return None
    n, confidence, accuracy = average_bins(rows)
    smoothing = subject.settings.label_smoothing if isinstance(subject.settings, TrainSettings) else 0.0
    return Calibration(
        found, rows, n, confidence, accuracy, judge_confidence(rows), [row for row in rows if row["is_off"]], smoothing
    )


def average_bins(rows: list[dict]) -> tuple[int, float, float]:
    """Number of images, their mean confidence and their accuracy; rows of calibration."""
    n = sum(row["n"] for row in rows)
    return n, sum(row["n"] * row["confidence"] for row in rows) / n, sum(row["n"] * row["accuracy"] for row in rows) / n


def judge_confidence(rows: list[dict]) -> str | None:
    """`over` or `under`, if the accuracy is beyond chance from the mean confidence; rows of calibration.

    The test treats each image's confidence as the mean one, so it is strict: unequal ones vary less (Hoeffding 1956).
    """
    n, confidence, accuracy = average_bins(rows)
    if binomtest(round(accuracy * n), n, min(confidence, 1)).pvalue > VERDICTS["confidence"].level:
        return None
    return "over" if confidence > accuracy else "under"
