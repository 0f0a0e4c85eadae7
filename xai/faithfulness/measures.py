"""All measures of maps that need nothing but the model, by the names they are stored under."""

from torch import Tensor, nn

from xai.faithfulness.curves import insertion_and_deletion
from xai.faithfulness.ranking import rank_pixels
from xai.faithfulness.regions import find_object, fraction_on_mask
from xai.faithfulness.road import IMPUTED_FRACTIONS, classify_imputed
from xai.method import DEFAULTS, MethodInputs


def measure(
    model: nn.Module, images: Tensor, targets: Tensor, maps: Tensor, inputs: MethodInputs = DEFAULTS
) -> dict[str, Tensor]:
    """Values [N] of every measure for the maps [N, H, W] of images [N, C, H, W]; NaN where one does not apply."""
    order = rank_pixels(maps, inputs)
    insertion, deletion = insertion_and_deletion(model, images, targets, order)
    first, last = (kept.to(maps.dtype) for kept in classify_imputed(model, images, targets, order, inputs))  # [N, S]
    percents = [round(100 * share) for share in IMPUTED_FRACTIONS]
    return {
        "insertion": insertion,
        "deletion": deletion,
        **{f"road_morf_{percent}": first[:, column] for column, percent in enumerate(percents)},
        **{f"road_lerf_{percent}": last[:, column] for column, percent in enumerate(percents)},
        "road_gap": last.mean(1) - first.mean(1),
        "share_object": fraction_on_mask(maps, find_object(images)),
    }
