"""What a drawing writes where, as a reader of the figure would find it."""

from itertools import combinations

from matplotlib.backend_bases import RendererBase
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox


class Recorder(RendererBase):
    """Draws nothing, and remembers the texts: their words, boxes in points and size."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[tuple[str, Bbox, float]] = []

    def points_to_pixels(self, points):
        return points

    def flipy(self):
        return False

    def draw_path(self, *_):
        pass

    def draw_image(self, *_):
        pass

    def draw_text(self, gc, x, y, s, prop, angle, ismath=False, mtext=None):
        width, height, descent = self.get_text_width_height_descent(s, prop, False)
        corner = (x, y - descent, width, height) if not angle else (x - height + descent, y, height, width)
        self.texts.append((s, Bbox.from_bounds(*corner), prop.get_size_in_points()))


def written(figure: Figure) -> list[tuple[str, Bbox, float]]:
    """Texts of a figure, with their boxes in points and sizes."""
    figure.set_dpi(72)
    recorder = Recorder()
    figure.draw(recorder)
    return recorder.texts


def faults(figure: Figure) -> list[str]:
    """Texts that are cut off, lie on others or are too small for print."""
    texts = written(figure)
    width, height = 72 * figure.get_size_inches()
    found = [
        f"cut off: {text}"
        for text, box, _ in texts
        if box.x0 < -1 or box.y0 < -1 or box.x1 > width + 1 or box.y1 > height + 1
    ]
    found += [f"{size} points: {text}" for text, _, size in texts if size < 6]
    shrunk = [(text, box.padded(-0.6)) for text, box, _ in texts]
    found += [f"{one} on {two}" for (one, a), (two, b) in combinations(shrunk, 2) if a.overlaps(b)]
    return found
