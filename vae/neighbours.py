"""Nearest neighbours of training images among images never seen and among a model's samples, at half resolution."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from common.seeds import generator
from common.squares import middle, product_rounding
from vae.models import VAE

BLOCK = 2048


def half_resolution(images: Tensor) -> Tensor:
    """Means over 2 x 2 pixels, (n, c, h, w) to (n, c h/2 w/2) float32 (an odd last row or column is left out)."""
    return avg_pool2d(images.float(), 2).flatten(1)


def nearest_distance(x: Tensor, y: Tensor) -> np.ndarray:
    """Euclidean distance of each row of x (n, d) to its own nearest row of y (k, d), float64 (n,).

    Candidates come from matrix products in blocks, |x|^2 - 2 x.y + |y|^2: all rows of y that may be nearest, rounding
    allowed for. Their distances are then taken from the differences, which do not cancel, so that a copy is at 0.

    >>> nearest_distance(torch.tensor([[0.0], [5.0]]), torch.tensor([[1.0], [7.0]])).tolist()
    [1.0, 2.0]
    """
    centre = middle(y).to(y)
    near, other = x - centre, y - centre
    norms = other.square().sum(1)
    farthest = norms.max().sqrt()
    found = []
    for rows in torch.arange(len(x)).split(BLOCK):
        # Products of this size are rounded on either side of a comparison.
        slack = 2 * product_rounding(x.shape[1], x.dtype) * (near[rows].norm(dim=1) + farthest).square()
        least, best = torch.full_like(slack, torch.inf), torch.full((len(rows),), torch.inf, dtype=torch.float64)
        for columns in torch.arange(len(y)).split(BLOCK):
            low = torch.addmm(norms[columns], near[rows], other[columns].T, alpha=-2)
            least = torch.minimum(least, low.amin(1))
            for pairs in torch.nonzero(low <= (least + slack)[:, None]).split(BLOCK):
                i, j = pairs.T
                exact = (x[rows[i]].double() - y[columns[j]].double()).square().sum(1)
                best.scatter_reduce_(0, i, exact, "amin")
        found.append(best.sqrt())
    return torch.cat(found).numpy()


@torch.no_grad()
def sample_means(vae: VAE, folds: Sequence[int], count: int, latent: int, seed: int) -> dict[int, Tensor]:
    """Means E[x | z] of the decoders in [0, 1] for z ~ N(0, I) at half resolution, (count, d) by held-out fold.

    Args:
        vae: k networks.
        folds: the fold that each holds out (k,).
        count: how many of each.
        latent: dimensions of z.
        seed: seed of z; each network has its own.
    """
    sources = [generator(seed, "samples", fold) for fold in folds]
    z = torch.stack([torch.randn(count, latent, generator=source) for source in sources])
    parts = [vae.likelihood.mean(vae.decoder(part)) for part in z.split(BLOCK, dim=1)]
    small = [torch.stack([half_resolution(images) for images in part]) for part in parts]
    return dict(zip(folds, torch.cat(small, dim=1), strict=True))


def neighbour_distances(
    images: Tensor, folds: np.ndarray, unseen: Tensor, samples: Mapping[int, Tensor]
) -> tuple[np.ndarray, np.ndarray]:
    """Distance of each training image to its nearest unseen image and to its nearest sample, float64 (n,) each.

    Args:
        images: training images at half resolution, (n, d).
        folds: fold of each, (n,). It is compared with the samples of the network that holds out the fold after it
            (cyclically), which was trained on it.
        unseen: images that no network was trained on, (k, d).
        samples: k samples (k, d) of each network, by the fold that it holds out.
    """
    sampled = np.empty(len(images))
    K = len(samples)
    for fold in range(K):
        mine = np.flatnonzero(folds == fold)
        sampled[mine] = nearest_distance(images[torch.from_numpy(mine)], samples[(fold + 1) % K])
    return nearest_distance(images, unseen), sampled
