"""Do networks of many families train and explain, or are they refused in one line? None may end in a traceback.

    python tests/benchmarks/zoo.py [--names resnet18 tokens ...] [--size 64]

Trains each for an epoch on a few dozen made images, then explains two of them by saliency and by Grad-CAM. Prints a
line per network: exit codes, seconds, and the first thing that was refused.
"""

import argparse
import contextlib
import io
import tempfile
import time
import traceback
from pathlib import Path

import numpy as np
import torchvision
from PIL import Image
from zoo_networks import OWN

from pipelines.cli import main as study

TORCHVISION = (
    "resnet18", "resnext50_32x4d", "wide_resnet50_2", "densenet121", "mobilenet_v2", "mobilenet_v3_small",
    "efficientnet_b0", "shufflenet_v2_x0_5", "squeezenet1_1", "mnasnet0_5", "regnet_y_400mf", "convnext_tiny", "swin_t",
    "swin_v2_t", "vit_b_16", "googlenet", "inception_v3", "alexnet", "vgg11_bn", "maxvit_t",
)  # fmt: skip
LARGER = {"inception_v3": 299, "vit_b_16": 224, "maxvit_t": 224}  # pixels per side that a network needs
METHODS = ("saliency", "grad_cam")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--names", nargs="+", default=[*OWN, *TORCHVISION], choices=[*OWN, *TORCHVISION])
    parser.add_argument("--size", type=int, default=64)
    flags = parser.parse_args()
    print(f"torchvision {torchvision.__version__}; exit codes of train, {', '.join(METHODS)}")
    for name in flags.names:
        model = f"zoo_networks:{name}" if name in OWN else f"torchvision.models:{name}"
        began = time.perf_counter()
        codes, lines = _tried(model, LARGER.get(name, flags.size))
        print(f"{name:20}{codes!s:14}{time.perf_counter() - began:5.0f} s  {'; '.join(lines)[:150]}", flush=True)


def _tried(model: str, size: int) -> tuple[list[int | str], list[str]]:
    """Exit codes of training and of each method, and what was refused."""
    with tempfile.TemporaryDirectory() as folder:
        _make_images(Path(folder) / "images")
        home = ("--home", f"{folder}/home")
        train = ("train", "--dataset", "folder", "--data", f"{folder}/images", "--size", str(size), "--model", model,
                 "--epochs", "1", "--threads", "1", "--batch", "16")  # fmt: skip
        codes, lines = [], []
        for command in (train, *(("explain", "latest", "--method", method, "--count", "2") for method in METHODS)):
            code, line = _done(*command, *home)
            codes.append(code)
            lines += [line] if code else []
            if code and command is train:
                break
    return codes, lines


def _done(*command: str) -> tuple[int | str, str]:
    """Exit code, and last line on standard error; the class of an error that went through."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            code = study(list(command))
    except Exception as error:
        return "TRACEBACK", traceback.format_exception_only(error)[-1].strip()
    return code, said.getvalue().strip().splitlines()[-1]


def _make_images(folder: Path) -> None:
    """Red and green noise: 16 training and 4 test images of each."""
    random = np.random.default_rng(0)
    for split, count in (("train", 16), ("test", 4)):
        for channel, name in enumerate(("red", "green")):
            place = folder / split / name
            place.mkdir(parents=True)
            for number in range(count):
                pixels = random.integers(0, 120, (64, 64, 3), dtype=np.uint8)
                pixels[..., channel] += 100
                Image.fromarray(pixels).save(place / f"{number}.png")


if __name__ == "__main__":
    main()
