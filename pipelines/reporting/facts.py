"""All facts of a report, gathered before a word of it is written."""

from dataclasses import dataclass

from pipelines.common.outputs import find_page
from pipelines.pages.reviews import Reviews, read_reviews
from pipelines.reporting.accuracy import Accuracy, gather_accuracy
from pipelines.reporting.calibration import Calibration, gather_calibration
from pipelines.reporting.checks import Checks, gather_checks
from pipelines.reporting.faithfulness import Faithfulness, gather_faithfulness
from pipelines.reporting.gallery import Gallery, fill_gallery
from pipelines.reporting.history import Learning, gather_learning
from pipelines.reporting.labels import Labels, Review, gather_labels, gather_reviews, gather_training_labels
from pipelines.reporting.mistakes import Mistakes, gather_mistakes
from pipelines.reporting.model import Model, gather_model
from pipelines.reporting.parts import Parts, gather_parts
from pipelines.reporting.patterns import Patterns, gather_patterns
from pipelines.reporting.seed_group import SeedGroup, gather_seed_group
from pipelines.reporting.shortcuts import Shortcuts, gather_shortcuts
from pipelines.reporting.subject import Subject
from pipelines.reporting.techniques import MethodFigures, gather_method_figures
from xai import METHODS


@dataclass(frozen=True)
class Facts:
    """What the templates may speak of; None stands for what there is nothing of."""

    subject: Subject
    accuracy: Accuracy
    calibration: Calibration | None
    shortcuts: Shortcuts
    labels: Labels
    training_labels: Labels
    reviews: Reviews
    reviewed: list[Review]
    seeds: SeedGroup | None
    parts: Parts | None
    faithfulness: Faithfulness | None
    patterns: Patterns | None
    mistakes: Mistakes
    learning: Learning | None
    checks: Checks
    model: Model
    method_figures: MethodFigures | None
    gallery: Gallery
    flow_page: str | None  # name of the InstanceFlow page among the run's files


def gather_facts(subject: Subject) -> Facts:
    """Ask every question of the report."""
    accuracy = gather_accuracy(subject)
    parts = None if subject.imported else gather_parts(subject)
    faithfulness = gather_faithfulness(subject) if parts else None
    patterns = None if subject.imported else gather_patterns(subject)
    shortcuts = gather_shortcuts(subject, faithfulness, patterns.found if patterns else None)
    labels, training_labels = gather_labels(subject, shortcuts), gather_training_labels(subject.evidence)
    reviews = read_reviews(subject.evidence, subject.run.run_id)
    mistakes = gather_mistakes(subject, accuracy, patterns)
    checks = gather_checks(subject)
    ranked = faithfulness.order() if faithfulness and faithfulness.methods else []
    order = [*ranked, *(method for method in METHODS if method not in ranked)]
    explained = parts.explained if parts else None
    return Facts(
        subject, accuracy, gather_calibration(subject), shortcuts, labels, training_labels, reviews,
        gather_reviews(subject, reviews), gather_seed_group(subject), parts, faithfulness, patterns, mistakes,
        gather_learning(subject), checks, gather_model(subject), gather_method_figures(subject),
        fill_gallery(subject, explained, order, mistakes, checks, labels, training_labels, shortcuts),
        find_page(subject.home, subject.run.run_id, "flow", subject.split),
    )  # fmt: skip
