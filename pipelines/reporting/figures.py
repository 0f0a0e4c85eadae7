"""Figures of a report, drawn as SVG in the page: sharp on paper, in the page's own colours in the dark."""

from collections.abc import Iterable, Sequence

from pipelines.common.figures import capital, short
from pipelines.common.heatmaps import SCALE_ENDS, SCALE_NOTE, colour_table
from pipelines.drawing.style import PAGE, draw
from pipelines.reporting.embedding import ENLARGED, embed
from pipelines.reporting.figure_catalogue import FIGURES
from pipelines.reporting.figure_predictions import count_confusion, read_pair_flow
from pipelines.reporting.html import Html, html, joined
from pipelines.reporting.mistakes import LARGEST, Mistakes, Pair, PairFlow
from pipelines.reporting.words import percent

SIGNED_ENDS = ("against the predicted class", "for it")  # the maps of a report explain no other class


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


def _svg(width: float, height: float, alt: str, parts: Iterable[object], kind: str = "chart") -> Html:
    return html(
        '<svg class="{}" viewBox="0 0 {} {}" width="{}" role="img" aria-label="{}">{}</svg>\n',
        kind, f"{width:g}", f"{height:g}", f"{ENLARGED * width:.0f}", alt, joined(parts),
    )  # fmt: skip


def _text(x: float, y: float, text: object, kind: str = "", anchor: str = "start") -> Html:
    return html('<text x="{}" y="{}" class="{}" text-anchor="{}">{}</text>', f"{x:.1f}", f"{y:.1f}", kind, anchor, text)


def _path(points: Sequence[tuple[float, float]], kind: str, closed: bool = False) -> Html:
    steps = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    return html('<path class="{}" d="M{}{}"/>', kind, steps, "Z" if closed else "")


def _box(x: float, y: float, width: float, height: float, kind: str) -> Html:
    return html('<rect x="{}" y="{}" width="{}" height="{}" class="{}"/>', f"{x:.1f}", f"{y:.1f}", f"{width:.1f}",
                f"{height:.1f}", kind)  # fmt: skip


def class_bars(rows: Sequence[dict], most: int = 3) -> Html:
    """How often the first classes show a concept; rows of concepts_by_class."""
    width, left, step = 170, 70, 15
    parts: list[Html] = []
    for place, row in enumerate(rows[:most]):
        y = 2 + step * place
        full = width - left - 34
        parts += [
            _text(left - 5, y + 10, short(row["class_name"], 11), "label", "end"), _box(left, y + 1, full, 11, "back"),
            _box(left, y + 1, row["prevalence"] * full, 11, "fill s2"),
            _text(width, y + 10, f"{100 * row['prevalence']:.0f}\u00a0%", "tick", "end"),
        ]  # fmt: skip
    return _svg(width, step * min(most, len(rows)) + 4, "The classes that show it most", parts, "chart small")


def bar(share: float | None, low: float | None = None, high: float | None = None, even: float | None = None) -> Html:
    """A bar for a fraction, its interval as a line, what to compare it with as a dashed mark."""
    if share is None:
        return Html("")
    wide = 100
    parts = [_box(0, 0, wide, 12, "back"), _box(0, 0, share * wide, 12, "fill s2 pale")]
    if low is not None and high is not None:
        parts.append(_path([(low * wide, 6), (high * wide, 6)], "whisker"))
    if even is not None:
        parts.append(_path([(even * wide, 0), (even * wide, 12)], "mark"))
    return _svg(wide, 12, percent(share), parts, "bar")


def map_legend(signed: bool, strength: bool) -> Html:
    """What is drawn into maps, and what the colours of those mean that are shown: signed ones, others, or both."""
    bars = [colour_bar(kind) for kind, shown in ((True, signed), (False, strength)) if shown]
    return joined([html("<span>{}</span>", SCALE_NOTE), *bars])


def colour_bar(signed: bool) -> Html:
    """What the colours of the maps mean, from their least to their greatest value."""
    stops = [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in colour_table(signed)[[0, *range(31, 256, 32)]]]
    name = "signed" if signed else "strength"
    gradient = joined(html('<stop offset="{}" stop-color="{}"/>', i / 8, stop) for i, stop in enumerate(stops))
    ends = SIGNED_ENDS if signed else SCALE_ENDS[signed]
    parts = [
        html('<defs><linearGradient id="{}">{}</linearGradient></defs>', name, gradient),
        html('<rect x="0" y="2" width="190" height="9" fill="url(#{})" class="frame"/>', name),
        _text(0, 22, ends[0], "tick"), _text(190, 22, ends[1], "tick", "end"),
    ]  # fmt: skip
    return _svg(190, 26, f"Colours from {ends[0]} to {ends[1]}", parts, "chart scale")
