"""How a drawing looks: its width, size of text and colours. The same function draws for paper, page and MLflow."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

from xai import METHODS

# colours that colour-blind readers tell apart (Okabe and Ito 2008); in grey, dashes, markers and hatching do
INK, FAINT, GRID, PAPER = "#1b1b1f", "#55555f", "#d8d8de", "#ffffff"
ORANGE, BLUE, GREY, PURPLE = "#d55e00", "#0072b2", "#74747e", "#7a3e9d"
GREEN, PINK, BROWN = "#00795c", "#a8487f", "#8a6d00"
FONT = "DejaVu Sans"  # comes with Matplotlib, so that figures are the same everywhere
HATCH = "//////"  # marks what would look alike in grey
DEEP = 0.6  # opacity from which on a themed colour takes white
SOLID, DOTTED, DASHED = "-", (0, (1, 1.5)), (0, (4, 2))


@dataclass(frozen=True)
class Series:
    """Colour, dashes and marker of a line."""

    colour: str
    dashes: Any
    marker: str


SPLITS = {
    "test": Series(ORANGE, SOLID, "o"),
    "val": Series(BLUE, DASHED, "s"),
    "train_seen": Series(GREY, DOTTED, "^"),
    "train_folds": Series(GREEN, DASHED, "^"),
    "train": Series(GREY, DASHED, "v"),
}
OTHER_SPLIT = Series(PURPLE, (0, (6, 2, 1, 2)), "D")
SPLIT_NAMES = {
    "train_seen": "training, as seen",
    "train_folds": "training, by folds",
    "train": "training",
    "val": "validation",
    "test": "test",
}
LINES = (
    Series(ORANGE, SOLID, "o"),
    Series(BLUE, SOLID, "s"),
    Series(GREEN, DASHED, "^"),
    Series(PURPLE, DASHED, "D"),
    Series(PINK, DOTTED, "v"),
    Series(BROWN, (0, (6, 2, 1, 2)), "P"),
    Series(GREY, SOLID, "X"),
)
REFERENCE_NAMES = {"random": "Random maps", "edge": "Edge detector"}
REFERENCE_LINES = {"random": Series(FAINT, DOTTED, ""), "edge": Series(FAINT, DASHED, "")}


@dataclass(frozen=True)
class Style:
    """Where a figure is seen: lengths in inches, text and lines in points."""

    width: float
    text: float
    small: float  # of ticks and numbers
    line: float
    most_rows: int  # classes, or images, of a figure that has a row for each
    is_print: bool = False  # whether methods are named as papers write them, rather than as the report does
    is_themed: bool = False  # whether colours are the page's, which is dark for readers who want that

    @property
    def row(self) -> float:
        """Height of a row of text, in inches."""
        return 1.55 * self.text / 72

    @property
    def is_narrow(self) -> bool:
        """Whether panels stand below each other rather than side by side."""
        return self.width < 5

    @property
    def settings(self) -> Any:
        """Matplotlib's settings, a dictionary; no text is read as mathematics."""
        return {
            "font.family": "sans-serif",
            "font.sans-serif": [FONT],
            "font.size": self.text,
            "axes.labelsize": self.text,
            "axes.titlesize": self.text,
            "legend.fontsize": self.small,
            "xtick.labelsize": self.small,
            "ytick.labelsize": self.small,
            "text.parse_math": False,
            "text.color": INK,
            "axes.labelcolor": INK,
            "axes.edgecolor": FAINT,
            "axes.linewidth": 0.6,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.axisbelow": True,
            "xtick.color": FAINT,
            "ytick.color": FAINT,
            "xtick.major.size": 2.5,
            "ytick.major.size": 2.5,
            "xtick.major.width": 0.6,
            "ytick.major.width": 0.6,
            "grid.color": GRID,
            "grid.linewidth": 0.5,
            "lines.linewidth": self.line,
            "lines.markersize": 2.2 * self.line + 0.8,
            "legend.frameon": False,
            "legend.borderaxespad": 0.2,
            "legend.handlelength": 2.2,
            "legend.columnspacing": 1.2,
            "figure.constrained_layout.h_pad": 0.03,
            "figure.constrained_layout.w_pad": 0.03,
            "svg.fonttype": "none",
            "pdf.fonttype": 42,
        }


