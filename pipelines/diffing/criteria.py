"""What the page's verdicts control, and its thresholds, in one place, in the form of the report's."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Verdict:
    """Statements of one kind that say that two models or recipes differ.

    Where they do not, any of them is made with a probability of at most `level`, however many of them there are.
    """

    level: float
    test: str


# Each part of the page answers a question of its own and holds its level by itself.
VERDICTS = {
    "accuracy": Verdict(0.05, "McNemar's exact test; of groups, over seeds and images (fixed_and_broken)"),
    "classes": Verdict(
        0.05, "the same tests of every class and, apart, every confusion, Tarone-Holm (improvement_by_class)"
    ),
    "calibration": Verdict(0.05, "interval of the difference of Brier scores (calibration_change)"),
    "churn": Verdict(0.05, "regrouping of the trainings, max-T over all images and classes (churn)"),
    "explanations": Verdict(0.05, "regrouping of the trainings, max-T over methods (explanation_change)"),
    "concepts": Verdict(0.05, "intervals of rank correlations that hold together, Bonferroni (concept_change)"),
}
SAME_CONCEPT = 0.7  # rank correlation of scores from which on two concepts count as one; by eye

# what is shown, at the most
IMAGES = 4  # of each kind
GROUP_IMAGES = 12  # of each kind, of groups
METHODS = 3  # of an image's maps
CLASSES = 12  # rows of a table
CONCEPTS = 12  # rows of the table of concepts
PLACES = 8  # classes of the flow; others are one more
LIKELIEST = 3  # classes of an image's probabilities
