"""Figures of how explanations and concepts came about in training, made from rows of the queries."""

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pipelines.common.figures import short
from pipelines.comparing.figures import Rows, headed

CONCEPTS = {
    "cosine": "likeness with the concept of the last epoch (cosine)",
    "prevalence": "share of images that show it",
    "tcav_sign": "TCAV sign for its foremost class",
}


def drift(rows: Rows, title: str) -> Figure:
    """When explanations settle: likeness with the last epoch's map, and the share settled, by epoch and method."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for number, method in enumerate(sorted({row["method"] for row in rows})):
        own = [row for row in rows if row["method"] == method]
        epochs = [row["epoch"] for row in own]
        style = {"marker": "o", "ms": 3, "color": f"C{number}"}
        left.plot(epochs, [row["to_last"] for row in own], label=f"{method} (n = {own[0]['n']})", **style)
        right.plot(epochs, [row["share_settled"] for row in own], **style)
        right.plot(epochs, [row["share_prediction_settled"] for row in own], ls="--", **style)
    left.set(ylabel="Spearman with the last map (8x8, |map|)", xlabel="epoch (0: untrained)", ylim=(-0.1, 1.03))
    right.set(ylabel="share settled from here on", xlabel="epoch (0: untrained)", ylim=(0, 1.03))
    for axis in (left, right):
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
    left.legend(fontsize=7)
    lines = [Line2D([], [], color="#444444", ls=kind) for kind in ("-", "--")]
    right.legend(lines, ["explanation", "prediction of the same images"], fontsize=7)
    headed(figure, title)
    return figure


def concepts(rows: Rows, title: str) -> Figure:
    """Each concept of the last epoch by its best match at earlier ones; a filled dot: TCAV sign is beyond chance."""
    figure = Figure(figsize=(13, 5), layout="constrained")
    for axis, (key, name) in zip(figure.subplots(1, len(CONCEPTS)), CONCEPTS.items(), strict=True):
        for concept in sorted({row["concept_id"] for row in rows}):
            own = [row for row in rows if row["concept_id"] == concept and row[key] is not None]
            sure = [key != "tcav_sign" or row["significant"] for row in own]
            colour = f"C{concept % 10}"
            label = f"{concept}: {short(own[0]['concept_name'], 50)}" if own else None
            axis.plot([row["epoch"] for row in own], [row[key] for row in own], color=colour, label=label,
                      ls="-" if concept < 10 else "--")  # fmt: skip
            axis.scatter([row["epoch"] for row in own], [row[key] for row in own], s=18, zorder=3, edgecolors=colour,
                         facecolors=[colour if filled else "white" for filled in sure])  # fmt: skip
        axis.set_title(name, fontsize=9, loc="left")
        axis.set(xlabel="epoch", ylim=(-0.03, 1.03))
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", fontsize=7.5, ncols=2)
    headed(figure, title)
    return figure
