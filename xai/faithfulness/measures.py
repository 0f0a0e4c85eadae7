"""All measures of maps that need nothing but the model, by the names they are stored under."""

from torch import Tensor, nn

from xai.faithfulness.curves import insertion_deletion
from xai.faithfulness.ranking import ranked
from xai.faithfulness.regions import object_like, share_on
from xai.faithfulness.road import SHARES, classify_imputed
from xai.method import NOTHING, MethodInputs


def measure(
    model: nn.Module, images: Tensor, targets: Tensor, maps: Tensor, inputs: MethodInputs = NOTHING
) -> dict[str, Tensor]:
    """Values [N] of every measure for the maps [N, H, W] of images [N, C, H, W]; NaN where one does not apply."""
    order = ranked(maps, inputs)
    insertion, deletion = insertion_deletion(model, images, targets, order)
    first, last = (kept.to(maps.dtype) for kept in classify_imputed(model, images, targets, order, inputs))  # [N, S]
    percents = [round(100 * share) for share in SHARES]
    return {
        "insertion": insertion,
        "deletion": deletion,
        **{f"road_morf_{percent}": first[:, column] for column, percent in enumerate(percents)},
        **{f"road_lerf_{percent}": last[:, column] for column, percent in enumerate(percents)},
        "road_gap": last.mean(1) - first.mean(1),
        "share_object": share_on(maps, object_like(images)),
    }
