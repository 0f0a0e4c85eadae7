"""What looks wrong with a data set although it can be used: reported when it is loaded, and recorded."""

import hashlib
from collections import defaultdict
from collections.abc import Iterator

import torch

from pipelines.data.names import format_name, format_names
from pipelines.data.raw import RawDataset, Split

IMBALANCE = 10  # ratio of the largest class to the smallest, in training images, that is worth a note
FEW_IMAGES = 5  # training images of a class; with fewer, little can be learned about it

Occurrence = tuple[str, int]  # source of an image, and its label


def find_suspicions(raw: RawDataset) -> Iterator[str]:
    """Notes on classes of very different sizes, and on pictures that occur more than once."""
    yield from _check_class_sizes(raw)
    train = _group_by_pixels(raw.train)
    test = _group_by_pixels(raw.test)

    leaks: list[tuple[Occurrence, Occurrence]] = []
    for digest in test:
        if digest in train:
            leaks += [(train[digest][0], test_occurrence) for test_occurrence in test[digest]]
    if leaks:
        yield (
            f"{len(leaks):,} of {len(raw.test.labels):,} test images are also training images, pixel by pixel, so test "
            f"accuracy is too high: {_give_example(leaks)}"
        )

    for name, pictures, image_count in (
        ("training", train, len(raw.train.labels)),
        ("test", test, len(raw.test.labels)),
    ):
        repeats: list[tuple[Occurrence, Occurrence]] = []
        for first, *others in pictures.values():
            repeats += [(first, other) for other in others]
        if repeats:
            yield f"{len(repeats):,} of {image_count:,} {name} images repeat another: {_give_example(repeats)}"

    contradictions = []
    for digest in dict.fromkeys([*train, *test]):
        occurrences = train.get(digest, []) + test.get(digest, [])
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


def _group_by_pixels(split: Split) -> dict[bytes, list[Occurrence]]:
    """The occurrences of each picture, by the digest of its pixels."""
    occurrences: dict[bytes, list[Occurrence]] = defaultdict(list)
    for image, source, label in zip(split.images.numpy(), split.sources, split.labels.tolist(), strict=True):
        digest = hashlib.blake2b(image.tobytes(), digest_size=16).digest()
        occurrences[digest].append((source, label))
    return occurrences


def _give_example(pairs: list[tuple[Occurrence, Occurrence]]) -> str:
    """The first of the pairs that show the same picture, by their sources."""
    (first_source, _), (other_source, _) = pairs[0]
    suffix = ", for example" if len(pairs) > 1 else ""
    return f"{format_name(other_source)} is {format_name(first_source)}{suffix}"
