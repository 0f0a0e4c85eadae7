"""Evidence that a patch at one place decides a class. Rows are those of the question shortcuts."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pipelines.common.figures import short
from pipelines.drawing.style import (
    BLUE,
    FAINT,
    GREY,
    INK,
    ORANGE,
    PAPER,
    Style,
    add_legend,
    new_figure,
    set_grid,
    set_percent,
)

# column of shortcuts: name, marker and face of its mark
CONTROLS = {
    "follows_elsewhere": ("patch from elsewhere in them", "s", PAPER),
    "follows_others": ("same place of other classes", "^", PAPER),
}


def draw_shortcuts(rows: Sequence[dict], style: Style) -> Figure:
    """How often predictions follow a class's patch, with 95 % intervals, beside two controls; rows of shortcuts."""
    shown = sorted(rows, key=lambda row: -row["follows"])[: style.most_rows]
    figure = new_figure(style, style.row * (len(shown) + 3))
    axes = figure.subplots()
    for place, row in enumerate(shown):
        colour = ORANGE if row["verdict"] == "found" else BLUE
        axes.hlines(place, row["follows_low"], row["follows_high"], color=colour, lw=style.line)
        axes.plot(row["follows"], place, "o", color=colour, clip_on=False)
        for column, (_, marker, face) in CONTROLS.items():
            if row[column] is not None:
                axes.plot(row[column], place, marker, color=GREY, mfc=face, clip_on=False)
    names = [short(row["class_name"], 18) for row in shown]
    names = [f"{name} ({row['verdict']})" if row["verdict"] else name for name, row in zip(names, shown, strict=True)]
    axes.set_yticks(range(len(shown)), names, color=INK)
    axes.tick_params(axis="y", length=0, labelsize=style.text)
    axes.set(xlim=(0, 1), ylim=(len(shown) - 0.4, -0.6), xlabel="Predicted as the class (%)")
    set_percent(axes.xaxis)
    set_grid(axes, "x")
    verdicts = {row["verdict"] == "found" for row in shown}
    marks = [Line2D([], [], color=ORANGE if one else BLUE, marker="o") for one in sorted(verdicts)]
    marks += [Line2D([], [], color=GREY, marker=marker, mfc=face, ls="") for _, marker, face in CONTROLS.values()]
    heads = ["with the class's patch: shortcut" if one else "with the class's patch" for one in sorted(verdicts)]
    add_legend(figure, style, marks, [*heads, *(name for name, *_ in CONTROLS.values())])
    axes.spines["left"].set_color(FAINT)
    return figure
