"""Small drawings within a page's text: bars, and the scales of maps."""

from collections.abc import Iterable, Sequence

from pipelines.common.heatmaps import SCALE_ENDS, SCALE_NOTE, colour_table
from pipelines.pages.embedding import ENLARGED
from pipelines.pages.html import Html, html, joined
from pipelines.pages.words import percent

SIGNED_ENDS = ("against the predicted class", "for it")  # the maps of a page explain no other class


def svg(width: float, height: float, alt: str, parts: Iterable[object], kind: str = "chart") -> Html:
    return html(
        '<svg class="{}" viewBox="0 0 {} {}" width="{}" role="img" aria-label="{}">{}</svg>\n',
        kind, f"{width:g}", f"{height:g}", f"{ENLARGED * width:.0f}", alt, joined(parts),
    )  # fmt: skip


def text(x: float, y: float, content: object, kind: str = "", anchor: str = "start") -> Html:
    return html(
        '<text x="{}" y="{}" class="{}" text-anchor="{}">{}</text>', f"{x:.1f}", f"{y:.1f}", kind, anchor, content
    )


def path(points: Sequence[tuple[float, float]], kind: str, closed: bool = False) -> Html:
    steps = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    return html('<path class="{}" d="M{}{}"/>', kind, steps, "Z" if closed else "")


def box(x: float, y: float, width: float, height: float, kind: str) -> Html:
    return html('<rect x="{}" y="{}" width="{}" height="{}" class="{}"/>', f"{x:.1f}", f"{y:.1f}", f"{width:.1f}",
                f"{height:.1f}", kind)  # fmt: skip


def bar(share: float | None, low: float | None = None, high: float | None = None, even: float | None = None) -> Html:
    """A bar for a fraction, its interval as a line, what to compare it with as a dashed mark."""
    if share is None:
        return Html("")
    wide = 100
    parts = [box(0, 0, wide, 12, "back"), box(0, 0, share * wide, 12, "fill s2 pale")]
    if low is not None and high is not None:
        parts.append(path([(low * wide, 6), (high * wide, 6)], "whisker"))
    if even is not None:
        parts.append(path([(even * wide, 0), (even * wide, 12)], "mark"))
    return svg(wide, 12, percent(share), parts, "bar")


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
        text(0, 22, ends[0], "tick"), text(190, 22, ends[1], "tick", "end"),
    ]  # fmt: skip
    return svg(190, 26, f"Colours from {ends[0]} to {ends[1]}", parts, "chart scale")
