"""How fast are the methods, beside their own limit and beside captum and shap?

    python tests/benchmarks/explainers.py [--count 32] [--rounds 3] [--threads 2] [--network cnn] [--methods ...]
                                            [--precision float32 bfloat16] [--processor-time]

Needs `pip install -e ".[bench]"`. The limit of a method is the number of its forward passes and of its passes forward
and back to the image, times the measured time of such a pass at the best batch size. Methods and peers take turns, so
that a machine whose speed drifts slows all alike; printed is the median of the rounds, in ms an image. The network is
the untrained `cnn`, or a small residual network, on random images of 32x32: time does not depend on the weights. Ours
get it as `study explain` prepares it, in channels_last layout; the peers as their documentation calls them, in torch's
own layout, or, with --peers-channels-last, prepared the same way. Integrated gradients may not double its steps here,
as the peer cannot. Captum takes all images' samples in one pass, so its time depends on --count. Our passes
compute in --precision, as with `study explain --precision`, those of the limit too; the peers compute in float32, as
documented. --processor-time counts the processor's time instead of the clock's, for busy machines.
"""

import argparse
import copy
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from unittest.mock import patch

import captum.attr
import numpy as np
import shap
import torch
from peers import shap_maps
from residual import residual
from torch import Tensor, nn

from pipelines.models.networks import cnn
from pipelines.models.preprocessing import Preprocess, Preprocessing
from xai import METHODS, MethodInputs
from xai.gradient import score_gradient, target_scores
from xai.method import compute_passes_in
from xai.occlusion import occlusion_windows

