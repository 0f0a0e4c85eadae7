"""ICE: concepts as the directions of a non-negative factorization of a layer, V = S P + U.

Zhang et al. 2021, arXiv 2006.15417, section 3. N images, K classes, k concepts, c channels, h x w positions.
Property: before global average pooling and a linear layer, a logit is the sum of its concepts' contributions, the
residual's and the bias.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from xai.cut import Cut, spatial_layers
from xai.gradient import frozen, gradient_of, split_into_passes
from xai.method import DEVELOPERS_AND_USERS, Card, ConceptMethod, NotApplicable
from xai.nmf import project
from xai.spatial_axes import observe_layers

Reconstruct = Callable[[Tensor], Tensor]  # rows [R, c] -> what a reducer keeps of them [R, c]


@dataclass(frozen=True)
class Fidelity:
    """How much of the model's output is kept when it sees the reconstructed layer."""

    ice_error: float  # mean |f - f'| of the predicted class's logit, as a fraction of |mean f|; 0 is perfect
    agreement: float  # fraction of images with the same top class
    divergence: float  # mean KL(p, p') in nats


def extract_features(model: nn.Module, parts: Cut, images: Tensor) -> Tensor:
    """Outputs of the layer, [N, c, h, w]; raises NotApplicable if they are not spatial or are negative anywhere."""
    with frozen(model), torch.no_grad():
        features = torch.cat([parts.body(batch) for batch in split_into_passes(images)])
    if features.ndim != 4:
        shape = list(features.shape)
        raise NotApplicable(f"layer {parts.layer!r} returns {shape}; ice needs [images, channels, height, width]")
    if features.amin() < 0:
        layers = observe_layers(model, images[:8])
        non_negative = [name for name in spatial_layers(layers) if not layers[name].negative]
        raise NotApplicable(
            f"layer {parts.layer!r} has negative activations, which ice cannot factorize; layers without: "
            f"{', '.join(non_negative) or 'none'}"
        )
    return features


def flatten_positions(features: Tensor) -> Tensor:
    """All positions as rows: [N, c, h, w] to [N h w, c]."""
    return features.permute(0, 2, 3, 1).flatten(0, 2)


def unflatten_positions(rows: Tensor, features: Tensor) -> Tensor:
    """Rows back at their positions: [N h w, d] to [N, d, h, w], where `features` are [N, c, h, w]."""
    count, _, height, width = features.shape
    return rows.unflatten(0, (count, height, width)).permute(0, 3, 1, 2)


def concept_maps(features: Tensor, directions: Tensor) -> Tensor:
    """Strength of each concept at each position: [N, k, h, w], 0 or more."""
    return unflatten_positions(project(flatten_positions(features), directions), features)


def otsu_thresholds(scores: Tensor) -> Tensor:
    """Score from which a concept counts as present, [k]: Otsu's split of its scores [N, k] into low and high.

    The split has the largest variance between both groups (Otsu 1979). Equal scores have no high group.
    """
    ordered = scores.double().sort(0).values  # [N, k]
    count = len(ordered)
    below = torch.arange(1, count, dtype=torch.double, device=scores.device)[:, None]
    above = count - below
    sums = ordered.cumsum(0)
    low_mean = sums[:-1] / below
    high_mean = (sums[-1] - sums[:-1]) / above
    between_variance = below * above * (high_mean - low_mean).square()  # [N - 1, k]
    best = between_variance.argmax(0, keepdim=True)
    midpoints = (ordered[:-1] + ordered[1:]) / 2
    split = midpoints.gather(0, best).squeeze(0)
    return torch.where(ordered[0] < ordered[-1], split, torch.inf).to(scores.dtype)


def fidelity(logits: Tensor, others: Tensor) -> Fidelity:
    """How well logits [N, K] of the reconstruction, the `others`, keep the model's."""
    top = logits.argmax(1, keepdim=True)
    top_logits = logits.gather(1, top)
    error = (top_logits - others.gather(1, top)).abs().mean() / (top_logits.mean().abs() + 1e-12)
    agreement = (others.argmax(1) == top.squeeze(1)).float().mean()
    divergence = nn.functional.kl_div(
        others.log_softmax(1), logits.log_softmax(1), log_target=True, reduction="batchmean"
    )
    return Fidelity(error.item(), agreement.item(), divergence.item())


def keep_concepts(directions: Tensor) -> Reconstruct:
    """What concepts [k, c] keep: the best sum of them with no negative part."""
    return lambda rows: project(rows, directions) @ directions


