"""How a map is drawn over its image: one style in MLflow's pictures, in the report and on the InstanceFlow page.

- Scale: each map has its own, unless several are to be compared. The 99.5th percentile of a map's magnitudes, and all
  above it, has the full colour.
- Colours: of a signed map from blue, against the class, by white to red, for it; of another from black by purple to
  yellow.
- Overlay: the image shows through in grey, the less of it the greater a magnitude is.
- Outline: a white line, black on both sides, around the strongest tenth of the map, smoothed as a whole region needs.

Activations of concepts have the same colours and overlay, one scale per concept, and no outline. The InstanceFlow page
draws in the browser what `draw_map` draws here; a test compares them.
"""

from collections.abc import Callable
from functools import cache

import numpy as np
from matplotlib import colormaps
from PIL import Image
from scipy.ndimage import binary_dilation, binary_erosion, gaussian_filter

FULL_COLOUR_PERCENTILE = 99.5  # of a map's magnitude
COLOUR_MAPS = {True: "RdBu_r", False: "inferno"}  # of matplotlib, for signed maps and for others
SCALE_ENDS = {True: ("against the class", "for it"), False: ("weak", "strong")}  # what the colours mean, least first
SCALE_NOTE = "White line: the strongest tenth of a map. Each map has its own scale."
GREY = (0.25, 0.35)  # of the image beneath: the least, and what its brightness adds
OPACITY = (0.1, 0.9)  # of the map above it: the least, and what its magnitude adds
STRONGEST = 0.9  # quantile of the smoothed magnitudes from which on they are outlined
SMOOTHING = 16  # of the map's side, the width of the smoothing
OUTLINE = 2  # pixels of the white line, of pictures of about 100 to 160


def full_colour_magnitude(values: np.ndarray) -> float:
    """Magnitude drawn in the full colour; 1 for a map of zeros."""
    magnitudes = np.abs(values)
    return float(np.percentile(magnitudes, FULL_COLOUR_PERCENTILE)) or float(magnitudes.max()) or 1.0


@cache
def colour_table(signed: bool) -> np.ndarray:
    """The colours [256, 3], uint8, from the least value to the greatest."""
    return np.round(colormaps[COLOUR_MAPS[signed]](np.arange(256))[:, :3] * 255).astype(np.uint8)


def overlay(image: np.ndarray, values: np.ndarray, full: float, signed: bool) -> np.ndarray:
    """The map [H, W] over the greyed image [H, W, 3], both as 0..1; `full` is the magnitude of the full colour."""
    scaled = np.clip(values / full, -1, 1)
    position = scaled / 2 + 0.5 if signed else scaled
    colours = colour_table(signed)[np.clip(position * 256, 0, 255).astype(int)] / 255
    grey = GREY[0] + GREY[1] * image.mean(axis=2, keepdims=True)
    opacity = OPACITY[0] + OPACITY[1] * np.abs(scaled)[:, :, None]
    return opacity * colours + (1 - opacity) * grey


def find_strongest(values: np.ndarray) -> np.ndarray:
    """The strongest tenth of a map [H, W], as booleans; nothing of a map of zeros."""
    magnitudes = np.abs(values)
    smooth = gaussian_filter(magnitudes, max(magnitudes.shape) / SMOOTHING)
    return (smooth >= np.quantile(smooth, STRONGEST)) & bool(magnitudes.any())


def outline(drawn: np.ndarray, inside: np.ndarray) -> None:
    """Draw the border of a region [h, w] into a picture [h, w, 3], uint8."""
    border = inside & ~binary_erosion(inside, iterations=OUTLINE)
    drawn[binary_dilation(border) & ~border] = 0  # so that the line is seen on light and on dark
    drawn[border] = 255


def draw_map(
    image: np.ndarray,
    values: np.ndarray,
    signed: bool,
    fit: Callable[[np.ndarray], np.ndarray],
    full: float | None = None,
) -> np.ndarray:
    """A map [H, W] over its image [H, W, 3], 0..1, with its outline; [h, w, 3], uint8.

    `fit` makes a picture [H, W, 3], 0..1, as large as it is wanted, [h, w, 3], uint8. `full` is the magnitude of the
    full colour, by default the map's own.
    """
    drawn = fit(overlay(image, values, full or full_colour_magnitude(values), signed)).copy()
    inside = Image.fromarray(find_strongest(values)).resize(drawn.shape[1::-1], Image.Resampling.NEAREST)
    outline(drawn, np.asarray(inside))
    return drawn


def enlarge(image: np.ndarray, factor: int) -> np.ndarray:
    """An image [H, W, 3], 0..1, with every pixel repeated, so that its edges stay sharp; uint8."""
    return np.round(image * 255).astype(np.uint8).repeat(factor, axis=0).repeat(factor, axis=1)
