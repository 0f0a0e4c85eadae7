"""Question (a): how much of each map lies on which part of the image, and how much speaks against the class."""

from pipelines.reporting import figures
from pipelines.reporting.criteria import IMAGES_FOR_CONTRAST, VERDICTS
from pipelines.reporting.evidence import Answer, Said, said
from pipelines.reporting.html import Cell, Html, html, table
from pipelines.reporting.missing import missing
from pipelines.reporting.subject import Subject
from pipelines.reporting.techniques import called
from pipelines.reporting.words import NONE, between, capital, listed, percent, series
from xai import METHODS

REFERENCES = {"random": "random maps", "edge": "an edge detector"}
EVEN = {"centre": 16 / 64, "border": 28 / 64}  # shares of a map that is the same everywhere
PLACES = {
    "centre": "the middle quarter of the image",
    "border": "the image's outer ring",
    "object": "the object-like region",
}


def where(rows: list[dict], subset: str = "all") -> list[dict]:
    """Rows of the methods, in the registry's order; references such as random left out."""
    order = {method: number for number, method in enumerate(METHODS)}
    own = [row for row in rows if row["subset"] == subset and row["method"] in order]
    return sorted(own, key=lambda row: order[row["method"]])


def names(methods: list[str]) -> str:
    return listed(list(map(called, methods)), len(METHODS))


def ask_regions(subject: Subject, epoch: int) -> tuple[Answer, Answer]:
    """Answers of attribution_regions: with 95 % intervals, and with such as all hold together at the report's level."""
    found = subject.ask("attribution_regions", epoch=epoch, split=subject.split)
    count = sum(row[f"{place}_low"] is not None for row in found.rows for place in PLACES)
    level = VERDICTS["places"].level / max(count, 1)
    return found, subject.ask("attribution_regions", epoch=epoch, split=subject.split, level=level)


def regions(shown: Answer, found: Answer) -> tuple[list[Said], Html]:
    """Sentences and a table; the two answers of `ask_regions`, the table has the first one's intervals."""
    rows = where(found.rows)
    if not rows:
        return [], missing("All maps are zero everywhere, so they lie nowhere.")
    chance = reference(found.rows)
    random = _interval(found.rows, "random", "object")
    sentences = [
        *said(lead_sentence(rows, chance), found, key=True),
        *said(region_sentence(rows, "centre", EVEN["centre"], "an even map"), found),
        *said(edge_sentence(rows, found.rows), found, answer=True),
        *said(region_sentence(rows, "border", EVEN["border"], "an even map"), found),
        *said(region_sentence(rows, "object", chance, "a random map", random) if chance and random else None, found),
        *said(against_sentence(rows), found),
    ]
    return sentences, _table(where(shown.rows), chance, shown)


def _interval(rows: list[dict], method: str, place: str) -> tuple[float, float] | None:
    """Ends of a reference's interval on a place; None without it, or with too few images."""
    row = next((row for row in rows if (row["method"], row["subset"]) == (method, "all")), None)
    return None if row is None or row[f"{place}_low"] is None else (row[f"{place}_low"], row[f"{place}_high"])


def reference(rows: list[dict]) -> float | None:
    """Share of a random map that lies on the object-like region."""
    return next((row["object"] for row in rows if (row["method"], row["subset"]) == ("random", "all")), None)


def lead_sentence(rows: list[dict], chance: float | None) -> str:
    """How much of a map lies on centre and object, from the method with least to the one with most."""
    parts = [f"{_spread(rows, 'centre')} on {PLACES['centre']}, where an even map has {percent(EVEN['centre'])}"]
    if chance and any(row["object"] is not None for row in rows):
        parts.append(f"{_spread(rows, 'object')} on {PLACES['object']}, where a random map has {percent(chance)}")
    return f"Of the maps' magnitude lies {', and '.join(parts)}."


def _spread(rows: list[dict], place: str) -> str:
    known = sorted((row for row in rows if row[place] is not None), key=lambda row: row[place])
    least, most = known[0], known[-1]
    ends = [f"{percent(row[place])} ({called(row['method'])})" for row in (least, most)]
    return ends[0] if least is most else " to ".join(ends)


def region_sentence(
    rows: list[dict], place: str, even: float, like: str, interval: tuple[float, float] | None = None
) -> str | None:
    """Which methods put more of a map on a place than a map without knowledge would, and which less.

    `interval` is that of `even`, if it is an estimate.
    """
    low, high = interval or (even, even)
    known = [row for row in rows if row[f"{place}_low"] is not None]
    if not known:
        return None
    more = [row["method"] for row in known if row[f"{place}_low"] > high]
    less = [row["method"] for row in known if row[f"{place}_high"] < low]
    equal = [row["method"] for row in known if row["method"] not in (*more, *less)]
    than = f"{like} ({percent(even)}) on {PLACES[place]}"
    if not more and not less:
        return f"No method puts more or less than {than}, as far as intervals tell."
    groups = {"more than": more, "less than": less, "no difference shown from": equal}
    (first, own), *rest = [(word, methods) for word, methods in groups.items() if methods]
    others = "".join(
        f"; {word.removesuffix(' than').removesuffix(' from')}: {names(methods)}" for word, methods in rest
    )
    whom = f"all {len(own)} methods" if len(own) == len(known) > 2 else names(own)
    return f"{capital(first)} {than}: {whom}{others}."


