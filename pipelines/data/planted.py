"""planted: synthetic images whose deciding pixels are known, the ground truth for explanations.

The class is which of four small glyphs lies somewhere in a cloudy picture. A decoy of higher contrast lies well away
from it and says nothing about the class: an edge detector falls for it, an explanation must not.
"""

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
MIN_GAP = 2  # pixels between the two boxes
SMALLEST_SIZE = 2 * BOX_SIDE + MIN_GAP
COUNTS = {"train": 4000, "test": 1000}

Corner = tuple[int, int]  # top and left of a box, in pixels


def load_planted(path: str | None, home_data: Path, options: LoadOptions) -> RawDataset:
    """Colour images [N, 3, 32, 32], the same ones every time; `truth` holds the boxes of glyph and decoy."""
    size = options.size or 32
    if size < SMALLEST_SIZE:
        raise InputError(f"glyph and decoy do not fit into {size}x{size} pixels; give --size {SMALLEST_SIZE} or more")
    train = make_split("train", COUNTS["train"], size)
    test = make_split("test", COUNTS["test"], size)
    return RawDataset(tuple(GLYPHS), train, test, flips=False, shrinks=False)  # its lines are one pixel wide


def make_split(name: str, count: int, size: int) -> Split:
    """`count` images [N, 3, size, size]; everything random about them derives from `name` and `size`."""
    random = np.random.default_rng([size, *name.encode()])
    glyph_masks = []
    for rows in GLYPHS.values():
        mask = [[character == "#" for character in row] for row in rows]
        glyph_masks.append(np.array(mask, dtype=float))

    labels = np.arange(count) % len(GLYPHS)
    images = np.empty((count, 3, size, size), dtype=np.uint8)
    boxes = np.empty((count, 2, 4), dtype=np.int64)
    for row, label in enumerate(labels):
        image = _draw_clouds(random, size)
        glyph_corner, decoy_corner = _choose_corners(random, size)
        add_pattern(image, glyph_masks[label], glyph_corner, random.choice([-GLYPH_CONTRAST, GLYPH_CONTRAST]))
        add_pattern(image, DECOY, decoy_corner, random.choice([-DECOY_CONTRAST, DECOY_CONTRAST]))
        images[row] = np.round(image.clip(0, 1) * 255)
        boxes[row, 0] = (*glyph_corner, BOX_SIDE, BOX_SIDE)
        boxes[row, 1] = (*decoy_corner, BOX_SIDE, BOX_SIDE)
    sources = tuple(f"{name}/{row:05d}" for row in range(count))
    return Split(torch.from_numpy(images), torch.from_numpy(labels), sources, torch.from_numpy(boxes))


def _draw_clouds(random: np.random.Generator, size: int) -> np.ndarray:
    """Smooth colour noise [3, size, size] around mid grey."""
    coarse_noise = torch.from_numpy(random.normal(0.5, 0.15, (1, 3, 5, 5)))
    return functional.interpolate(coarse_noise, (size, size), mode="bicubic")[0].numpy().copy()


def _choose_corners(random: np.random.Generator, size: int) -> tuple[Corner, Corner]:
    """Corners of glyph and decoy, their boxes at least MIN_GAP pixels apart."""
    while True:
        (glyph_top, glyph_left), (decoy_top, decoy_left) = random.integers(0, size - BOX_SIDE + 1, (2, 2)).tolist()
        distance = max(abs(glyph_top - decoy_top), abs(glyph_left - decoy_left))
        if distance >= BOX_SIDE + MIN_GAP:
            return (glyph_top, glyph_left), (decoy_top, decoy_left)


def add_pattern(image: np.ndarray, pattern: np.ndarray, corner: Corner, contrast: float) -> None:
    """Brighten (or darken, if `contrast` is negative) the pixels of an image [3, H, W] that a pattern sets."""
    top, left = corner
    image[:, top : top + BOX_SIDE, left : left + BOX_SIDE] += contrast * pattern
