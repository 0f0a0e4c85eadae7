"""How far maps say what the model does. N images, H x W = P pixels, S shares."""

from xai.faithfulness.curves import insertion_deletion
from xai.faithfulness.measure import measure
from xai.faithfulness.randomization import Stage, randomization_similarity, randomized, stages
from xai.faithfulness.ranking import ranked
from xai.faithfulness.regions import object_like, share_on
from xai.faithfulness.road import road
from xai.faithfulness.similarity import alike, spearman

__all__ = [
    "Stage",
    "alike",
    "insertion_deletion",
    "measure",
    "object_like",
    "randomization_similarity",
    "randomized",
    "ranked",
    "road",
    "share_on",
    "spearman",
    "stages",
]
