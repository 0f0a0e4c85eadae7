"""Small JPEGs in a third of Pillow's time, and only where the pixels are Pillow's own."""

import io
from functools import cache

import numpy as np
import torch
from PIL import Image

MAX_BYTES = 1 << 16  # below this, Pillow spends most of its time on overhead


def read_small_jpeg(content: bytes) -> np.ndarray | None:
    """Pixels [3, H, W], uint8, of a small colour JPEG; None for everything else, which is left to Pillow."""
    is_small_jpeg = content.startswith(b"\xff\xd8") and len(content) <= MAX_BYTES
    may_be_turned = b"Exif" in content or b"tiff:Orientation" in content
    if not is_small_jpeg or may_be_turned or not _decoders_agree():
        return None
    return _decode(content)


def _decode(content: bytes) -> np.ndarray | None:
    try:
        encoded = torch.frombuffer(bytearray(content), dtype=torch.uint8)
        # the operator behind torchvision.io.decode_jpeg, which takes as long again to warn that it will be moved
        image = torch.ops.image.decode_jpeg(encoded, 0, False)
    except RuntimeError:  # not a JPEG, or a broken one
        return None
    return image.numpy() if len(image) == 3 else None


@cache
def _decoders_agree() -> bool:
    """Whether torchvision is there and gives Pillow's pixels: the digest must not depend on the decoder."""
    noise = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "JPEG")
    try:
        import torchvision.io  # noqa: F401  (registers the operator; imported here because it takes a second)

        decoded = _decode(file.getvalue())
    except (ImportError, AttributeError):
        return False
    expected = np.asarray(Image.open(file, formats=("JPEG",))).transpose(2, 0, 1)
    return decoded is not None and np.array_equal(decoded, expected)
