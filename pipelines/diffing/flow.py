"""The flow of images from A's predictions to B's, of the classes between which most of them move."""

from collections import defaultdict
from dataclasses import dataclass

from pipelines.diffing.criteria import PLACES
from pipelines.diffing.pair import Pair
from pipelines.drawing.flows import Link, draw_flow
from pipelines.drawing.style import WIDE_PAGE, draw
from pipelines.pages.embedding import embed
from pipelines.pages.evidence import Answer
from pipelines.pages.html import Html


@dataclass(frozen=True)
class Flow:
    """Images that the models predict as different classes."""

    source: Answer  # of seed_flow
    moved: float  # images that change their class; of groups, on average over pairs of runs
    of: int  # images that both predicted
    is_part: bool  # whether some classes are drawn as one
    figure: Html


def draw_changes(pair: Pair) -> Flow:
    """The flow between two models, or on average over pairs of seeds; its figure is empty where nothing moves."""
    source = pair.ask("seed_flow")
    moves = [row for row in source.rows if row["source"] != row["target"]]
    counts: dict[int, float] = defaultdict(float)
    names: dict[int, str] = {}
    for row in moves:
        counts[row["source"]] += row["n"]
        counts[row["target"]] += row["n"]
        names |= {row["source"]: row["source_name"], row["target"]: row["target_name"]}
    order = sorted(counts, key=lambda class_id: (-counts[class_id], class_id))
    shown = sorted(order[:PLACES] if len(order) > PLACES + 1 else order)
    places = {class_id: place for place, class_id in enumerate(shown)}
    links: dict[tuple[int, int, bool | None], float] = defaultdict(float)
    for row in moves:
        start, end = places.get(row["source"], len(shown)), places.get(row["target"], len(shown))
        links[start, end, None if row["label"] is None else row["label"] == row["target"]] += row["n"]
    drawn = [Link(0, 1, start, end, is_correct, n) for (start, end, is_correct), n in sorted(links.items(), key=str)]
    rows = [str(names[class_id] or class_id) for class_id in shown]
    figure = Html("")
    if drawn:
        heads = (f"predicted by {pair.here.letter}", f"by {pair.other.letter}")
        described = draw(draw_flow, WIDE_PAGE, drawn, [*rows, "other"], heads=heads)
        figure = embed(described, "Images that change their class from A's predictions to B's")
    moved, whole = (sum(row["n"] for row in rows) for rows in (moves, source.rows))
    return Flow(source, moved, round(whole), len(shown) < len(order), figure)
