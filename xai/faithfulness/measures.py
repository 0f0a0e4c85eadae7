"""All measures of maps that need only the model, by the names under which they are stored."""

from torch import Tensor, nn

from xai.faithfulness.curves import insertion_and_deletion
from xai.faithfulness.ranking import rank_pixels
from xai.faithfulness.regions import find_object, fraction_on_mask
from xai.faithfulness.road import IMPUTED_FRACTIONS, classify_imputed
from xai.method import DEFAULTS, MethodInputs


def measure(
    model: nn.Module, images: Tensor, targets: Tensor, maps: Tensor, inputs: MethodInputs = DEFAULTS
) -> dict[str, Tensor]:
    """Values [N] of every measure for the maps [N, H, W] of images [N, C, H, W]; NaN where a measure does not apply."""
    order = rank_pixels(maps, inputs)
    insertion, deletion = insertion_and_deletion(model, images, targets, order)
    correct_by_order = classify_imputed(model, images, targets, order, inputs)
    morf, lerf = (correct.to(maps.dtype) for correct in correct_by_order)  # [N, F] each
    percents = [round(100 * fraction) for fraction in IMPUTED_FRACTIONS]
    return {
        "insertion": insertion,
        "deletion": deletion,
        **{f"road_morf_{percent}": morf[:, column] for column, percent in enumerate(percents)},
        **{f"road_lerf_{percent}": lerf[:, column] for column, percent in enumerate(percents)},
        "road_gap": lerf.mean(1) - morf.mean(1),
        "share_object": fraction_on_mask(maps, find_object(images)),
    }
