"""planted: made images whose deciding pixels are known, the ground truth for explanations.

The class is which of four small glyphs lies somewhere in a cloudy picture. A decoy of higher contrast lies well away
from it and says nothing about the class: an edge detector falls for it, an explanation must not.
"""

from pathlib import Path

import numpy as np
import torch

from pipelines.data.raw import Options, Raw, Split
from tracking.errors import InputError

GLYPHS = {  # 7x7, drawn bright or dark on the background, four with like numbers of set pixels
    "cross": ["...#...", "...#...", "...#...", "#######", "...#...", "...#...", "...#..."],
    "ring": ["..###..", ".#...#.", "#.....#", "#.....#", "#.....#", ".#...#.", "..###.."],
    "saltire": ["#.....#", ".#...#.", "..#.#..", "...#...", "..#.#..", ".#...#.", "#.....#"],
    "corner": ["#......", "#......", "#......", "#......", "#......", "#......", "#######"],
}
SIDE, GAP = 7, 2  # pixels of a glyph's box, and at the least between it and the decoy's
SMALLEST = 2 * SIDE + GAP
DECOY = np.indices((SIDE, SIDE)).sum(axis=0) // 2 % 2  # diagonal stripes
COUNTS = {"train": 4000, "test": 1000}


def load_planted(path: str | None, home_data: Path, options: Options) -> Raw:
    """Colour images [N, 3, 32, 32], the same ones every time; `truth` holds the boxes of glyph and decoy."""
    size = options.size or 32
    if size < SMALLEST:
        raise InputError(f"glyph and decoy do not fit into {size}x{size} pixels; give --size {SMALLEST} or more")
    train, test = (_split(name, count, size) for name, count in COUNTS.items())
    return Raw(tuple(GLYPHS), train, test, flips=False, shrinks=False)  # its lines are one pixel wide


def _split(name: str, count: int, size: int) -> Split:
    random = np.random.default_rng([size, *name.encode()])
    glyphs = [np.array([[c == "#" for c in row] for row in rows], dtype=float) for rows in GLYPHS.values()]
    labels = np.arange(count) % len(glyphs)
    images = np.empty((count, 3, size, size), dtype=np.uint8)
    truth = np.empty((count, 2, 4), dtype=np.int64)
    for row, label in enumerate(labels):
        image = _clouds(random, size)
        places = _two_places(random, size)
        _stamp(image, glyphs[label], places[0], random.choice([-0.3, 0.3]))
        _stamp(image, DECOY, places[1], random.choice([-0.5, 0.5]))
        images[row] = np.round(image.clip(0, 1) * 255)
        truth[row] = [[top, left, SIDE, SIDE] for top, left in places]
    sources = tuple(f"{name}/{row:05d}" for row in range(count))
    return Split(torch.from_numpy(images), torch.from_numpy(labels), sources, torch.from_numpy(truth))


def _clouds(random: np.random.Generator, size: int) -> np.ndarray:
    """Smooth colour noise [3, size, size] around mid grey."""
    coarse = torch.from_numpy(random.normal(0.5, 0.15, (1, 3, 5, 5)))
    return torch.nn.functional.interpolate(coarse, (size, size), mode="bicubic")[0].numpy().copy()


def _two_places(random: np.random.Generator, size: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Top left corners of glyph and decoy, their boxes at least GAP pixels apart."""
    while True:
        (a, b), (c, d) = random.integers(0, size - SIDE + 1, (2, 2)).tolist()
        if max(abs(a - c), abs(b - d)) >= SIDE + GAP:
            return (a, b), (c, d)


def _stamp(image: np.ndarray, pattern: np.ndarray, place: tuple[int, int], strength: float) -> None:
    top, left = place
    image[:, top : top + SIDE, left : left + SIDE] += strength * pattern