def reduce_by_pca(rows: Tensor, count: int, seed: int) -> Reconstruct:
    from sklearn.decomposition import PCA  # here, as scikit-learn takes a second, and most commands do without

    pca = PCA(count, random_state=seed).fit(rows.cpu().numpy())
    mean = torch.from_numpy(pca.mean_).to(rows)
    axes = torch.from_numpy(pca.components_).to(rows)
    return lambda others: (others - mean) @ axes.T @ axes + mean


def reduce_by_kmeans(rows: Tensor, count: int, seed: int) -> Reconstruct:
    from sklearn.cluster import KMeans  # here, as PCA is

    clusters = KMeans(count, n_init=1, random_state=seed).fit(rows.cpu().numpy())
    centres = torch.from_numpy(clusters.cluster_centers_).to(rows)
    return lambda others: centres[torch.cdist(others, centres).argmin(1)]


OTHER_REDUCERS: dict[str, Callable[[Tensor, int, int], Reconstruct]] = {
    "pca": reduce_by_pca,
    "kmeans": reduce_by_kmeans,
}


def head_logits(model: nn.Module, parts: Cut, features: Tensor) -> Tensor:
    """Logits [N, K] that the rest of the model computes from the layer's output [N, c, h, w]."""
    with frozen(model), torch.no_grad():
        return torch.cat([parts.head(batch) for batch in split_into_passes(features)])


def reconstructed_logits(model: nn.Module, parts: Cut, features: Tensor, reconstruct: Reconstruct) -> Tensor:
    """Logits [N, K] from what a reducer keeps of the layer's output [N, c, h, w]."""
    rows = reconstruct(flatten_positions(features))
    return head_logits(model, parts, unflatten_positions(rows, features))


def position_weights(model: nn.Module, parts: Cut, features: Tensor) -> Tensor:
    """How much the model's decisions hang on each position, [N, h, w], 1 in the mean.

    The norm, over the channels active there, of the gradient of each image's decision: the margin between its two
    highest logits. Least squares would fit all positions alike, though a head that takes maxima reads few of them.
    """
    parts_of_weights = []
    with frozen(model), torch.enable_grad():
        for batch in split_into_passes(features):
            inputs = batch.detach().clone().requires_grad_()
            logits = parts.head(inputs)
            highest = logits.topk(min(2, logits.shape[1]), dim=1).values
            margins = highest[:, 0] - highest[:, 1:].sum(1)
            gradient = gradient_of(margins.sum(), inputs)
            # of a channel that is zero everywhere, a maximum is read at the first position, which says nothing
            read = torch.zeros_like(batch) if gradient is None else gradient * (batch > 0)
            parts_of_weights.append(read.norm(dim=1))
    weights = torch.cat(parts_of_weights)
    return weights / weights.mean() if weights.any() else torch.ones_like(weights)


def concept_sensitivities(
    model: nn.Module, parts: Cut, features: Tensor, maps: Tensor, directions: Tensor, targets: Tensor
) -> tuple[Tensor, Tensor]:
    """For each image's target logit, its gradient summed over positions [N, c] and each concept's contribution [N, k].

    A contribution is the sum over positions of the concept's strength times the logit's derivative along its direction,
    in logits. Only the head runs, once forward and once backward.
    """
    parts_of_gradient = []
    with frozen(model), torch.enable_grad():
        for batch, batch_targets in zip(split_into_passes(features), split_into_passes(targets), strict=True):
            inputs = batch.detach().clone().requires_grad_()
            scores = parts.head(inputs).gather(1, batch_targets[:, None])
            parts_of_gradient.append(torch.autograd.grad(scores.sum(), inputs)[0])
    gradients = torch.cat(parts_of_gradient)  # [N, c, h, w]
    contributions = torch.einsum("nchw,kc,nkhw->nk", gradients, directions, maps)
    return gradients.sum((2, 3)), contributions


def concept_key(direction: Tensor) -> str:
    """Name of a unit direction [c], 16 hexadecimal digits; directions equal to three decimals have equal keys."""
    rounded = (direction.double() * 1000).round().to(torch.int32)
    return hashlib.sha256(rounded.numpy().tobytes()).hexdigest()[:16]


def match_directions(old: Tensor, new: Tensor, min_cosine: float = 0.9) -> list[tuple[int, int, float]]:
    """Pairs (row of old [m, c], row of new [k, c], cosine >= min_cosine) of unit directions, each row at most once.

    Of all pairings, the one with the largest sum of cosines (Kuhn 1955).
    """
    from scipy.optimize import linear_sum_assignment  # here, as scikit-learn is

    cosines = old @ new.T
    pairs = zip(*linear_sum_assignment(-cosines.numpy()), strict=True)
    return [(int(i), int(j), cosines[i, j].item()) for i, j in pairs if cosines[i, j] >= min_cosine]


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
        limits="Concepts explain a model only as far as it keeps its answers given nothing else; names are for people.",
    ),
)
