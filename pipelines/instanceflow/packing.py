"""Arrays and files encoded as text inside a page: base64, arrays compressed by gzip, together below a size limit."""

import base64
import gzip
from dataclasses import dataclass, field

import numpy as np
from markupsafe import Markup

MAX_CHARACTERS = 11_300_000  # of everything encoded: keeps the page under 12 MB
ELEMENT = Markup('<script type="text/plain" id="{name}" data-type="{data_type}">{encoded}</script>')


@dataclass
class Payload:
    """What a page carries beside its scripts, and what it has no room for."""

    elements: list[Markup] = field(default_factory=list)
    left_out: set[str] = field(default_factory=set)  # descriptions
    characters: int = 0

    def add_array(self, name: str, values: np.ndarray, description: str | None = None) -> bool:
        """Add an array: without a description always, with one only if there is room. Returns whether it was added."""
        compressed = gzip.compress(np.ascontiguousarray(values).tobytes(), 6, mtime=0)
        return self._add(f"array-{name}", compressed, values.dtype.name, description)

    def add_file(self, name: str, content: bytes, description: str) -> bool:
        """Add a file if there is room. Returns whether it was added."""
        return self._add(name, content, "file", description)

    def _add(self, name: str, content: bytes, data_type: str, description: str | None) -> bool:
        encoded = base64.b64encode(content).decode()
        if description is not None:
            if self.characters + len(encoded) > MAX_CHARACTERS:
                self.left_out.add(description)
                return False
            self.left_out.discard(description)  # a larger version of it had no room
        self.characters += len(encoded)
        self.elements.append(ELEMENT.format(name=name, data_type=data_type, encoded=encoded))
        return True


def quantize_fractions(values: np.ndarray, dtype: type[np.unsignedinteger]) -> np.ndarray:
    """Values in 0..1 as whole numbers over the whole range of an unsigned type; NaN becomes 0."""
    largest = np.iinfo(dtype).max
    return np.round(np.nan_to_num(values) * largest).astype(dtype)


def quantize_hundredths(values: np.ndarray) -> np.ndarray:
    """Values in hundredths as int16, so clipped to -327.67..327.67; NaN becomes 0."""
    hundredths = np.round(np.nan_to_num(values) * 100)
    return np.clip(hundredths, -32767, 32767).astype(np.int16)
