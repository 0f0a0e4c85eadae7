"""Images that an epoch sees again, after every image once: which, how often, and how they are altered.

Every training image is seen once an epoch as in any training, so that split train_seen has all of them as they are.
What a continued training should look at more often is added to that: chosen images, and new ones, which are also
seen once like all others. Its control sees as many again, altered alike, but any of the training images.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pipelines.common.settings import ResolvedImprovement, ResolvedSettings
from pipelines.data.datasets import Dataset
from pipelines.data.raw import Split
from pipelines.training.label_changes import LabelChanges

TARGETS = "improvement_targets"  # table
NEW_IMAGES = "trained_on"  # new images are split extra:trained_on of the run that is trained on them
ANY_CLASS = -1
CUT_OUT = (0.05, 0.25)  # of an image's area
COLOUR = {"brightness": 0.3, "contrast": 0.3, "saturation": 0.3, "hue": 0.05}


@dataclass(frozen=True)
class Targets:
    """What a continued training should look at more often than its control."""

    chosen: dict[str, list[Any]]  # training images: columns of table improvement_targets but the run's ID
    new: Split | None = None  # further images to train on, with labels


@dataclass(frozen=True)
class Repeats:
    """How a training chooses and alters the images that each epoch sees again."""

    count: int  # images an epoch
    weights: Tensor  # [N], float64, from 0: how often each image is drawn, relative to the others; new images are last
    partners: Tensor  # [N], class of the images that each image may be mixed with, or ANY_CLASS
    augment: tuple[str, ...]  # mix, colour, cutout
    class_count: int
    new: Split | None = None  # images that are trained on beside those of the data set

    def draw(self, random: torch.Generator) -> Tensor:
        """Rows of the images, [count]: each as often as its weight says, rounded down or up.

        Systematic sampling (Madow 1949) in random order. Independent draws would leave some images out by chance and
        draw others several times, in the control too.
        """
        order = torch.randperm(len(self.weights), generator=random)
        ends = self.weights[order].cumsum(0)
        ends *= self.count / ends[-1].clone()
        ends[-1] = self.count
        marks = (ends + torch.rand(1, generator=random, dtype=torch.float64)).floor().long()
        return order.repeat_interleave(marks.diff(prepend=torch.zeros(1, dtype=torch.long)))

    def draw_partners(self, rows: Tensor, labels: Tensor, random: torch.Generator) -> Tensor:
        """For images `rows` [R], an image each that it is mixed with, of its partner class: rows [R]; `labels` [N]."""
        by_class = labels.argsort(stable=True)
        counts = labels.bincount(minlength=self.class_count)
        starts = counts.cumsum(0) - counts
        partners = self.partners[rows]
        is_any = (partners == ANY_CLASS) | (counts[partners] == 0)
        positions = torch.rand(len(rows), generator=random, dtype=torch.float64)
        of_class = starts[partners] + (positions * counts[partners]).long()
        return by_class[torch.where(is_any, (positions * len(labels)).long(), of_class)]


@dataclass(frozen=True)
class Draws:
    """What an epoch sees, in the order of places: every image once, then the repeats. [P] = [N + repeats]."""

    rows: Tensor  # [P], of the training images
    partners: Tensor  # [P], rows of the images that these are mixed with
    fractions: Tensor  # [P], float32: how much of a mixture the image itself is; 1 where it is not mixed
    once: int  # N


def draw_epoch(labels: Tensor, repeats: Repeats | None, random: torch.Generator) -> Draws:
    """The images of an epoch with `labels` [N] of all of them. Without repeats, nothing is drawn.

    Mixed are half of the repeats, with fractions from 0.5 to 1: an image keeps its label rather than changes it.
    """
    once = torch.arange(len(labels))
    if repeats is None:
        return Draws(once, once, torch.ones(len(once)), len(once))
    again = repeats.draw(random)
    partners = repeats.draw_partners(again, labels, random)
    fractions = torch.rand(len(again), generator=random)
    if "mix" not in repeats.augment:
        fractions.fill_(1)
    return Draws(
        torch.cat([once, again]),
        torch.cat([once, partners]),
        torch.cat([torch.ones(len(once)), torch.where(fractions < 0.5, fractions + 0.5, 1)]),
        len(once),
    )


def mix_images(images: Tensor, partners: Tensor, fractions: Tensor) -> Tensor:
    """Mixtures of images and partners [R, C, H, W], uint8, with `fractions` [R] of the images (Zhang 2018, 1710.09412).

    torchvision's MixUp mixes each image of a batch with the one before it, so it cannot mix chosen pairs.
    """
    weights = fractions[:, None, None, None]
    return (images * weights + partners * (1 - weights)).round().to(torch.uint8)


def mix_labels(labels: Tensor, partner_labels: Tensor, fractions: Tensor, class_count: int) -> Tensor:
    """Probabilities of the classes [B, K] that mixtures are trained with."""
    own, others = (torch.nn.functional.one_hot(part, class_count) for part in (labels, partner_labels))
    return own * fractions[:, None] + others * (1 - fractions[:, None])


def alter_images(images: Tensor, augment: tuple[str, ...]) -> Tensor:
    """Images [R, C, H, W], uint8, each with other colours, and a patch of its mean colour over a part of half of them.

    The patch is cut-out (DeVries 2017, 1708.04552). Draws from torch's global generator, which an epoch seeds.
    """
    from torchvision.transforms import v2  # takes a second, and few trainings need it

    jitter = v2.ColorJitter(**COLOUR)
    altered = []
    for image in images:
        if "colour" in augment:
            image = jitter(image)
        if "cutout" in augment:
            image = v2.RandomErasing(p=0.5, scale=CUT_OUT, value=image.float().mean((1, 2)).tolist())(image)
        altered.append(image)
    return torch.stack(altered)


def make_repeats(
    settings: ResolvedSettings, data: Dataset, changes: LabelChanges, targets: Targets | None
) -> Repeats | None:
    """Those of a continued training, None of any other; without `targets` it draws from all training images.

    A new image is drawn as often as the chosen image that is drawn most.
    """
    if not isinstance(settings, ResolvedImprovement):
        return None
    count = len(data.splits["train"].labels)
    weights = torch.full((count,), 1 if targets is None else 0, dtype=torch.float64)
    partners = torch.full((count,), ANY_CLASS)
    if targets is not None:
        rows = torch.as_tensor(targets.chosen["instance_id"], dtype=torch.long)
        weights[rows] = torch.as_tensor(targets.chosen["weight"], dtype=torch.float64)
        confused_with = [ANY_CLASS if one is None else one for one in targets.chosen["confused_with"]]
        partners[rows] = torch.tensor(confused_with)
    trained_on, _ = changes.apply(data.splits["train"].labels)
    weights, partners = weights[trained_on], partners[trained_on]
    new = None
    if targets is not None and targets.new is not None:
        new = replace(targets.new, images=targets.new.images[:])  # in memory, as other processes may need them too
        weights = torch.cat([weights, weights.max().expand(len(new.labels))])
        partners = torch.cat([partners, torch.full((len(new.labels),), ANY_CLASS)])
    return Repeats(settings.repeats, weights, partners, settings.augment, len(data.classes), new)
