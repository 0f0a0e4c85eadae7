"""What looks wrong with a data set though nothing stops its use: said when it is loaded, and recorded."""

import hashlib
from collections import defaultdict
from collections.abc import Iterator

import torch

from pipelines.data.names import format_name, format_names
from pipelines.data.raw import Raw, Split

IMBALANCE = 10  # times as many training images as the smallest class has
FEW = 5  # training images of a class, below which little can be learned of it

Place = tuple[str, int]  # source of an image, and its label


def find_suspicions(raw: Raw) -> Iterator[str]:
    """Notes on classes of very different sizes, and on pictures that occur more than once."""
    yield from _uneven_classes(raw)
    train, test = _by_pixels(raw.train), _by_pixels(raw.test)
    both = [(train[digest][0], place) for digest, places in test.items() if digest in train for place in places]
    if both:
        yield (
            f"{len(both):,} of {len(raw.test.labels):,} test images are training images too, pixel by pixel, so test "
            f"accuracy flatters: {_pairs(both)}"
        )
    for name, split, places in (("training", raw.train, train), ("test", raw.test, test)):
        again = [(first, other) for first, *others in places.values() for other in others]
        if again:
            yield f"{len(again):,} of {len(split.labels):,} {name} images repeat another: {_pairs(again)}"
    everywhere = [train.get(digest, []) + test.get(digest, []) for digest in dict.fromkeys([*train, *test])]
    unsure = [places for places in everywhere if len({label for _, label in places}) > 1]
    if unsure:
        of_class = {label: source for source, label in reversed(unsure[0])}
        first = ", ".join(
            f"{format_name(source)} as {format_name(raw.classes[label])}" for label, source in of_class.items()
        )
        yield f"pictures in more than one class: {len(unsure):,}, for one {first}"


def _uneven_classes(raw: Raw) -> Iterator[str]:
    counts = torch.bincount(raw.train.labels, minlength=len(raw.classes)).tolist()
    sizes = sorted(zip(counts, raw.classes, strict=True))
    (least, smallest), (most, largest) = sizes[0], sizes[-1]
    if most >= IMBALANCE * least:
        yield (
            f"classes differ in size, from {least:,} training images of {format_name(smallest)} to {most:,} of "
            f"{format_name(largest)}, so accuracy says little of the small ones; see `study ask class_metrics_by_epoch`"
        )
    if few := [f"{format_name(name)} ({count})" for count, name in sizes if count < FEW]:
        yield f"classes of fewer than {FEW} training images: {format_names(few)}"


def _by_pixels(split: Split) -> dict[bytes, list[Place]]:
    """The places of each picture, by the digest of its pixels."""
    places: dict[bytes, list[Place]] = defaultdict(list)
    for image, place in zip(split.images.numpy(), zip(split.sources, split.labels.tolist(), strict=True), strict=True):
        places[hashlib.blake2b(image.tobytes(), digest_size=16).digest()].append(place)
    return places


def _pairs(pairs: list[tuple[Place, Place]]) -> str:
    (first, _), (other, _) = pairs[0]
    return f"{format_name(other)} is {format_name(first)}{', for one' if len(pairs) > 1 else ''}"
