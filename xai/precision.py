"""Whether maps that were computed in bfloat16 stand for those computed in float32.

bfloat16 has 8 bits of mantissa. ReLUs and maxima that are nearly tied change sides, so single gradients differ visibly,
and means over many passes hardly. How much depends on the network, so it is measured on some images. Property: maps
stand for themselves; shuffled maps do not, nor do maps that sum to more than one percent more.
"""

from xai.faithfulness.similarity import spearman
from xai.method import Attribution

MIN_CORRELATION = 0.99  # rank correlation of each map with its like
MAX_GAP_CHANGE = 0.01  # of the completeness gap, as a fraction of the score's rise


def find_difference(exact: Attribution, other: Attribution) -> str | None:
    """Why one of `other`'s maps does not stand for the exact one of the same image; None if all do."""
    correlations = spearman(exact.maps.flatten(1), other.maps.flatten(1))
    if not (correlations >= MIN_CORRELATION).all():  # NaN, of a constant map, is not a correlation either
        return f"the rank correlation of a map is {correlations.nan_to_num(0).min():.3f}, less than {MIN_CORRELATION}"
    if exact.completeness_gaps is None or other.completeness_gaps is None or exact.baseline_scores is None:
        return None
    rises = (exact.scores - exact.baseline_scores).abs()
    changes = (other.completeness_gaps - exact.completeness_gaps).abs()
    if not (changes <= MAX_GAP_CHANGE * rises).all():
        largest = (changes / rises).max()
        return f"the sum of a map changes by {largest:.1%} of the score's rise, more than {MAX_GAP_CHANGE:.0%}"
    return None