def edge_sentence(rows: list[dict], every: list[dict]) -> str | None:
    """Which methods look at centre and object more than an edge detector; None without one."""
    edge = next((row for row in every if (row["method"], row["subset"]) == ("edge", "all")), None)
    if edge is None or edge["centre_high"] is None:
        return None
    parts = []
    for place in ("centre", "object"):
        known = [row for row in rows if None not in (row[f"{place}_low"], edge[f"{place}_high"])]
        more = [row["method"] for row in known if row[f"{place}_low"] > edge[f"{place}_high"]]
        if known:
            parts.append(f"{percent(edge[place])} on {PLACES[place]} (more: {names(more) if more else 'no method'})")
    return f"An edge detector, which knows nothing of the model, puts {series(parts)}."


def against_sentence(rows: list[dict]) -> str | None:
    """How much of the signed maps speaks against the class explained."""
    signed = [row for row in rows if METHODS[row["method"]].signed and row["positive"] is not None]
    if not signed:
        return None
    parts = series([f"{names([row['method']])} {percent(1 - row['positive'])}" for row in signed])
    return f"Of the signed maps this share speaks against the predicted class: {parts}."


def contrast_sentence(rows: list[dict]) -> str | None:
    """Where maps of wrong predictions lie otherwise than those of right ones, beyond both intervals."""
    right, wrong = where(rows, "right"), where(rows, "wrong")
    if not right or not wrong:
        return None
    n, m = (min(row["n"] for row in own) for own in (right, wrong))
    if min(n, m) < IMAGES_FOR_CONTRAST:
        return f"{n} right and {m} wrong predictions are explained, too few to compare where they look."
    beside = [found for place in PLACES for found in _beside(right, wrong, place)]
    apart = [text for text, _, differs in beside if differs]
    most = max((100 * gap for _, gap, differs in beside if differs), default=0)
    if not apart:
        return f"No method is shown to look elsewhere where the model is wrong ({n} right, {m} wrong predictions)."
    return (
        f"Of {len(beside)} comparisons of where maps of right and of wrong predictions lie ({n} and {m}), {len(apart)} "
        f"{'differs' if len(apart) == 1 else 'differ'} beyond both intervals, by at most {most:.1f} points: "
        f"{'; '.join(apart)}."
    )


def _beside(right: list[dict], wrong: list[dict], place: str) -> list[tuple[str, float, bool]]:
    """Each method's shares on a place, right predictions first, their gap, and whether it is beyond both intervals."""
    low, high = f"{place}_low", f"{place}_high"
    others = {row["method"]: row for row in wrong if row[low] is not None}
    pairs = [(row, others[row["method"]]) for row in right if row[low] is not None and row["method"] in others]
    return [
        (f"{called(one['method'])} on {PLACES[place]}, {percent(one[place])} and {percent(two[place])}",
         abs(one[place] - two[place]),
         one[low] > two[high] or one[high] < two[low])
        for one, two in pairs
    ]  # fmt: skip


def _table(rows: list[dict], chance: float | None, found: Answer) -> Html:
    heads = ("method", "images", "centre", "border", "object-like", "for the class")
    beside = [row for row in found.rows if row["method"] in REFERENCES and row["subset"] == "all"]
    lines = [
        (
            REFERENCES.get(row["method"]) or called(row["method"]), row["n"], _place(row, "centre", EVEN["centre"]),
            _place(row, "border", EVEN["border"]), _place(row, "object", chance), _positive(row),
        )
        for row in (*rows, *beside)
    ]  # fmt: skip
    caption = html(
        "Mean share of a map's magnitude on parts of the image, each with a 95 % interval. Dashed: an even map (centre "
        "{}, border {}){}. Object-like: where the colour differs from the border's, a heuristic.{}",
        percent(EVEN["centre"]), percent(EVEN["border"]),
        f"; on the object a random map, {percent(chance)}" if chance else "", found.mark,
    )  # fmt: skip
    return table(caption, heads, lines)


def _positive(row: dict) -> str:
    if row["method"] in REFERENCES or not METHODS[row["method"]].signed:
        return "no sign"
    return percent(row["positive"]) if row["positive"] is not None else NONE


def _place(row: dict, place: str, even: float | None) -> Cell:
    """A share as a bar over its interval."""
    if row[place] is None:
        return Cell(NONE)
    low, high = row[f"{place}_low"], row[f"{place}_high"]
    bar = figures.bar(row[place], low, high, even)
    return Cell(html("{}<small>{}</small>", bar, between(low, high) if low is not None else percent(row[place])))
