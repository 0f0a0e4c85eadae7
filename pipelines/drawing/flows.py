"""Where images are predicted from epoch to epoch (InstanceFlow's Sankey diagram)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, PathPatch, Rectangle
from matplotlib.path import Path

from pipelines.common.figures import short
from pipelines.drawing.style import BLUE, GREY, HATCH, INK, ORANGE, PAPER, Style, add_legend, measure

NODE = 0.09  # width of a node, in inches
# of a link by whether it leads to a correct prediction: name, colour, opacity; in grey, the latter and hatching tell
# them apart
LINKS: dict[bool | None, tuple[str, str, float]] = {
    True: ("then correct", BLUE, 0.4),
    False: ("then misclassified", ORANGE, 0.75),
    None: ("label unknown", GREY, 0.5),
}
MOST_UNEVEN = 3  # times that a gap between epochs may be wider than another and both be drawn to scale
Ends = tuple[float, float]  # places along the vertical axis, which points down


@dataclass(frozen=True)
class Link:
    """Images that go from one place, a row of the drawing, to another between two epochs."""

    epoch: int
    next_epoch: int
    source: int
    target: int
    is_correct: bool | None  # whether the target is their class; None if that is unknown
    n: float


def is_to_scale(epochs: Sequence[int]) -> bool:
    """Whether epochs are drawn apart in proportion to their difference; else, where gaps differ much, evenly."""
    gaps = [end - start for start, end in pairwise(epochs)]
    return max(gaps) <= MOST_UNEVEN * min(gaps)


def draw_flow(
    links: Sequence[Link], names: Sequence[str], style: Style, *, heads: Sequence[str] | None = None
) -> Figure:
    """Images by predicted class (rows, named) and epoch (columns), and their moves; heights are numbers of images.

    Columns that are not epochs have `heads` above them.
    """
    epochs = sorted({link.epoch for link in links} | {link.next_epoch for link in links})
    names = [short(name, 14) for name in names]
    label = measure(["epoch", *names], style.text) + 0.06
    gap = style.row  # keeps the names, which stand beside their nodes, apart
    flow = max(0.9, 0.42 * style.width if style.is_narrow else 2.6)  # height of all images together
    top = 1.2 * style.row
    height = flow + gap * len(names) + top
    figure = Figure(figsize=(style.width, height))
    kinds = [kind for kind in LINKS if any(link.is_correct is kind for link in links)]
    handles = [Patch(**_paint(kind, style)) for kind in kinds]
    add_legend(figure, style, handles, [LINKS[kind][0] for kind in kinds])
    whole = figure.get_figheight()
    axes = figure.add_axes((label / style.width, 0.04 / whole, 1 - 2 * label / style.width, (height - top) / whole))
    inside = style.width - 2 * label
    axes.set(xlim=(0, inside), ylim=(flow + gap * len(names), 0))
    axes.axis("off")

    totals = [sum(link.n for link in links if link.epoch == epoch) for epoch in epochs[:-1]]
    scale = flow / max(totals)
    places = epochs if is_to_scale(epochs) else range(len(epochs))
    step = (inside - NODE) / (places[-1] - places[0])
    xs = {epoch: (place - places[0]) * step for place, epoch in zip(places, epochs, strict=True)}
    sizes = {
        (epoch, row): scale * max(
            sum(link.n for link in links if (link.epoch, link.source) == (epoch, row)),
            sum(link.n for link in links if (link.next_epoch, link.target) == (epoch, row)),
        )
        for epoch in epochs for row in range(len(names))
    }  # fmt: skip
    starts: dict[tuple[int, int], float] = {}
    for epoch in epochs:
        at = gap / 2
        for row in range(len(names)):
            starts[epoch, row] = at
            at += sizes[epoch, row] + gap
    leaves, enters = dict(starts), dict(starts)
    order = sorted(links, key=lambda link: (link.epoch, link.source, link.target, not link.is_correct))
    enter_of = {}
    for link in sorted(order, key=lambda link: (link.next_epoch, link.target, link.source, not link.is_correct)):
        enter_of[link] = enters[link.next_epoch, link.target]
        enters[link.next_epoch, link.target] += scale * link.n
    for link in order:
        start, thick = leaves[link.epoch, link.source], scale * link.n
        leaves[link.epoch, link.source] += thick
        ends = (xs[link.epoch] + NODE, xs[link.next_epoch])
        _draw_link(axes, ends, (start, enter_of[link]), thick, _paint(link.is_correct, style))
    for (epoch, row), size in sizes.items():
        if size:  # some viewers draw a line for a box without height
            axes.add_patch(Rectangle((xs[epoch], starts[epoch, row]), NODE, size, facecolor=INK, lw=0))
    columns = {"epoch": -0.05} if heads is None else {}
    for text, epoch in zip(heads or map(str, epochs), epochs, strict=True):
        columns[text] = xs[epoch] + NODE / 2
    for text, x in columns.items():
        axes.annotate(
            text, (x, 0), (0, 2), textcoords="offset points", ha="right" if text == "epoch" else "center", va="bottom",
            fontsize=style.small, annotation_clip=False,
        )  # fmt: skip
    for epoch, x, side in ((epochs[0], -0.05, "right"), (epochs[-1], inside + 0.05, "left")):
        for row, name in enumerate(names):
            if sizes[epoch, row]:
                middle = starts[epoch, row] + sizes[epoch, row] / 2
                axes.text(x, middle, name, ha=side, va="center_baseline")
    return figure


def _paint(is_correct: bool | None, style: Style) -> dict[str, Any]:
    """How a link is filled; in print, mistakes are hatched."""
    _, colour, alpha = LINKS[is_correct]
    hatched = {"hatch": HATCH, "edgecolor": PAPER} if is_correct is False and style.is_print else {}
    return {"facecolor": colour, "alpha": alpha, "lw": 0} | hatched


def _draw_link(axes: Axes, xs: Ends, tops: Ends, thick: float, paint: Mapping[str, Any]) -> None:
    """A band between two nodes, from its tops at both ends."""
    (left, right), (start, end) = xs, tops
    middle = (left + right) / 2
    vertices = [
        (left, start), (middle, start), (middle, end), (right, end), (right, end + thick), (middle, end + thick),
        (middle, start + thick), (left, start + thick), (left, start),
    ]  # fmt: skip
    curve = [Path.CURVE4] * 3
    path = Path(vertices, [Path.MOVETO, *curve, Path.LINETO, *curve, Path.CLOSEPOLY])
    axes.add_patch(PathPatch(path, **paint))
