"""Thresholds of what the report says, in one place, each with where it comes from.

Those that say "convention" or "by eye" rest on nothing else. None of them controls an error rate by itself.
"""

# how many there must be, before anything is said
NARROW_INTERVALS = 500  # images; a 95 % interval of a fraction is then at most 9 percentage points wide
IMAGES_FOR_CLASS = 20  # of a class: with all 20 right, its 95 % interval (Wilson) still reaches down to 84 %
FEW_IMAGES = 100  # under which the report says that they are few; an interval may be 19 points wide
IMAGES_FOR_CONTRAST = (
    10  # correct and misclassified each, to compare maps of both; under that a bootstrap is too narrow
)
MISTAKES_FOR_PAIRS = 10  # for pairs of classes to be worth a word; by eye
CLASSES_FOR_CORRELATION = 6  # under which no rank correlation but 1 or -1 reaches the level (of 5: p = .083 at .9)
IMAGES_FOR_CALIBRATION = 1000  # under which the expected calibration error is noticeably biased upwards; by eye

# what counts
SIGNIFICANCE_LEVEL = 0.05  # convention
CLEAR_CORRELATION = 0.5  # rank correlation under which no relation is mentioned; convention (Cohen 1988: large)
STRONG_AGREEMENT = 0.7  # rank correlation of two methods' maps from which on they tell much the same; by eye
LIKE_RANDOM_WEIGHTS = (
    0.5  # rank correlation with maps of random weights above which a method hardly depends on what was
)
# learned (after Adebayo 2018, arXiv 1810.03292, which gives no threshold); by eye
UNEVEN_CLASSES = 5  # times as many images as the smallest class has, from which on classes are called uneven; by eye
DOUBTFUL_LABEL = 0.05  # mean probability of a label under which it is very doubtful; by eye
SAME_CONCEPT = 0.9  # cosine from which on two directions are the same concept, as where names are taken over
CONCEPT_IN_CLASS = 0.1  # fraction of a class's images from which on it is said to show a concept; by eye
CONCEPT_STANDS_FOR_CLASS = 0.5  # fraction of a class's images from which on a concept stands for it: most of them
ANSWERS_KEPT = 0.9  # fraction of images whose answer the concepts should keep, the aim of ice
SMALLEST_CONTRIBUTION = 0.005  # logits that count as a contribution: what two decimals show
