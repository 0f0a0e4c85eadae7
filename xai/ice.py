"""ICE: concepts as the directions of a non-negative factorization of a layer, V = S P + U.

Zhang et al. 2021, arXiv 2006.15417, section 3. N images, K classes, k concepts, c channels, h x w places. Property:
before global average pooling and a linear layer a logit is the sum of its concepts' contributions, the residual's and
the bias.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from torch import Tensor, nn

from xai.cut import Cut, spatial_layers
from xai.gradient import frozen, split_into_passes
from xai.method import DEVELOPERS_AND_USERS, Card, ConceptMethod, NotApplicable
from xai.nmf import factorize, project
from xai.spatial_axes import observe_layers

Reconstruct = Callable[[Tensor], Tensor]  # rows [R, c] -> what a reducer keeps of them [R, c]


@dataclass(frozen=True)
class Fidelity:
    """How much of the model is left when it sees the reconstructed layer."""

    ice_error: float  # mean |f - f'| of the predicted class's logit, as a share of |mean f|; 0 is perfect
    agreement: float  # share of images with the same top class
    divergence: float  # mean KL(p, p') in nats


def features(model: nn.Module, parts: Cut, images: Tensor) -> Tensor:
    """Outputs of the layer, [N, c, h, w]; raises NotApplicable if it is none of places or negative somewhere."""
    with frozen(model), torch.no_grad():
        found = torch.cat([parts.body(some) for some in split_into_passes(images)])
    if found.ndim != 4:
        raise NotApplicable(
            f"layer {parts.layer!r} gives {list(found.shape)}; ice needs [images, channels, height, width]"
        )
    if found.amin() < 0:
        seen = observe_layers(model, images[:8])
        others = [name for name in spatial_layers(seen) if not seen[name].negative]
        raise NotApplicable(
            f"layer {parts.layer!r} has negative activations, which ice cannot factorize; layers without: "
            f"{', '.join(others) or 'none'}"
        )
    return found


def rows_of(found: Tensor) -> Tensor:
    """All places as rows: [N, c, h, w] to [N h w, c]."""
    return found.permute(0, 2, 3, 1).flatten(0, 2)


def maps_of(rows: Tensor, found: Tensor) -> Tensor:
    """Rows of all places back on them: [N h w, d] to [N, d, h, w], with the places of `found`."""
    count, _, height, width = found.shape
    return rows.unflatten(0, (count, height, width)).permute(0, 3, 1, 2)


def concept_maps(found: Tensor, directions: Tensor) -> Tensor:
    """How strong each concept is at each place: [N, k, h, w], 0 or more."""
    return maps_of(project(rows_of(found), directions), found)


def otsu_thresholds(scores: Tensor) -> Tensor:
    """Score from which on a concept counts as present, [k]: Otsu's split of its scores [N, k] into low and high.

    The split leaves the largest variance between both groups (Otsu 1979). Equal scores have no high group.
    """
    ordered = scores.double().sort(0).values  # [N, k]
    count = len(ordered)
    below = torch.arange(1, count, dtype=torch.double)[:, None]
    sums = ordered.cumsum(0)
    low, high = sums[:-1] / below, (sums[-1] - sums[:-1]) / (count - below)
    between = below * (count - below) * (high - low).square()  # [N - 1, k]
    best = between.argmax(0, keepdim=True)
    split = ((ordered[:-1] + ordered[1:]) / 2).gather(0, best).squeeze(0)
    return torch.where(ordered[0] < ordered[-1], split, torch.inf).to(scores.dtype)


def fidelity(logits: Tensor, others: Tensor) -> Fidelity:
    """What is left of logits [N, K] in those of the reconstruction [N, K]."""
    top = logits.argmax(1, keepdim=True)
    own, other = logits.gather(1, top), others.gather(1, top)
    error = ((own - other).abs().mean() / (own.mean().abs() + 1e-12)).item()
    agreement = (others.argmax(1) == top.squeeze(1)).float().mean().item()
    kept = nn.functional.kl_div(others.log_softmax(1), logits.log_softmax(1), log_target=True, reduction="batchmean")
    return Fidelity(error, agreement, kept.item())


def reduce_by_nmf(rows: Tensor, count: int, seed: int) -> Reconstruct:
    directions = factorize(rows, count, seed).directions
    return lambda others: project(others, directions) @ directions


def reduce_by_pca(rows: Tensor, count: int, seed: int) -> Reconstruct:
    found = PCA(count, random_state=seed).fit(rows.numpy())
    mean, axes = torch.from_numpy(found.mean_).to(rows), torch.from_numpy(found.components_).to(rows)
    return lambda others: (others - mean) @ axes.T @ axes + mean


def reduce_by_kmeans(rows: Tensor, count: int, seed: int) -> Reconstruct:
    found = KMeans(count, n_init=1, random_state=seed).fit(rows.numpy())
    centres = torch.from_numpy(found.cluster_centers_).to(rows)
    return lambda others: centres[torch.cdist(others, centres).argmin(1)]


REDUCERS: dict[str, Callable[[Tensor, int, int], Reconstruct]] = {
    "nmf": reduce_by_nmf,
    "pca": reduce_by_pca,
    "kmeans": reduce_by_kmeans,
}


def head_logits(model: nn.Module, parts: Cut, found: Tensor) -> Tensor:
    """Logits [N, K] that the rest of the model makes of the layer."""
    with frozen(model), torch.no_grad():
        return torch.cat([parts.head(some) for some in split_into_passes(found)])


def reconstructed_logits(model: nn.Module, parts: Cut, found: Tensor, reconstruct: Reconstruct) -> Tensor:
    return head_logits(model, parts, maps_of(reconstruct(rows_of(found)), found))


def sensitivities(
    model: nn.Module, parts: Cut, found: Tensor, maps: Tensor, directions: Tensor, targets: Tensor
) -> tuple[Tensor, Tensor]:
    """Of each image's target logit the gradient summed over places [N, c], and the part each concept carries [N, k].

    A part is the sum over places of the concept's strength times the logit's derivative along its direction, in
    logits. The head alone runs, once forward and once back.
    """
    gradients = torch.cat(
        [
            _head_gradient(model, parts, *some)
            for some in zip(split_into_passes(found), split_into_passes(targets), strict=True)
        ]
    )
    contributions = torch.einsum("nchw,kc,nkhw->nk", gradients, directions, maps)
    return gradients.sum((2, 3)), contributions


def _head_gradient(model: nn.Module, parts: Cut, found: Tensor, targets: Tensor) -> Tensor:
    """Gradient of the target logits with respect to the layer, [n, c, h, w]."""
    with frozen(model), torch.enable_grad():
        inputs = found.detach().clone().requires_grad_()
        scores = parts.head(inputs).gather(1, targets[:, None])
        return torch.autograd.grad(scores.sum(), inputs)[0]


def concept_key(direction: Tensor) -> str:
    """Name of a unit direction [c]: equal directions to three decimals have equal keys, 16 hexadecimal digits."""
    rounded = (direction.double() * 1000).round().to(torch.int32)
    return hashlib.sha256(rounded.numpy().tobytes()).hexdigest()[:16]


def match_directions(old: Tensor, new: Tensor, least: float = 0.9) -> list[tuple[int, int, float]]:
    """Pairs (row of old [m, c], row of new [k, c], cosine >= least) of unit directions, each row once at the most.

    Kuhn 1955: among all pairings the one with the largest sum of cosines.
    """
    cosines = old @ new.T
    pairs = zip(*linear_sum_assignment(-cosines.numpy()), strict=True)
    return [(int(i), int(j), cosines[i, j].item()) for i, j in pairs if cosines[i, j] >= least]


METHOD = ConceptMethod(
    "ice",
    summary="concepts of a layer, and what each does to the classes (TCAV)",
    cited="Zhang 2021, Kim 2018",
    card=Card(
        name="ICE with TCAV",
        source="concepts: Zhang et al. 2021, arXiv 2006.15417; TCAV: Kim et al. 2018, arXiv 1711.11279",
        why="interpretability and debugging: which recurring patterns the model has learned, and for which classes",
        who=DEVELOPERS_AND_USERS,
        what="non-negative directions in a layer's activations (aggregated information), tested for each class",
        how="matrix factorization, example images, and how often more of a concept raises a class's logit (TCAV)",
        when="after training, at any stored epoch",
        where="networks with a ReLU layer of feature maps",
        limits="Concepts are as good as the answer the model keeps when it sees nothing else; names are for people.",
    ),
)
