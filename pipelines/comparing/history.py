"""A figure of how concepts developed in training, made from rows of the queries."""

from matplotlib.figure import Figure

from pipelines.common.figures import short

# column of the query: title of its panel
CONCEPT_PANELS = {
    "cosine": "similarity to the concept of the last epoch (cosine)",
    "prevalence": "fraction of images that show it",
    "tcav_sign": "TCAV sign for its foremost class",
}


def concepts(rows: list[dict]) -> Figure:
    """Each concept of the last epoch by its best match at earlier ones; filled dots: an effect beyond chance."""
    figure = Figure(figsize=(13, 5), layout="constrained")
    axes = figure.subplots(1, len(CONCEPT_PANELS))
    for axis, (column, panel_title) in zip(axes, CONCEPT_PANELS.items(), strict=True):
        for concept in sorted({row["concept_id"] for row in rows}):
            concept_rows = [row for row in rows if row["concept_id"] == concept and row[column] is not None]
            epochs = [row["epoch"] for row in concept_rows]
            values = [row[column] for row in concept_rows]
            colour = f"C{concept % 10}"
            label = f"{concept}: {short(concept_rows[0]['concept_name'], 50)}" if concept_rows else None
            axis.plot(epochs, values, color=colour, label=label, ls="-" if concept < 10 else "--")
            filled = [column != "tcav_sign" or row["significant"] for row in concept_rows]
            face_colours = [colour if is_filled else "white" for is_filled in filled]
            axis.scatter(epochs, values, s=18, zorder=3, edgecolors=colour, facecolors=face_colours)
        axis.set_title(panel_title, fontsize=9, loc="left")
        axis.set(xlabel="epoch", ylim=(-0.03, 1.03))
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", fontsize=7.5, ncols=2)
    return figure
