"""The digest of the user's own code in a training."""

import sys
from pathlib import Path

from torch import nn

from tracking.files import sha256

VERSIONED_PACKAGES = ("torch", "torchvision", "timm", "pipelines")  # a run records their versions, so needs no digests


def digest_code(name: str, model: nn.Module) -> dict[str, str]:
    """The sha256 of each source file that the model `name` is made of, by module; not of torch's and ours."""
    modules = {type(part).__module__ for part in model.modules()}
    if ":" in name:
        modules.add(name.partition(":")[0])
    digests = {}
    for module in sorted(modules):
        file = getattr(sys.modules.get(module), "__file__", None)
        is_versioned = module.partition(".")[0] in VERSIONED_PACKAGES
        if not is_versioned and file and Path(file).is_file():
            digests[module] = sha256(Path(file))
    return digests
