"""Groups of maps that lie in the same places: spectral relevance analysis (SpRAy, Lapuschkin 2019, arXiv 1902.10178).

A graph joins each map with its nearest ones; the eigenvalues l_1 <= l_2 <= ... of the graph's normalised Laplacian
are near 0 once per cluster, so that there are as many clusters as eigenvalues before the widest gap. Property: parts of
the graph that no edge joins are clusters of their own; a graph without a gap is one cluster.
"""

import math

import torch
from sklearn.cluster import KMeans
from torch import Tensor
from torch.nn import functional

MIN_MAPS = 20  # fewer are one cluster, as chance may split them
MAX_CLUSTERS = 8


def cluster_maps(maps: Tensor, seed: int = 0) -> Tensor:
    """The cluster of each map [N], from 0, the largest first; maps [N, P] count by magnitude, regardless of scale.

    Where maps change smoothly from one place to another, clusters are pieces of one continuum.
    """
    if len(maps) < MIN_MAPS:
        return torch.zeros(len(maps), dtype=torch.long)
    directions = functional.normalize(maps.abs().double(), dim=1)
    similarity = directions @ directions.T
    similarity.fill_diagonal_(-math.inf)
    # about log N neighbours still connect a random graph; equally near ones are all joined
    kth_nearest = similarity.topk(math.ceil(math.log(len(maps))), dim=1).values[:, -1:]
    edges = (similarity >= kth_nearest - 1e-9).double()
    edges = torch.maximum(edges, edges.T)
    scale = edges.sum(1).rsqrt()
    laplacian = torch.eye(len(maps), dtype=edges.dtype) - scale[:, None] * edges * scale  # normalised, [N, N]
    eigenvalues, eigenvectors = torch.linalg.eigh(laplacian)
    count = int(eigenvalues[: MAX_CLUSTERS + 1].diff().argmax()) + 1
    spectrum = functional.normalize(eigenvectors[:, :count], dim=1)
    found = torch.from_numpy(KMeans(count, n_init=10, random_state=seed).fit_predict(spectrum.numpy())).long()
    by_size = torch.bincount(found, minlength=count).argsort(descending=True, stable=True)
    return by_size.argsort()[found]
