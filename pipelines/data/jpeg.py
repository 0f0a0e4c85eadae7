"""Small JPEGs in a third of Pillow's time, and only where the pixels are Pillow's own."""

import io
from functools import cache

import numpy as np
import torch
from PIL import Image

SMALL = 1 << 16  # bytes: below, Pillow spends most of its time on overhead


def read_small_jpeg(content: bytes) -> np.ndarray | None:
    """Pixels [3, H, W], uint8, of a small colour JPEG; None for all else, which is left to Pillow, errors too."""
    if not content.startswith(b"\xff\xd8") or len(content) > SMALL or not _decoders_agree():
        return None
    if b"Exif" in content or b"tiff:Orientation" in content:  # it may have to be turned
        return None
    return _decode(content)


def _decode(content: bytes) -> np.ndarray | None:
    try:
        # the operator behind torchvision.io.decode_jpeg, which spends as long again on warning that it will move
        image = torch.ops.image.decode_jpeg(torch.frombuffer(bytearray(content), dtype=torch.uint8), 0, False)
    except RuntimeError:  # no JPEG, or a broken one
        return None
    return image.numpy() if len(image) == 3 else None


@cache
def _decoders_agree() -> bool:
    """Whether torchvision is there and gives Pillow's pixels: the digest must not depend on which of them read."""
    noise = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "JPEG")
    try:
        import torchvision.io  # noqa: F401  (registers the operator; here, for it takes a second)

        quick = _decode(file.getvalue())
    except (ImportError, AttributeError):
        return False
    return quick is not None and np.array_equal(
        quick.transpose(1, 2, 0), np.asarray(Image.open(file, formats=("JPEG",)))
    )
