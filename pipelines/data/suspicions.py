"""What looks wrong with a data set although it can be used: reported when it is loaded, and recorded."""

from collections import defaultdict
from collections.abc import Iterator
from itertools import chain, combinations

import torch

from pipelines.data.names import format_name, format_names
from pipelines.data.raw import RawDataset, Split

IMBALANCE = 10  # ratio of the largest class to the smallest, in training images, that is worth a note
FEW_IMAGES = 5  # training images of a class; with fewer, little can be learned about it

PART_NAMES = {"train": "training", "val": "validation", "test": "test"}

Occurrence = tuple[str, int]  # source of an image, and its label
Pictures = dict[str, list[Occurrence]]  # by the digest of the pixels


def find_suspicions(raw: RawDataset) -> Iterator[str]:
    """Notes on classes of very different sizes, and on pictures that occur more than once."""
    yield from _check_class_sizes(raw)
    pictures = {part: _group_by_pixels(split) for part, split in raw.parts.items()}
    for learned, held_out in combinations(pictures, 2):
        yield from _check_leaks(raw, pictures, learned, held_out)

    for part, by_digest in pictures.items():
        repeats: list[tuple[Occurrence, Occurrence]] = []
        for first, *others in by_digest.values():
            repeats += [(first, other) for other in others]
        if repeats:
            count = len(raw.parts[part].labels)
            yield f"{len(repeats):,} of {count:,} {PART_NAMES[part]} images repeat another: {_give_example(repeats)}"

    contradictions = []
    for digest in dict.fromkeys(chain(*pictures.values())):
        occurrences = list(chain(*(by_digest.get(digest, []) for by_digest in pictures.values())))
        labels = {label for _, label in occurrences}
        if len(labels) > 1:
            contradictions.append(occurrences)
    if contradictions:
        source_by_label = {label: source for source, label in reversed(contradictions[0])}
        described = []
        for label, source in source_by_label.items():
            described.append(f"{format_name(source)} as {format_name(raw.classes[label])}")
        example = ", ".join(described)
        yield f"pictures in more than one class: {len(contradictions):,}, for example {example}"


def _check_leaks(raw: RawDataset, pictures: dict[str, Pictures], learned: str, held_out: str) -> Iterator[str]:
    """A note on the images of part `held_out` that part `learned`, which is trained on or selects an epoch, has too."""
    leaks: list[tuple[Occurrence, Occurrence]] = []
    for digest, occurrences in pictures[held_out].items():
        if digest in pictures[learned]:
            leaks += [(pictures[learned][digest][0], occurrence) for occurrence in occurrences]
    if not leaks:
        return
    count, what = len(raw.parts[held_out].labels), PART_NAMES[held_out]
    harm = f"{what} accuracy is too high"
    if learned == "val":
        harm = "an epoch chosen by its validation accuracy is chosen by test images too"
    yield (
        f"{len(leaks):,} of {count:,} {what} images are also {PART_NAMES[learned]} images, pixel by pixel, so {harm}: "
        f"{_give_example(leaks)}"
    )


def _check_class_sizes(raw: RawDataset) -> Iterator[str]:
    counts = torch.bincount(raw.train.labels, minlength=len(raw.classes)).tolist()
    sizes = sorted(zip(counts, raw.classes, strict=True))
    smallest_count, smallest = sizes[0]
    largest_count, largest = sizes[-1]
    if largest_count >= IMBALANCE * smallest_count:
        yield (
            f"classes differ in size, from {smallest_count:,} training images of {format_name(smallest)} to "
            f"{largest_count:,} of {format_name(largest)}, so accuracy says little about the small ones; see `study "
            "ask class_metrics_by_epoch`"
        )
    small_classes = [f"{format_name(name)} ({count})" for count, name in sizes if count < FEW_IMAGES]
    if small_classes:
        yield f"classes of fewer than {FEW_IMAGES} training images: {format_names(small_classes)}"


def _group_by_pixels(split: Split) -> Pictures:
    """The occurrences of each picture, by the digest of its pixels."""
    occurrences: Pictures = defaultdict(list)
    for digest, source, label in zip(split.pixel_digests(), split.sources, split.labels.tolist(), strict=True):
        occurrences[digest].append((source, label))
    return occurrences


def _give_example(pairs: list[tuple[Occurrence, Occurrence]]) -> str:
    """The first of the pairs that show the same picture, by their sources."""
    (first_source, _), (other_source, _) = pairs[0]
    suffix = ", for example" if len(pairs) > 1 else ""
    return f"{format_name(other_source)} is {format_name(first_source)}{suffix}"
