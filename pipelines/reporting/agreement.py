"""Question (a): how far the methods agree with each other."""

from pipelines.reporting.criteria import IMAGES_FOR_CONTRAST
from pipelines.reporting.evidence import Answer, Said, said
from pipelines.reporting.html import Cell, Html, html, table
from pipelines.reporting.numbered import shade
from pipelines.reporting.regions import names
from pipelines.reporting.techniques import called
from pipelines.reporting.words import NONE, interval_of, plural, sized, value, value_between
from xai import METHODS


def agreement(found: Answer) -> tuple[list[Said], Html]:
    """Sentences and a matrix; rows of attribution_agreement."""
    rows = [row for row in pairs(found.rows, "all") if row["spearman"] is not None]
    if not rows:
        return [], Html("")
    sentences = [
        *said(agreement_sentence(rows), found, answer=True),
        *said(contrast_sentence(pairs(found.rows, "right"), pairs(found.rows, "wrong")), found),
    ]
    return sentences, _matrix(rows, found)


def pairs(rows: list[dict], subset: str) -> list[dict]:
    """Pairs of methods; references such as random left out."""
    return [row for row in rows if row["subset"] == subset and {row["method_a"], row["method_b"]} <= set(METHODS)]


def agreement_sentence(rows: list[dict]) -> str:
    """How alike maps of two methods are, from the pair that is least so to the one that is most, as estimates."""
    ordered = sorted(rows, key=lambda row: row["spearman"])
    first, last = ordered[0], ordered[-1]
    n = sized(min(row["n"] for row in rows))
    if len(rows) == 1:
        return f"Maps of {pair(first)} have a mean rank correlation of {_estimate(first)} ({n})."
    return (
        f"The mean rank correlation of two methods' maps is from {_estimate(first)} ({pair(first)}) to "
        f"{_estimate(last)} ({pair(last)}; {n})."
    )


def _estimate(row: dict) -> str:
    return value(row["spearman"]) + interval_of(row["spearman_low"], row["spearman_high"])


def pair(row: dict) -> str:
    return names([row["method_a"], row["method_b"]])


def contrast_sentence(right: list[dict], wrong: list[dict]) -> str | None:
    """Whether methods agree less where the model is wrong, as the question says."""
    known = {(row["method_a"], row["method_b"]): row["n"] for row in right}
    enough = {pair for pair, n in known.items() if n >= IMAGES_FOR_CONTRAST}
    beside = [row for row in wrong if row["n"] >= IMAGES_FOR_CONTRAST and (row["method_a"], row["method_b"]) in enough]
    if not beside:
        return None
    less, more = (sum(row["agrees"] == word for row in beside) for word in ("lower", "higher"))
    n = f"{min(known.values())} right, {min(row['n'] for row in beside)} wrong"
    if not less and not more:
        return (
            f"No pair of methods is shown to agree more or less where the model is wrong than where it is right ({n})."
        )
    return (
        f"Where the model is wrong, agreement is lower for {less or 'none'} and higher for {more or 'none'} of "
        f"{plural(len(beside), 'pair')}, beyond chance ({n})."
    )


def _matrix(rows: list[dict], found: Answer) -> Html:
    """Methods against methods: rank correlation, and the overlap of the strongest tenth under it."""
    known = {frozenset((row["method_a"], row["method_b"])): row for row in rows}
    there = [method for method in METHODS if any(method in key for key in known)]
    lines = [
        [called(one), *(_cell(known.get(frozenset((one, other))), one == other) for other in there)] for one in there
    ]
    caption = html(
        "Agreement of methods: mean rank correlation (Spearman) of the maps' magnitudes, its 95 % interval, and below "
        "how far the strongest tenth of the pixels overlaps (chance: 5 %){}", found.mark,
    )  # fmt: skip
    return table(caption, ("", *map(called, there)), lines, "matrix")


def _cell(row: dict | None, same: bool) -> Cell:
    if row is None:
        return Cell("" if same else NONE, kind="same" if same else "")
    text = html("<b>{}</b><br><small>{}<br>{}</small>", value(row["spearman"]),
                value_between(row["spearman_low"], row["spearman_high"]),
                f"{100 * row['top10_overlap']:.0f}\u00a0%" if row["top10_overlap"] is not None else "")  # fmt: skip
    return Cell(text, kind=shade(row["spearman"]))