SINGLE = Style(width=3.3, text=8, small=7, line=1.0, most_rows=40, is_print=True)
DOUBLE = Style(width=6.9, text=8, small=7, line=1.0, most_rows=40, is_print=True)
PAGE = Style(width=330 / 72, text=10.5, small=10, line=1.4, most_rows=12, is_themed=True)
WIDE_PAGE = Style(width=690 / 72, text=10.5, small=10, line=1.4, most_rows=12, is_themed=True)
LOGGED = Style(width=10, text=9, small=8, line=1.4, most_rows=100)


def draw(function: Callable[..., Figure], style: Style, *values: Any, **options: Any) -> Figure:
    """A figure in a style, laid out, and as high as what it shows."""
    with rc_context(style.settings):
        figure = function(*values, style, **options)
        if figure.get_layout_engine() is not None:
            figure.draw_without_rendering()
            figure.set_layout_engine("none")
    return figure


def choose_ink(style: Style, colour: Any, alpha: float = 1) -> str:
    """Black or white, whichever is easier to read on a colour that lies on paper with this opacity (WCAG 2.1)."""
    if style.is_themed:  # both change with the theme: white on deep colours is dark where those are light
        return PAPER if alpha > DEEP else INK
    ground = alpha * np.array(to_rgb(colour)) + (1 - alpha) * np.array(to_rgb(PAPER))
    return max((INK, PAPER), key=lambda ink: measure_contrast(ink, ground))


def measure_contrast(one: Any, other: Any) -> float:
    """Contrast of two colours, 1 to 21 (WCAG 2.1)."""
    dark, light = sorted(map(_measure_luminance, (one, other)))
    return (light + 0.05) / (dark + 0.05)


def _measure_luminance(colour: Any) -> float:
    values = np.array(to_rgb(colour))
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


def new_figure(style: Style, height: float) -> Figure:
    """An empty figure of the style's width; height in inches."""
    return Figure(figsize=(style.width, height), layout="constrained")


def set_percent(axis: Axis, ticks: Sequence[float] = (0, 0.25, 0.5, 0.75, 1)) -> None:
    """Fractions on an axis as percentages."""
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}"))


def set_epochs(axes: Axes, epochs: Sequence[int]) -> None:
    """Whole epochs on the horizontal axis, with room for a single one."""
    axes.set_xlabel("Epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=7) if len(epochs) > 1 else FixedLocator(epochs))
    margin = 0.03 * (epochs[-1] - epochs[0]) or 0.5
    axes.set_xlim(epochs[0] - margin, epochs[-1] + margin)


def set_grid(axes: Axes, direction: str = "both") -> None:
    axes.grid(axis=direction)  # type: ignore[arg-type]


def measure(texts: Sequence[str], size: float) -> float:
    """Width of the widest text, in inches."""
    font = FontProperties(family=FONT, size=size)
    return max((text_to_path.get_text_width_height_descent(text, font, False)[0] / 72 for text in texts), default=0.0)


def add_legend(figure: Figure, style: Style, handles: Sequence, names: Sequence[str]) -> None:
    """A legend above the plots, in as many columns as fit; the figure grows, so that it covers nothing."""
    beside = 4.6 * style.small / 72  # handle and gaps
    columns = len(names)
    while columns > 1:
        parts = np.array_split(names, columns)  # as Matplotlib fills it
        if sum(measure(part.tolist(), style.small) + beside for part in parts) <= style.width - 0.05:
            break
        columns -= 1
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + 1.6 * style.small / 72 * -(-len(names) // columns))
    figure.legend(handles, names, loc="outside upper left", ncols=columns, handletextpad=0.5)


def name_method(method: str, style: Style) -> str:
    """A method's name, as papers write it or as the report does; references are named too."""
    if method not in METHODS:
        return REFERENCE_NAMES.get(method, method)
    card = METHODS[method].card
    return card.printed if style.is_print else card.name


def order_methods(methods: Sequence[str] | set[str]) -> list[str]:
    """Methods in the registry's order, then references."""
    there = set(methods)
    return [method for method in (*METHODS, *REFERENCE_NAMES) if method in there]


def line_of_method(method: str) -> Series:
    """The line of a method, the same in every figure."""
    if method in REFERENCE_LINES:
        return REFERENCE_LINES[method]
    return LINES[list(METHODS).index(method) % len(LINES)]
