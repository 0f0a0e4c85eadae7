"""Figures of a report, drawn as SVG in the page: sharp on paper, in the page's own colours in the dark."""

from collections.abc import Sequence

from pipelines.common.figures import capital, short
from pipelines.drawing.style import PAGE, draw
from pipelines.pages.embedding import embed
from pipelines.pages.html import Html
from pipelines.pages.marks import box, svg, text
from pipelines.reporting.figure_catalogue import FIGURES
from pipelines.reporting.figure_predictions import count_confusion, read_pair_flow
from pipelines.reporting.mistakes import LARGEST, Mistakes, Pair, PairFlow


def chart(name: str, *values: object, **options: object) -> Html:
    """A figure of the catalogue, drawn as the page shows it."""
    kind = FIGURES[name]
    return embed(draw(kind.draw, PAGE, *values, **options), capital(kind.summary))


def confusion(mistakes: Mistakes, names: Sequence[str]) -> Html:
    """The confusion matrix of the classes that are confused most, the hardest pair framed."""
    shown = mistakes.classes
    counts, totals = count_confusion(mistakes.matrix.rows, shown)
    ends = mistakes.pair.ids if mistakes.pair and not mistakes.sink else ()
    pair = tuple(shown.index(end) for end in ends) if ends and set(ends) <= set(shown) else None
    return chart("confusion", counts, totals, [names[one] for one in shown], pair=pair, numbers=LARGEST)


def pair_flow(pair: Pair, flow: PairFlow, names: Sequence[str]) -> Html:
    """Where the images of a pair are predicted at some epochs: as one, the other, or any other class."""
    return chart("pair-flow", *read_pair_flow(pair.ids, flow, names))


def class_bars(rows: Sequence[dict], most: int = 3) -> Html:
    """How often the first classes show a concept; rows of concepts_by_class."""
    width, left, step = 170, 70, 15
    parts: list[Html] = []
    for place, row in enumerate(rows[:most]):
        y = 2 + step * place
        full = width - left - 34
        parts += [
            text(left - 5, y + 10, short(row["class_name"], 11), "label", "end"), box(left, y + 1, full, 11, "back"),
            box(left, y + 1, row["prevalence"] * full, 11, "fill s2"),
            text(width, y + 10, f"{100 * row['prevalence']:.0f}\u00a0%", "tick", "end"),
        ]  # fmt: skip
    return svg(width, step * min(most, len(rows)) + 4, "The classes that show it most", parts, "chart small")
