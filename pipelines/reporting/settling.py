"""Question (c) over time: when explanations settle, before or after the predictions they explain."""

from scipy.stats import binomtest

from pipelines.reporting.criteria import VERDICTS, holm
from pipelines.reporting.evidence import Said, said
from pipelines.reporting.html import NOTHING, Cell, Html, html, table
from pipelines.reporting.missing import missing
from pipelines.reporting.numbered import shade
from pipelines.reporting.regions import names
from pipelines.reporting.subject import Subject
from pipelines.reporting.techniques import called
from pipelines.reporting.words import NONE, interval_of, percent, plural, series, sized, value
from xai import METHODS

EPOCHS = 10  # columns of the table at the most


def settling(subject: Subject) -> tuple[list[Said], Html]:
    """Sentences and a table; a note where a single epoch is explained."""
    if subject.imported:
        return [], NOTHING
    found = subject.ask("explanation_drift", split=subject.split)
    rows = [row for row in found.rows if row["method"] in METHODS]
    if not rows:
        command = subject.explain("saliency", "grad_cam", more=f" --epochs all{subject.some}")
        return [], missing("Explanations of a single epoch do not tell when they settled.", command)
    each = subject.ask("explanation_settling", split=subject.split)
    epochs = spread(sorted({row["epoch"] for row in rows}))
    known = {(row["method"], row["epoch"]): row for row in rows}
    methods = [method for method in METHODS if any(method == key for key, _ in known)]
    lines = [[called(method), *(_cell(known.get((method, epoch))) for epoch in epochs)] for method in methods]
    caption = html(
        "Explanations by epoch: mean rank correlation of the maps (8x8) with those of the last explained epoch, and "
        "below the share of images whose map, and whose prediction, stays as it is then{}", found.mark,
    )  # fmt: skip
    history = html("<h3>When explanations settle</h3>{}", table(caption, ("method", *epochs), lines, "matrix"))
    sentences = [
        *said(settling_sentence(each.rows), each, answer=True),
        *said(untrained_sentence(rows), found, answer=True),
    ]
    return sentences, history


def spread(epochs: list[int]) -> list[int]:
    """At most ten of the epochs, first and last among them."""
    if len(epochs) <= EPOCHS:
        return epochs
    return [epochs[round(place * (len(epochs) - 1) / (EPOCHS - 1))] for place in range(EPOCHS)]


def _cell(row: dict | None) -> Cell:
    if row is None or row["to_last"] is None:
        return Cell(NONE)
    settled, predicted = (percent(row[key], 100) for key in ("share_settled", "share_prediction_settled"))
    text = html("{}<br><small>{}, {}</small>", value(row["to_last"]), settled, predicted)
    return Cell(text, kind=shade(row["to_last"]))


def settling_sentence(rows: list[dict]) -> str | None:
    """By which methods explanations settle later or sooner than predictions; rows of explanation_settling."""
    counts: dict[str, dict[str, int]] = {}
    for row in rows:
        if row["settles"] is not None and row["method"] in METHODS:
            own = counts.setdefault(row["method"], {"before": 0, "with": 0, "after": 0})
            own[row["settles"]] += 1
    if not counts:
        return None
    tested = holm(
        {
            method: binomtest(own["after"], own["after"] + own["before"]).pvalue if own["after"] + own["before"] else 1
            for method, own in counts.items()
        }
    )
    clear = [method for method in METHODS if method in counts and tested[method] <= VERDICTS["settling"].level]
    later = [method for method in clear if counts[method]["after"] > counts[method]["before"]]
    sooner = [method for method in clear if method not in later]
    if not later and not sooner:
        return "By no method explanations are shown to settle later or sooner than their predictions."
    parts = [
        f"{word} than their predictions: {', '.join(_counted(method, counts[method], when) for method in own)}"
        for word, when, own in (("later", "after", later), ("sooner", "before", sooner))
        if own
    ]
    others = [method for method in METHODS if method in counts and method not in (*later, *sooner)]
    return f"Explanations settle {'; '.join(parts)}{f'; no difference shown: {names(others)}' if others else ''}."


def untrained_sentence(rows: list[dict]) -> str | None:
    """How alike maps of the untrained network are to the last ones, as estimates; rows of explanation_drift."""
    own = [row for row in rows if row["epoch"] == 0 and row["to_last"] is not None]
    if not own:
        return None
    parts = [f"{value(row['to_last'])}{interval_of(row['to_last_low'], row['to_last_high'])} by {called(row['method'])}"
             for row in own]  # fmt: skip
    return (
        f"On the 8x8 grid, maps of the untrained network have a mean rank correlation with the last ones of "
        f"{series(parts)} ({sized(min(row['n'] for row in own))}): the higher it is, the more of their coarse shape "
        "comes from the image and the less from what was learned."
    )


def _counted(method: str, counts: dict[str, int], when: str) -> str:
    return f"{called(method)} in {counts[when]} of {plural(sum(counts.values()), 'image')}"
