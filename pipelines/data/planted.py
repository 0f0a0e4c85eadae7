"""planted: synthetic images whose deciding pixels are known, the ground truth for explanations.

The class is which of four small glyphs lies somewhere in a cloudy picture. A decoy of higher contrast lies well away
from it and says nothing about the class: an edge detector falls for it, an explanation must not.

planted:pair has two glyphs in each picture, which decide together: the class is the combination. planted:shortcut is
planted with a coloured tag near one corner of nearly all training images of one class; in testing it says nothing.
"""

from itertools import combinations, product
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from pipelines.data.raw import LoadOptions, RawDataset, Split
from tracking.errors import InputError

GLYPHS = {  # drawn bright or dark on the background; all four have similar numbers of set pixels
    "cross": ["...#...", "...#...", "...#...", "#######", "...#...", "...#...", "...#..."],
    "ring": ["..###..", ".#...#.", "#.....#", "#.....#", "#.....#", ".#...#.", "..###.."],
    "saltire": ["#.....#", ".#...#.", "..#.#..", "...#...", "..#.#..", ".#...#.", "#.....#"],
    "corner": ["#......", "#......", "#......", "#......", "#......", "#......", "#######"],
}
BOX_SIDE = 7  # pixels, of a glyph and of the decoy
DECOY = np.indices((BOX_SIDE, BOX_SIDE)).sum(axis=0) // 2 % 2  # diagonal stripes
GLYPH_CONTRAST = 0.3  # by how much set pixels are brighter or darker than the background, whose range is 0..1
DECOY_CONTRAST = 0.5
MIN_GAP = 2  # pixels between any two boxes
COUNTS = {"train": 4000, "test": 1000}
TAG_SIDE = 3  # pixels
TAG_MARGIN = 2  # pixels between the tag and the top and right edge
TAG_COLOUR = (255, 0, 255)
TAGGED_CLASS = 1
TAGGED_FRACTION = {"train": 0.95, "test": 0.5}  # of the class's training images, and of all test images

ClassGlyphs = dict[str, tuple[str, ...]]  # by class, the glyphs that decide it together
Corner = tuple[int, int]  # top and left of a box, in pixels


def load_planted(path: str | None, home_data: Path, options: LoadOptions) -> RawDataset:
    """Colour images [N, 3, 32, 32], the same ones every time; `truth` holds the boxes of glyph and decoy."""
    return _load(options, {glyph: (glyph,) for glyph in GLYPHS})


def load_planted_pair(path: str | None, home_data: Path, options: LoadOptions) -> RawDataset:
    """The same with two glyphs, each one of two; `truth` holds the boxes of both and of the decoy."""
    first, other_first, second, other_second = GLYPHS
    pairs = product((first, other_first), (second, other_second))
    return _load(options, {" and ".join(pair): pair for pair in pairs})


def load_planted_shortcut(path: str | None, home_data: Path, options: LoadOptions) -> RawDataset:
    """`planted` with a tag of TAG_COLOUR near the top right corner, which gives TAGGED_CLASS away in training."""
    planted = load_planted(path, home_data, options)
    is_tagged_class = planted.train.labels == TAGGED_CLASS
    _add_tags(planted.train, "train", np.flatnonzero(is_tagged_class))
    _add_tags(planted.test, "test", np.arange(len(planted.test.labels)))
    return planted


def _load(options: LoadOptions, class_glyphs: ClassGlyphs) -> RawDataset:
    size = options.size or 32
    box_count = 1 + max(len(glyphs) for glyphs in class_glyphs.values())
    smallest_size = box_count * BOX_SIDE + (box_count - 1) * MIN_GAP
    if size < smallest_size:
        raise InputError(f"glyph and decoy do not fit into {size}x{size} pixels; give --size {smallest_size} or more")
    train = make_split("train", COUNTS["train"], size, class_glyphs)
    test = make_split("test", COUNTS["test"], size, class_glyphs)
    return RawDataset(tuple(class_glyphs), train, test, flips=False, shrinks=False)  # its lines are one pixel wide


def make_split(name: str, count: int, size: int, class_glyphs: ClassGlyphs) -> Split:
    """`count` images [N, 3, size, size]; everything random about them derives from `name` and `size`."""
    random = np.random.default_rng([size, *name.encode()])
    masks = {}
    for glyph, rows in GLYPHS.items():
        mask = [[character == "#" for character in row] for row in rows]
        masks[glyph] = np.array(mask, dtype=float)

    classes = list(class_glyphs.values())
    labels = np.arange(count) % len(classes)
    box_count = 1 + len(classes[0])
    images = np.empty((count, 3, size, size), dtype=np.uint8)
    boxes = np.empty((count, box_count, 4), dtype=np.int64)
    for row, label in enumerate(labels):
        coarse_noise = torch.from_numpy(random.normal(0.5, 0.15, (1, 3, 5, 5)))
        image = functional.interpolate(coarse_noise, (size, size), mode="bicubic")[0].numpy().copy()  # grey clouds
        *glyph_corners, decoy_corner = _choose_corners(random, size, box_count)
        for glyph, corner in zip(classes[label], glyph_corners, strict=True):
            add_pattern(image, masks[glyph], corner, random.choice([-GLYPH_CONTRAST, GLYPH_CONTRAST]))
        add_pattern(image, DECOY, decoy_corner, random.choice([-DECOY_CONTRAST, DECOY_CONTRAST]))
        images[row] = np.round(image.clip(0, 1) * 255)
        boxes[row] = [(*corner, BOX_SIDE, BOX_SIDE) for corner in (*glyph_corners, decoy_corner)]
    sources = tuple(f"{name}/{row:05d}" for row in range(count))
    return Split(torch.from_numpy(images), torch.from_numpy(labels), sources, torch.from_numpy(boxes))


def _add_tags(split: Split, name: str, rows: np.ndarray) -> None:
    """Tag a fraction of the given rows, chosen at random, in place."""
    random = np.random.default_rng([split.images.shape[-1], *f"{name} tags".encode()])
    tagged = rows[random.random(len(rows)) < TAGGED_FRACTION[name]]
    across = slice(-TAG_MARGIN - TAG_SIDE, -TAG_MARGIN)
    images = split.images[:]  # not a copy, as planted images are in memory
    for channel, level in enumerate(TAG_COLOUR):
        images[tagged, channel, TAG_MARGIN : TAG_MARGIN + TAG_SIDE, across] = level


def _choose_corners(random: np.random.Generator, size: int, count: int) -> list[Corner]:
    """Corners of boxes that lie at least MIN_GAP pixels apart."""
    while True:
        corners = [(top, left) for top, left in random.integers(0, size - BOX_SIDE + 1, (count, 2)).tolist()]
        distances = [
            max(abs(top - other_top), abs(left - other_left))
            for (top, left), (other_top, other_left) in combinations(corners, 2)
        ]
        if min(distances) >= BOX_SIDE + MIN_GAP:
            return corners


def add_pattern(image: np.ndarray, pattern: np.ndarray, corner: Corner, contrast: float) -> None:
    """Brighten (or darken, if `contrast` is negative) the pixels of an image [3, H, W] that a pattern sets."""
    top, left = corner
    image[:, top : top + BOX_SIDE, left : left + BOX_SIDE] += contrast * pattern
