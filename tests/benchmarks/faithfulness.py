"""Do the measures of maps agree with those of other libraries, and how long do both take?

    python tests/benchmarks/faithfulness.py [--count 32] [--epochs 3] [--threads 2] [--data cifar10 --path FOLDER]

Needs `pip install quantus grad-cam`. A `cnn` is trained for a few epochs on the built-in digits, or on the first images
of another data set, and its maps on test images are measured. Printed is the largest difference over all images, and
the time an image takes. Peers get pixels in our order, as they break ties by place; noise is switched off where it
would hide a difference. Quantus leaves a curve's first point out, and cannot compute areas with numpy 2.4, so that is
done here.
"""

import argparse
import copy
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor, nn

from pipelines.data.datasets import load_dataset
from pipelines.models.networks import build_model
from tracking.home import Home
from xai import METHODS, REFERENCES, MethodInputs
from xai.faithfulness.curves import insertion_and_deletion
from xai.faithfulness.filters import blur
from xai.faithfulness.measures import measure
from xai.faithfulness.randomization import cascade_stages, randomization_similarity
from xai.faithfulness.ranking import rank_pixels, ranks_in_order
from xai.faithfulness.road import IMPUTED_FRACTIONS, classify_imputed
from xai.faithfulness.similarity import spearman
from xai.gradient import frozen

try:
    import quantus
    from pytorch_grad_cam.metrics.road import NoisyLinearImputer
    from quantus.functions.perturb_func import noisy_linear_imputation
    from quantus.functions.similarity_func import correlation_spearman
except ImportError as error:
    sys.exit(f"{error}; needs: pip install quantus grad-cam")

METHOD_NAMES = ("saliency", "integrated_gradients", "grad_cam", "occlusion", "random", "edge")
Row = tuple[str, str, float, float, float]  # measure, peer, largest difference, our and their seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--path")
    flags = parser.parse_args()
    torch.set_num_threads(flags.threads)
    data = load_dataset(flags.data, flags.path, Home(Path("study")), val_fraction=0.1, seed=0, size=None)
    model = build_model("cnn", data, 0)
    fit(model, data.splits["train"], flags.epochs)
    images = data.splits["test"].images[: flags.count].float() / 255
    print(f"{'measure':22} {'maps':22} {'peer':10} {'difference':>10}  ours ms  peer ms")
    for name, peer, off, ours, theirs in compare(model, images):
        measured, maps = name.split("/")
        print(f"{measured:22} {maps:22} {peer:10} {off:10.1e} {ours * 1e3:8.1f} {theirs * 1e3:8.1f}")


def fit(model: nn.Module, split, epochs: int, most: int = 5000) -> None:
    """Enough training for a model whose maps mean something."""
    images, labels = split.images[:most].float() / 255, torch.as_tensor(split.labels[:most])
    optimiser = torch.optim.Adam(model.parameters(), 2e-3)
    for _ in range(epochs):
        for rows in torch.randperm(len(images)).split(64):
            optimiser.zero_grad()
            nn.functional.cross_entropy(model.train()(images[rows]), labels[rows]).backward()
            optimiser.step()
    model.eval()


def compare(model: nn.Module, images: Tensor) -> Iterator[Row]:
    """All rows of the table, each with differences over all images."""
    with torch.no_grad():
        targets = model(images).argmax(1)
    for name in METHOD_NAMES:
        maps = (METHODS | REFERENCES)[name].attribute(model, images, targets, MethodInputs()).maps
        for found in (areas, imputations, kept, all_measures, correlations):
            for measured, *row in found(model, images, targets, maps):
                yield f"{measured}/{name}", *row
    yield from randomised(model, images, targets)


def timed(run: Callable):
    """What it returns, and its seconds."""
    start = time.perf_counter()
    found = run()
    return found, time.perf_counter() - start


def areas(model: nn.Module, images: Tensor, targets: Tensor, maps: Tensor) -> Iterator[Row]:
    """Deletion by Quantus' pixel flipping with our blur as what replaces pixels, insertion by the same backwards."""
    order, pixels = rank_pixels(maps), maps[0].numel()
    (insertion, deletion), ours = timed(lambda: insertion_and_deletion(model, images, targets, order))
    hidden = blur(images)
    for name, found, start, end in (("deletion", deletion, images, hidden), ("insertion", insertion, hidden, images)):
        replacing = end.flatten(2).numpy()  # [N, C, P]

        def replace(arr: np.ndarray, indices: np.ndarray, replacing: np.ndarray = replacing, **kwargs) -> np.ndarray:
            changed = arr.copy().reshape(replacing.shape)
            places = np.asarray(indices)[:, None] % pixels  # [N, 1, n]
            np.put_along_axis(changed, places, np.take_along_axis(replacing, places, 2), 2)
            return changed.reshape(arr.shape)

        metric = quantus.PixelFlipping(
            features_in_step=pixels // 32, perturb_func=replace, disable_warnings=True, abs=False, normalise=False
        )
        given = {
            "model": model,
            "x_batch": start.numpy(),
            "y_batch": targets.numpy(),
            "a_batch": falling(order, images),
        }
        curves, theirs = timed(lambda metric=metric, given=given: metric(**given, softmax=True))
        with torch.no_grad():
            first = model(start).softmax(1).gather(1, targets[:, None])
        channels = images.shape[1]  # each is a feature of its own there, so a step takes so many of theirs
        whole = np.concatenate([first.numpy(), np.array(curves)[:, channels - 1 :: channels]], 1)
        off = np.abs(np.trapezoid(whole, dx=1 / 32, axis=1) - found.numpy()).max()
        yield name, "quantus", off, ours / 2 / len(images), theirs / len(images)