BATCHES = (32, 64, 128, 256)
SIDE = 32
NETWORKS = {"cnn": lambda: cnn(10, (3, SIDE, SIDE)), "residual": residual}
# forward passes, and passes forward and back, an image
PASSES = {
    "saliency": (0, 1),
    "smooth_grad": (1, 50),
    "integrated_gradients": (0, 51),
    "occlusion": (len(occlusion_windows(SIDE, SIDE)) + 1, 0),
    "expected_gradients": (1, 200),
    "shap": (500, 0),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--network", choices=NETWORKS, default="cnn")
    parser.add_argument("--precision", nargs="+", choices=("float32", "bfloat16"), default=["float32"])
    parser.add_argument("--processor-time", action="store_true")
    parser.add_argument("--peers-channels-last", action="store_true")
    parser.add_argument("--methods", nargs="+", default=[name for name in PASSES if name in METHODS])
    flags = parser.parse_args()
    torch.set_num_threads(flags.threads)
    clock = time.process_time if flags.processor_time else time.perf_counter
    model, images, background = prepared = make(flags.network, flags.count)
    of_peers = peers(*(prepared if flags.peers_channels_last else map(plain, prepared)))
    limits: dict[str, tuple[float, float]] = {}
    for precision in flags.precision:
        with compute_passes_in(getattr(torch, precision)):
            forward, both = limits[precision] = pass_times(model, flags.rounds, clock)
        print(
            f"{precision}: forward {forward * 1000:.3f} ms, forward and back {both * 1000:.3f} ms an image, at the "
            "best batch size"
        )
    print(f"{'method':<22}{'passes in':<10}{'ours':>9}{'limit':>9}{'of limit':>9}{'peer':>9}{'faster':>8}  peer")
    for method in flags.methods:

        def explain(precision: str, method: str = method) -> None:
            with compute_passes_in(getattr(torch, precision)):
                METHODS[method].attribute(model, images, classes(images), MethodInputs(background=background))

        ours = [partial(explain, precision) for precision in flags.precision]
        name, peer = of_peers.get(method, ("none", None))
        with patch.object(sys.modules["xai.integrated_gradients"], "MAX_STEPS_FACTOR", 1):
            times = in_turn([*ours, *([peer] if peer else [])], flags.rounds, len(images), clock)
        for precision, seconds in zip(flags.precision, times, strict=False):
            forward, both = limits[precision]
            limit = PASSES[method][0] * forward + PASSES[method][1] * both
            beside = f"{times[-1] * 1000:>9.1f}{times[-1] / seconds:>7.2f}x" if peer else f"{'-':>9}{'-':>8}"
            print(
                f"{method:<22}{precision:<10}{seconds * 1000:>9.1f}{limit * 1000:>9.1f}{seconds / limit:>9.2f}{beside}"
                f"  {name}",
                flush=True,
            )


def make(network: str, count: int) -> tuple[nn.Module, Tensor, Tensor]:
    """The network, images [N, 3, 32, 32] and background images [200, 3, 32, 32]."""
    torch.manual_seed(0)
    model = nn.Sequential(Preprocess(Preprocessing(mean=(0.5,), std=(0.25,)), (3, SIDE, SIDE)), NETWORKS[network]())
    images = torch.rand(count + 200, 3, SIDE, SIDE).contiguous(memory_format=torch.channels_last)
    return model.eval().to(memory_format=torch.channels_last), images[:count], images[count:]


def plain(prepared: nn.Module | Tensor) -> nn.Module | Tensor:
    """A copy in the layout that torch gives by itself."""
    return copy.deepcopy(prepared).to(memory_format=torch.contiguous_format)


def classes(images: Tensor) -> Tensor:
    return torch.arange(len(images)) % 10


def pass_times(model: nn.Module, rounds: int, clock: Callable) -> tuple[float, float]:
    """Seconds an image of a forward pass, and of one forward and back to the image, each at its best batch size."""
    found = []
    for one_pass in (target_scores, score_gradient):
        jobs = []
        for batch in BATCHES:
            images = torch.rand(batch, 3, SIDE, SIDE).contiguous(memory_format=torch.channels_last)
            repeats = 512 // batch
            jobs.append(lambda images=images, repeats=repeats, run=one_pass: [
                run(model, images, classes(images)) for _ in range(repeats)
            ])  # fmt: skip
        found.append(min(in_turn(jobs, rounds, 512, clock)))
    return found[0], found[1]


def in_turn(jobs: list[Callable], rounds: int, count: int, clock: Callable) -> list[float]:
    """Median seconds an image of each job, after one round to warm up."""
    times: list[list[float]] = [[] for _ in jobs]
    for _ in range(rounds + 1):
        for job, known in zip(jobs, times, strict=True):
            began = clock()
            job()
            known.append((clock() - began) / count)
    return [statistics.median(known[1:]) for known in times]


def peers(model: nn.Module, images: Tensor, background: Tensor) -> dict[str, tuple[str, Callable]]:
    """The same explanations by the libraries, called as their documentation does."""
    targets = classes(images)
    mean = background.mean((0, 2, 3)).view(1, 3, 1, 1).expand(1, 3, SIDE, SIDE)
    noise = captum.attr.NoiseTunnel(captum.attr.Saliency(model))
    integrated, occluded = captum.attr.IntegratedGradients(model), captum.attr.Occlusion(model)
    return {
        "saliency": ("captum Saliency", lambda: captum.attr.Saliency(model).attribute(images.clone(), targets)),
        "smooth_grad": ("captum NoiseTunnel", lambda: noise.attribute(
            images.clone(), nt_type="smoothgrad", nt_samples=50, stdevs=0.1, target=targets, abs=False)),
        "integrated_gradients": ("captum IntegratedGradients", lambda: integrated.attribute(
            images.clone(), mean, target=targets, n_steps=50)),
        "occlusion": ("captum Occlusion", lambda: occluded.attribute(
            images.clone(), (3, 5, 5), (3, 2, 2), baselines=mean, target=targets)),
        "expected_gradients": ("shap GradientExplainer", lambda: by_gradient_explainer(model, images, background)),
        "shap": ("shap PartitionExplainer", lambda: shap_maps(model, images, targets, 500)),
    }  # fmt: skip


def by_gradient_explainer(model: nn.Module, images: Tensor, background: Tensor) -> np.ndarray:
    """For the top class alone, the nearest it has to a chosen one."""
    explainer = shap.GradientExplainer(model, background)
    return explainer.shap_values(images, nsamples=200, ranked_outputs=1, rseed=0)[0]


if __name__ == "__main__":
    main()
