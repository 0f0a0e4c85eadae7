"""What the report's verdicts control, and thresholds of what it says, in one place, each with where it comes from.

Thresholds that say "convention" or "by eye" rest on nothing else; only VERDICTS controls an error rate.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch

from pipelines.common.metrics import BEATS_RANDOM_LEVEL
from xai.tcav import correct_by_holm

Key = TypeVar("Key")


@dataclass(frozen=True)
class Verdict:
    """Sentences and marks of one kind that say that something differs.

    Where nothing does, any of them says so with a probability of at most `level`, however many of them there are.
    """

    family: str
    level: float
    test: str


# A report on a study in which nothing differs states any false difference with a probability of at most the sum, 0.05.
VERDICTS = {
    "beats_random": Verdict("methods", BEATS_RANDOM_LEVEL, "sign flips, step-down max-T over methods and metrics"),
    "method_differences": Verdict("methods", 0.004, "sign flips, step-down max-T over pairs of methods and metrics"),
    "settling": Verdict("methods", 0.002, "exact sign test of each method, Holm"),
    "places": Verdict("places", 0.006, "intervals that hold together (Bonferroni), by method, place and subset"),
    "agreement": Verdict("places", 0.004, "intervals that hold together (Bonferroni), by pair of methods and subset"),
    "class_accuracy": Verdict("classes", 0.003, "Fisher's exact test of each class against the others, Holm"),
    "mixed_up_pairs": Verdict("classes", 0.002, "exact binomial tests: first pair or second, one way or the other"),
    "epochs": Verdict("classes", 0.002, "exact sign tests on the images that changed, Bonferroni over epochs"),
    "class_concepts": Verdict("classes", 0.0015, "rank correlations with permutation p-values, Holm"),
    "own_concepts": Verdict("classes", 0.0015, "Fisher's exact test of each class and concept, Holm"),
    "confidence": Verdict("calibration", 0.0025, "exact binomial test of the whole split"),
    "confidence_bins": Verdict("calibration", 0.0025, "exact binomial test of each bin, Holm"),
    "concepts": Verdict("concepts", 0.01, "min-p over concepts and classes against directions without meaning"),
    "shortcuts": Verdict("shortcuts", 0.003, "Fisher (split_gap) and McNemar (shortcuts), Holm; half the level each"),
    "shortcut_concepts": Verdict("shortcuts", 0.001, "Fisher's exact test of each stable concept and shortcut, Holm"),
    "shortcut_places": Verdict("shortcuts", 0.001, "Fisher's exact test of maps on the first shortcut's patch"),
}

# how many there must be before anything is claimed
NARROW_INTERVALS = 500  # images; a 95 % interval of a fraction is then at most 9 percentage points wide
IMAGES_FOR_CLASS = 20  # of a class: with all 20 right, its 95 % interval (Wilson) still reaches down to 84 %
FEW_IMAGES = 100  # under which the report says that they are few; an interval may be 19 points wide
IMAGES_FOR_CONTRAST = 20  # correct and misclassified each, to compare maps of both: images_for_interval of macros.sql
MISTAKES_FOR_PAIRS = 10  # for pairs of classes to be worth a word; by eye
CLASSES_FOR_CORRELATION = 6  # under which no rank correlation but 1 or -1 reaches the level (of 5: p = .083 at .9)

# what counts
CLEAR_CORRELATION = 0.5  # rank correlation under which no relation is mentioned; convention (Cohen 1988: large)
UNEVEN_CLASSES = 5  # times as many images as the smallest class has, from which on classes are called uneven; by eye
MOST_UNCLEAR = 0.05  # fraction of images that may be unclear, as to whether they carry a patch, if any is named
MOST_DISPUTED = 0.1  # fraction of training labels contradicted, beyond which most are the model's own mistakes; by eye
SAME_CONCEPT = 0.9  # cosine from which on two directions are the same concept, as where names are taken over
CONCEPT_IN_CLASS = 0.1  # fraction of a class's images from which on it is said to show a concept; by eye
CONCEPT_STANDS_FOR_CLASS = 0.5  # fraction of a class's images from which on a concept stands for it: most of them
ANSWERS_KEPT = 0.9  # fraction of images whose answer the concepts should keep, the aim of ice
MOST_ANSWERS = 0.5  # fraction of answers kept from which on the question for patterns counts as answered in part: most
SMALLEST_CONTRIBUTION = 0.005  # logits that count as a contribution: what two decimals show


def holm(chances: Mapping[Key, float]) -> dict[Key, float]:
    """P-values corrected for all of them (Holm 1979): what is left at a level holds it for all together."""
    corrected = correct_by_holm(torch.tensor(list(chances.values()), dtype=torch.double))
    return dict(zip(chances, corrected.tolist(), strict=True))
