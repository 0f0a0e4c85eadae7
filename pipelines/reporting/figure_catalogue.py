"""Every figure by its name: what it shows, what draws it, and what it needs. The report and `study figure` share it."""

from collections.abc import Callable
from dataclasses import dataclass

from matplotlib.figure import Figure

from pipelines.drawing import concepts, flows, methods, pictures, predictions, shortcuts
from pipelines.reporting import figure_methods, figure_pictures, figure_predictions
from pipelines.reporting.figure_request import Content, Request


@dataclass(frozen=True)
class FigureKind:
    """A figure: `gather` raises InputError if the run lacks what it shows."""

    summary: str
    draw: Callable[..., Figure]
    gather: Callable[[Request], Content]
    takes: tuple[str, ...] = ()  # settings, besides the split, that choose what it shows


FIGURES = {
    "accuracy": FigureKind(
        "accuracy after each epoch, by split, with intervals",
        predictions.draw_accuracy,
        figure_predictions.gather_accuracy,
        ("epochs",),
    ),
    "learning-curves": FigureKind(
        "accuracy and loss after each epoch",
        predictions.draw_learning_curves,
        figure_predictions.gather_learning_curves,
        ("epochs",),
    ),
    "class-accuracy": FigureKind(
        "accuracy by class, with intervals",
        predictions.draw_class_accuracy,
        figure_predictions.gather_class_accuracy,
        ("epoch",),
    ),
    "class-history": FigureKind(
        "accuracy of each class after each epoch, with intervals",
        predictions.draw_class_history,
        figure_predictions.gather_class_history,
        ("epochs",),
    ),
    "calibration": FigureKind(
        "accuracy against confidence: the reliability diagram",
        predictions.draw_calibration,
        figure_predictions.gather_calibration,
        ("epoch",),
    ),
    "confusion": FigureKind(
        "confusion matrix: true against predicted class",
        predictions.draw_confusion,
        figure_predictions.gather_confusion,
        ("epoch",),
    ),
    "fixed-and-broken": FigureKind(
        "images that each epoch fixed and broke",
        predictions.draw_outcomes,
        figure_predictions.gather_outcomes,
        ("epochs",),
    ),
    "flow": FigureKind(
        "images from class to class, epoch by epoch", flows.draw_flow, figure_predictions.gather_flow, ("epochs",)
    ),
    "pair-flow": FigureKind(
        "the two classes confused most: their images over the epochs",
        flows.draw_flow,
        figure_predictions.gather_pair_flow,
    ),
    "faithfulness": FigureKind(
        "faithfulness of the methods, with intervals, beside random maps",
        methods.draw_faithfulness,
        figure_methods.gather_faithfulness,
        ("method",),
    ),
    "road": FigureKind(
        "ROAD curves: classes kept as pixels are imputed", methods.draw_road, figure_methods.gather_road, ("method",)
    ),
    "agreement": FigureKind(
        "agreement of the methods, pair by pair",
        methods.draw_agreement,
        figure_methods.gather_agreement,
        ("epoch", "method"),
    ),
    "drift": FigureKind(
        "similarity of each epoch's maps to the last ones",
        methods.draw_drift,
        figure_methods.gather_drift,
        ("epochs", "method"),
    ),
    "settling": FigureKind(
        "images whose prediction and map are settled, by epoch",
        methods.draw_settling,
        figure_methods.gather_settling,
        ("epochs", "method"),
    ),
    "maps": FigureKind(
        "images and their maps, method by method",
        pictures.draw_tiles,
        figure_pictures.gather_maps,
        ("epoch", "instances", "method", "data"),
    ),
    "map-history": FigureKind(
        "one image's maps, methods by epochs",
        pictures.draw_tiles,
        figure_pictures.gather_map_history,
        ("epochs", "instances", "method", "data"),
    ),
    "concepts": FigureKind(
        "concepts: images that show each, and what it adds to classes",
        pictures.draw_concepts,
        figure_pictures.gather_concepts,
    ),
    "concept-classes": FigureKind(
        "how often each class shows each concept",
        concepts.draw_concept_classes,
        figure_pictures.gather_concept_classes,
    ),
    "concept-history": FigureKind(
        "since when the concepts are there",
        concepts.draw_concept_history,
        figure_pictures.gather_concept_history,
        ("epochs",),
    ),
    "shortcuts": FigureKind(
        "whether a patch at one place decides a class", shortcuts.draw_shortcuts, figure_pictures.gather_shortcuts
    ),
    "shortcut-images": FigureKind(
        "images of the classes that a patch decides, with its place framed",
        pictures.draw_tiles,
        figure_pictures.gather_shortcut_images,
        ("data",),
    ),
}
