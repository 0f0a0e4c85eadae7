"""A drawing inside the page: SVG whose colours are the page's own, so that it is dark where the page is.

Matplotlib's own SVG has its colours in style attributes, which neither the page's policy nor its dark mode allows.
"""

from typing import Any

import numpy as np
from matplotlib.backend_bases import GraphicsContextBase, RendererBase
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.path import Path
from matplotlib.text import Text
from matplotlib.transforms import Affine2D, Transform

from pipelines.drawing import style
from pipelines.pages.html import Html, html, joined

ENLARGED = 1.15  # pixels of a point, where there is room
# ink: its variable in page.css; other colours stay as they are
VARIABLES = {
    style.INK: "ink",
    style.FAINT: "faint",
    style.GRID: "line",
    style.PAPER: "paper",
    style.ORANGE: "s1",
    style.BLUE: "s2",
    style.GREY: "s3",
    style.PURPLE: "s4",
    style.GREEN: "s5",
    style.PINK: "s6",
    style.BROWN: "s7",
}
HATCH = 4  # points between stripes
COMMANDS = {Path.MOVETO: "M", Path.LINETO: "L", Path.CURVE3: "Q", Path.CURVE4: "C"}


def embed(figure: Figure, alt: str) -> Html:
    """A figure as an SVG element that the page can hold; `alt` says what it shows."""
    renderer = PageRenderer(*(72 * figure.get_size_inches()))
    figure.set_dpi(72)
    figure.patch.set_visible(False)
    figure.draw(renderer)
    return html(
        '<svg class="chart" viewBox="0 0 {} {}" width="{}" role="img" aria-label="{}">{}</svg>\n',
        f"{renderer.width:g}", f"{renderer.height:g}", f"{ENLARGED * renderer.width:.0f}", alt, joined(renderer.parts),
    )  # fmt: skip


class PageRenderer(RendererBase):
    """Collects a figure's shapes as SVG elements; lengths are points."""

    def __init__(self, width: float, height: float) -> None:
        super().__init__()
        self.width, self.height = width, height
        self.parts: list[Html] = []

    def points_to_pixels(self, points: Any) -> Any:
        return points

    def get_canvas_width_height(self) -> tuple[float, float]:
        return self.width, self.height

    def flipy(self) -> bool:
        return True

    def draw_path(self, gc: GraphicsContextBase, path: Path, transform: Transform, rgbFace: Any | None = None) -> None:
        turned = transform + Affine2D().scale(1, -1).translate(0, self.height)
        steps = "".join(
            "Z" if code == Path.CLOSEPOLY else COMMANDS[code] + " ".join(f"{value:.1f}" for value in points)
            for points, code in path.iter_segments(turned, simplify=False)
        )
        if not steps:
            return
        paints = {"fill": rgbFace}
        details = Html("")
        if gc.get_linewidth() and gc.get_rgb()[3]:
            paints["stroke"] = gc.get_rgb()
            details = html(' stroke-width="{}"', f"{gc.get_linewidth():g}")
            dashes: Any = gc.get_dashes()[1]
            if dashes:
                details += html(' stroke-dasharray="{}"', " ".join(f"{dash:g}" for dash in dashes))
        alpha = gc.get_alpha() if gc.get_forced_alpha() else None
        self.parts.append(html('<path d="{}"{}{}/>', steps, _paint(paints, alpha), details))
        if gc.get_hatch() and rgbFace is not None:
            self._draw_hatch(gc, path, turned)

    def draw_text(
        self, gc: GraphicsContextBase, x: float, y: float, s: str, prop: FontProperties, angle: float,
        ismath: Any = False, mtext: Text | None = None,
    ) -> None:  # fmt: skip
        anchor = "start"
        if mtext is not None and angle == 0:
            anchor = {"left": "start", "center": "middle", "right": "end"}[mtext.get_horizontalalignment()]
            x = mtext.get_transform().transform(mtext.get_unitless_position())[0]
        place = html('x="{}" y="{}"', f"{x:.1f}", f"{y:.1f}")
        if angle:
            place = html('transform="translate({} {}) rotate({})"', f"{x:.1f}", f"{y:.1f}", f"{-angle:g}")
        size = f"{prop.get_size_in_points():g}"
        self.parts.append(
            html('<text {} font-size="{}" text-anchor="{}"{}>{}</text>', place, size, anchor,
                 _paint({"fill": gc.get_rgb()}, None), s)
        )  # fmt: skip

    def draw_image(self, gc: GraphicsContextBase, x: float, y: float, im: Any, transform: Any = None) -> None:
        raise NotImplementedError("pictures enter a page as <img>, not inside a drawing")

    def _draw_hatch(self, gc: GraphicsContextBase, path: Path, turned: Transform) -> None:
        """Stripes across a box: in grey its colour is like others'."""
        left, top, right, bottom = path.get_extents(turned).extents
        for start in np.arange(left - (bottom - top), right, HATCH):
            first, last = max(start, left), min(start + bottom - top, right)
            points = (f"{value:.1f}" for value in (first, bottom - first + start, last, bottom - last + start))
            paint = _paint({"stroke": gc.get_hatch_color()}, None)
            self.parts.append(html('<path d="M{} {}L{} {}" stroke-width="1"{}/>', *points, paint))


def _paint(paints: dict[str, Any], alpha: float | None) -> Html:
    """Attributes for colours RGBA, or None for no colour: the page's own by class, others as they are."""
    classes, attributes = [], Html("")
    for attribute, colour in paints.items():
        name = None if colour is None else VARIABLES.get(to_hex(colour))
        if name is not None:
            classes.append(f"{attribute}-{name}")
        else:
            attributes += html(' {}="{}"', attribute, "none" if colour is None else to_hex(colour))
        opacity = 1 if colour is None else alpha if alpha is not None else colour[3] if len(colour) > 3 else 1
        if opacity < 1:
            attributes += html(' {}-opacity="{}"', attribute, f"{opacity:.2f}")
    return (html(' class="{}"', " ".join(classes)) if classes else Html("")) + attributes
