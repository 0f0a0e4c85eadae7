"""All measures of maps that need nothing but the model, by the names they are stored under."""

from torch import Tensor, nn

from xai.faithfulness.curves import insertion_deletion
from xai.faithfulness.ranking import ranked
from xai.faithfulness.regions import object_like, share_on
from xai.faithfulness.road import SHARES, road
from xai.method import NOTHING, Given


def measure(
    model: nn.Module, images: Tensor, targets: Tensor, maps: Tensor, given: Given = NOTHING
) -> dict[str, Tensor]:
    """Values [N] of every measure for the maps [N, H, W] of images [N, C, H, W]; NaN where one does not apply."""
    order = ranked(maps, given)
    insertion, deletion = insertion_deletion(model, images, targets, order)
    first, last = (kept.to(maps.dtype) for kept in road(model, images, targets, order, given))  # [N, S]
    percents = [round(100 * share) for share in SHARES]
    return {
        "insertion": insertion,
        "deletion": deletion,
        **{f"road_morf_{percent}": first[:, column] for column, percent in enumerate(percents)},
        **{f"road_lerf_{percent}": last[:, column] for column, percent in enumerate(percents)},
        "road_gap": last.mean(1) - first.mean(1),
        "share_object": share_on(maps, object_like(images)),
    }
