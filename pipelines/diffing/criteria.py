"""What the page's verdicts control, and its thresholds, in one place, in the form of the report's."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Verdict:
    """Statements of one part of the page that say that two models or recipes differ.

    Where they do not, any of them is made with a probability of at most `level`, however many of them there are.
    """

    question: str
    level: float
    test: str
    families: int = 1  # of statements in the question's answer, each of which holds the level that is asked for

    @property
    def asked_level(self) -> float:
        """The question's parameter `level`."""
        return self.level / self.families


# A page on models that do not differ states any difference with a probability of at most PAGE_LEVEL. Two runs are told
# apart by accuracy, classes, calibration and concepts; two groups of seeds by accuracy, classes, calibration, churn and
# explanations; a run and a group by the last two.
PAGE_LEVEL = 0.05
VERDICTS = {
    "accuracy": Verdict("fixed_and_broken", 0.015, "McNemar's exact test; of groups, over seeds and images"),
    "classes": Verdict("improvement_by_class", 0.01, "the same for every class and every confusion, Tarone-Holm", 2),
    "calibration": Verdict("calibration_change", 0.005, "interval of the difference of Brier scores"),
    "churn": Verdict("churn", 0.01, "regrouping of the trainings, max-T over all images and classes"),
    "explanations": Verdict("explanation_change", 0.01, "regrouping of the trainings, max-T over methods"),
    "concepts": Verdict("concept_change", 0.02, "intervals of rank correlations that hold together, Bonferroni"),
}
SEEDS_TO_TELL = 5  # of each recipe, from which on p-values of churn and explanations can reach their levels
SAME_CONCEPT = 0.7  # rank correlation of scores from which on two concepts count as one; by eye

# what is shown, at most
IMAGES = 4  # of each kind
GROUP_IMAGES = 12  # of each kind, of groups
METHODS = 3  # of an image's maps
CLASSES = 12  # rows of a table
CONCEPTS = 12  # rows of the table of concepts
PLACES = 8  # classes of the flow; others are one more
LIKELIEST = 3  # classes of an image's probabilities
