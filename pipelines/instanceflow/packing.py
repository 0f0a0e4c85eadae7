"""Arrays and files encoded as text inside a page: base64, arrays compressed by gzip, together below a size limit."""

import base64
import gzip
from dataclasses import dataclass, field

import numpy as np
from markupsafe import Markup

MAX_CHARACTERS = 11_300_000  # of everything encoded: keeps the page under 12 MB
ESTIMATED_ROWS = 1_000  # of an array whose size is estimated
DOUBT = 0.1  # by which an estimate may be too high
ELEMENT = Markup('<script type="text/plain" id="{name}" data-type="{data_type}">{encoded}</script>')


@dataclass
class Payload:
    """What a page carries beside its scripts, and what it has no room for."""

    elements: list[Markup] = field(default_factory=list)
    left_out: set[str] = field(default_factory=set)  # descriptions
    characters: int = 0

    def add_array(self, name: str, values: np.ndarray, description: str | None = None, share: float = 1) -> bool:
        """Add an array: without a description always, with one only if there is room.

        There is if everything so far then takes no more than a `share` of the limit. What is far too large is not even
        compressed. Returns whether it was added.
        """
        room = int(share * MAX_CHARACTERS) - self.characters
        if description is not None and (1 - DOUBT) * estimate_characters(values, len(values)) > room:
            self.left_out.add(description)
            return False
        return self._add(f"array-{name}", _compress(values), values.dtype.name, description, room)

    def add_file(self, name: str, content: bytes, description: str) -> bool:
        """Add a file if there is room. Returns whether it was added."""
        return self._add(name, content, "file", description, MAX_CHARACTERS - self.characters)

    def has_room(self, characters: float) -> bool:
        return self.characters + characters <= MAX_CHARACTERS

    def _add(self, name: str, content: bytes, data_type: str, description: str | None, room: int) -> bool:
        encoded = base64.b64encode(content).decode()
        if description is not None:
            if len(encoded) > room:
                self.left_out.add(description)
                return False
            self.left_out.discard(description)  # a larger version of it had no room
        self.characters += len(encoded)
        self.elements.append(ELEMENT.format(name=name, data_type=data_type, encoded=encoded))
        return True


def estimate_characters(values: np.ndarray, row_count: int) -> float:
    """Characters that this many rows like those of an array take, by at most ESTIMATED_ROWS of them."""
    rows = values[:: max(1, len(values) // ESTIMATED_ROWS)]
    return len(_compress(rows)) * 4 / 3 * row_count / max(1, len(rows))


def _compress(values: np.ndarray) -> bytes:
    return gzip.compress(np.ascontiguousarray(values).tobytes(), 6, mtime=0)


def quantize_fractions(values: np.ndarray, dtype: type[np.unsignedinteger]) -> np.ndarray:
    """Values in 0..1 as whole numbers over the whole range of an unsigned type; NaN becomes 0."""
    scaled = np.nan_to_num(values)
    scaled *= np.iinfo(dtype).max
    return np.round(scaled, out=scaled).astype(dtype)


def quantize_hundredths(values: np.ndarray) -> np.ndarray:
    """Values in hundredths as int16, so clipped to -327.67..327.67; NaN becomes 0."""
    hundredths = np.nan_to_num(values)
    hundredths *= 100
    np.round(hundredths, out=hundredths)
    return np.clip(hundredths, -32767, 32767, out=hundredths).astype(np.int16)
