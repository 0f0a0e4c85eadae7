"""Arrays as text that a page carries: gzip in base64, kept under a size in all."""

import base64
import gzip
from dataclasses import dataclass, field

import numpy as np

LIMIT = 11_300_000  # characters of all arrays together: the page stays under 12 MB


@dataclass
class Packed:
    """What the page carries so far, and what it had no room for."""

    elements: list[str] = field(default_factory=list)
    left_out: frozenset[str] = frozenset()
    used: int = 0

    def add(self, name: str, values: np.ndarray, what: str | None = None) -> bool:
        """Take an array; without `what` always, else only if there is room. Whether it was taken."""
        text = base64.b64encode(gzip.compress(np.ascontiguousarray(values).tobytes(), 6, mtime=0)).decode()
        return self._take(f"array-{name}", text, values.dtype.name, what)

    def add_file(self, name: str, content: bytes, what: str) -> bool:
        return self._take(name, base64.b64encode(content).decode(), "file", what)

    def _take(self, name: str, text: str, kind: str, what: str | None) -> bool:
        if what is not None and self.used + len(text) > LIMIT:
            self.left_out |= {what}
            return False
        self.left_out -= {what}
        self.used += len(text)
        self.elements.append(f'<script type="text/plain" id="{name}" data-type="{kind}">{text}</script>')
        return True


def as_shares(values: np.ndarray, kind: type) -> np.ndarray:
    """Values in 0..1 as whole numbers over the range of an unsigned type; NaN becomes 0."""
    most = np.iinfo(kind).max
    return np.round(np.nan_to_num(values) * most).astype(kind)


def as_hundredths(values: np.ndarray) -> np.ndarray:
    """Values to two digits as int16, at most 327 either way; NaN becomes 0."""
    return np.clip(np.round(np.nan_to_num(values) * 100), -32767, 32767).astype(np.int16)
