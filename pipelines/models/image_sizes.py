"""How large images are inside the network: they grow over the epochs."""

from pipelines.common.settings import TrainSettings

# side of the images inside the network, as a part of the full one, until which share of the epochs: small images teach
# coarse features at a fraction of the cost. They stop short of whole images: at a rate that has almost come down to 0,
# a network does not get used to another size any more, and fell from 86.2 to 84.8 % on CIFAR-10
GROWTH = ((0.3, 0.5), (1.0, 0.75))


def plan_image_scales(settings: TrainSettings) -> list[float]:
    """Side of the images by epoch, as a part of the full one."""
    if settings.progressive_resizing == "no":
        return [1.0] * settings.epochs
    ends = [min(round(share * settings.epochs), settings.epochs - 1) for share, _ in GROWTH[:-1]]
    grown = [[scale] * (end - start) for start, end, (_, scale) in
             zip([0, *ends], [*ends, settings.epochs], GROWTH, strict=True)]  # fmt: skip
    return [scale for stage in grown for scale in stage]