def falling(order: Tensor, images: Tensor) -> np.ndarray:
    """Maps [N, 1, H, W] without ties that have this order, as libraries sort for themselves."""
    return -ranks_in_order(order).view(-1, 1, *images.shape[2:]).double().numpy()


def masks(maps: Tensor) -> Tensor:
    """What ROAD removes of each map, [N, 2 S, H, W]."""
    places, pixels = ranks_in_order(rank_pixels(maps))[:, None], maps[0].numel()
    counts = torch.tensor([round(share * pixels) for share in IMPUTED_FRACTIONS])[:, None]
    return torch.cat([places < counts, places >= pixels - counts], 1).unflatten(2, maps.shape[1:])


def imputations(model: nn.Module, images: Tensor, targets: Tensor, maps: Tensor) -> Iterator[Row]:
    """Pixels imputed by the authors' code as grad-cam has it, and by Quantus'."""
    removed = masks(maps)
    found, ours = timed(lambda: impute(images, removed))
    pairs = [(image, gone) for image, some in zip(images, removed, strict=True) for gone in some]
    authors = NoisyLinearImputer(noise=0)
    peers = {
        "grad-cam": lambda image, gone: authors(image, (~gone).float()),
        "quantus": lambda image, gone: torch.from_numpy(
            noisy_linear_imputation(image.numpy().copy(), np.nonzero(gone.flatten().numpy())[0], noise=0)
        ),
    }
    for name, impute in peers.items():
        theirs, seconds = timed(lambda impute=impute: torch.stack([impute(*pair) for pair in pairs]))
        off = (theirs.view_as(found) - found).abs().max().item()
        yield "road imputation", name, off, ours / len(images), seconds / len(images)


def kept(model: nn.Module, images: Tensor, targets: Tensor, maps: Tensor) -> Iterator[Row]:
    """Share of images whose class is still found, with most relevant pixels imputed by the authors' code."""
    with patch.dict(classify_imputed.__globals__, NOISE_DEVIATION=0.0):
        (most, least), ours = timed(lambda: classify_imputed(model, images, targets, rank_pixels(maps)))
    authors = NoisyLinearImputer(noise=0)

    def run() -> Tensor:
        inputs = [
            authors(image, (~gone).float()) for image, some in zip(images, masks(maps), strict=True) for gone in some
        ]
        with torch.no_grad():
            return (model(torch.stack(inputs)).argmax(1).view(len(images), -1) == targets[:, None]).float()

    found, theirs = timed(run)
    off = (torch.cat([most, least], 1).float() - found).abs().mean(0).max().item()
    yield "road accuracy", "grad-cam", off, ours / len(images), theirs / len(images)


def correlations(model: nn.Module, images: Tensor, targets: Tensor, maps: Tensor) -> Iterator[Row]:
    """Spearman with the edges of each image."""
    other = REFERENCES["edge"].attribute(model, images, targets, MethodInputs()).maps.flatten(1)
    found, ours = timed(lambda: spearman(maps.flatten(1), other))
    theirs, seconds = timed(lambda: correlation_spearman(maps.flatten(1).numpy(), other.numpy(), batched=True))
    fair = found.isfinite()
    off = (found - torch.from_numpy(np.array(theirs)))[fair].abs().max().item()
    yield "spearman", "quantus", off, ours / len(images), seconds / len(images)


def all_measures(model: nn.Module, images: Tensor, targets: Tensor, maps: Tensor) -> Iterator[Row]:
    _, ours = timed(lambda: measure(model, images, targets, maps))
    yield "all of measure", "-", float("nan"), ours / len(images), float("nan")


def randomised(model: nn.Module, images: Tensor, targets: Tensor) -> Iterator[Row]:
    """Quantus' MPRT at our stages, which starts layers afresh by their own means; so does what we are given."""
    fresh = copy.deepcopy(model)
    for module in fresh.modules():
        if hasattr(module, "reset_parameters"):
            torch.manual_seed(43)  # Quantus' seed of every layer
            module.reset_parameters()

    def explain(one: nn.Module) -> Tensor:
        return METHODS["integrated_gradients"].attribute(one, images, targets, MethodInputs(samples=16)).maps

    maps, found = explain(model), cascade_stages(model, images)
    ours, seconds = timed(lambda: randomization_similarity(model, fresh, found, explain, maps))
    metric = quantus.MPRT(layer_order="top_down", disable_warnings=True, abs=False, normalise=False)
    given = {"x_batch": images.numpy(), "y_batch": targets.numpy(), "a_batch": maps[:, None].numpy()}
    with frozen(model):
        theirs, spent = timed(
            lambda: metric(
                model=model, **given, batch_size=len(images),
                explain_func=lambda model, inputs, targets, **kwargs: explain(model)[:, None].numpy(),
            )
        )  # fmt: skip
    for stage in found:
        off = np.nanmax(np.abs(ours[f"randomized_signed/{stage.name}"].numpy() - np.array(theirs[stage.name])))
        parts = seconds / len(found) / len(images), spent / len(theirs) / len(images)
        yield f"randomised {stage.name[8:]}/integrated_gradients", "quantus", off, *parts


if __name__ == "__main__":
    main()
