"""Nearest neighbours of training images among unseen images and samples, and near-duplicates within a set."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from infolab.empirical import middle, product_rounding
from infolab.errors import UserError
from infolab.noise import generator
from vae.models import VAE

# ----------
# Nearest neighbours of training images among images never seen and among a model's samples, at half resolution.

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


# ----------
# Nearly equal images of a set: an exact scan of all pairs in blocks, by a bound in few dimensions first.

PAIR_BLOCK = 1024
FEW = 64
"""Dimensions in which all pairs are compared; pairs that can be near are compared in all of them."""
SAMPLE = 4096
"""Images whose principal components give those dimensions (any orthonormal ones would do)."""
LARGEST = torch.finfo(torch.float32).max
MOST = 1_000_000
"""Pairs that are listed at most."""


@dataclass(frozen=True)
class Pairs:
    """Pairs a < b of images (p,), nearest first: root mean square difference, as a fraction of the grey range."""

    a: Tensor
    b: Tensor
    distance: Tensor

    def __len__(self) -> int:
        return len(self.a)


def near_duplicates(images: Tensor, levels: int, within: float, closest: int = 1) -> Pairs:
    """All pairs with root mean square difference over pixels <= within (Q - 1), and at least the `closest` ones.

    For orthonormal directions P, |P(x - y)| <= |x - y|: pairs whose projections are too far apart are too far apart.
    The projections of all pairs come from matrix products in blocks of `BLOCK` x `BLOCK`; for what they leave, sums of
    squared differences are taken in integers. No pair is missed: the rounding of the products is allowed for.

    Args:
        images: uint8 grey levels (n, ...).
        levels: Q.
        within: distance, a fraction of the grey range.
        closest: so many pairs are listed in any case.

    Raises:
        UserError: fewer than two images, or more than a million pairs within the distance.

    >>> images = torch.tensor([[0, 0], [10, 10], [0, 1], [90, 90]], dtype=torch.uint8)
    >>> found = near_duplicates(images, 101, within=0.1)
    >>> found.a.tolist(), found.b.tolist(), [round(d, 4) for d in found.distance.tolist()]
    ([0, 1, 0], [2, 2, 1], [0.0071, 0.0951, 0.1])
    """
    flat = images.flatten(1)
    n, d = flat.shape
    if n < 2:
        raise UserError(f"{n} images have no pairs: expected at least 2")
    closest = min(closest, n * (n - 1) // 2)
    limit = d * (within * (levels - 1)) ** 2 * (1 + 1e-12)
    scan = _Scan(flat, limit, closest)
    for first in range(0, n, PAIR_BLOCK):
        for second in range(first, n, PAIR_BLOCK):
            scan.block(first, second)
    a, b, squares = scan.pairs()
    return Pairs(a, b, (squares / d).sqrt() / (levels - 1))


class _Scan:
    """The pairs found so far; squared distances are in grey levels, summed over pixels."""

    def __init__(self, flat: Tensor, limit: float, closest: int):
        self.flat, self.limit, self.closest = flat, limit, closest
        self.few = _projections(flat)
        self.norms = self.few.square().sum(1)
        # Rounding of the stored projections and of |Px|^2 - 2 Px.Py + |Py|^2 in float32.
        eps = torch.finfo(torch.float32).eps
        self.slack = 4 * (self.few.shape[1] + 8) * eps * float(self.norms.max())
        self.best = torch.full((closest,), float("inf"), dtype=torch.float64)
        self.kept: list[tuple[Tensor, Tensor, Tensor]] = []
        self.count = 0

    def block(self, first: int, second: int) -> None:
        """Compare images first .. first + BLOCK - 1 with images second .. second + BLOCK - 1."""
        rows, columns = slice(first, first + PAIR_BLOCK), slice(second, second + PAIR_BLOCK)
        bound = torch.addmm(self.norms[columns], self.few[rows], self.few[columns].T, alpha=-2)
        bound += self.norms[rows, None]
        if first == second:
            bound[torch.ones_like(bound, dtype=torch.bool).tril_()] = float("inf")
        radius = max(self.limit, float(self.best[-1]))
        if float(bound.amin()) > radius + self.slack:
            return
        near = self._under(bound, radius)
        if len(near) > 16 * self.closest:
            # The pairs of least bound are that many real pairs: the closest ones are no farther than they are.
            places = bound.flatten().topk(self.closest, largest=False)
            if bool(torch.isfinite(places.values).all()):
                likely = self._squares(*self._pairs_of(places.indices, bound.shape[1], first, second))
                radius = max(self.limit, min(float(self.best[-1]), float(likely.max())))
                near = self._under(bound, radius)
        a, b = self._pairs_of(near, bound.shape[1], first, second)
        squares = self._squares(a, b)
        found = squares <= radius
        self._keep(a[found], b[found], squares[found])

    def pairs(self) -> tuple[Tensor, Tensor, Tensor]:
        """The pairs that are listed and their squared distances, ascending."""
        a, b, squares = (torch.cat(parts) for parts in zip(*self.kept, strict=True))
        order = torch.argsort(squares, stable=True)
        count = max(self.closest, int((squares <= self.limit).sum()))
        return a[order[:count]], b[order[:count]], squares[order[:count]]

    def _under(self, bound: Tensor, radius: float) -> Tensor:
        """Places of the flattened block whose bound does not exclude them."""
        return (bound <= min(radius + self.slack, LARGEST)).flatten().nonzero()[:, 0]

    def _keep(self, a: Tensor, b: Tensor, squares: Tensor) -> None:
        self.kept.append((a, b, squares))
        self.best = torch.cat([self.best, squares]).sort().values[: self.closest]
        self.count += int((squares <= self.limit).sum())
        if self.count > MOST:
            raise UserError(f"more than {MOST:,} pairs of images are that near: ask for a smaller distance")

    @staticmethod
    def _pairs_of(places: Tensor, width: int, first: int, second: int) -> tuple[Tensor, Tensor]:
        return places // width + first, places % width + second

    def _squares(self, a: Tensor, b: Tensor) -> Tensor:
        """Squared distances of the pairs, exact, float64."""
        found = [
            (self.flat[i].int() - self.flat[j].int()).square().sum(1)
            for i, j in zip(a.split(PAIR_BLOCK), b.split(PAIR_BLOCK), strict=True)
        ]
        return torch.cat(found).double()


def _projections(flat: Tensor) -> Tensor:
    """The first principal components of the images (all pixels, where there are few), float32 (n, at most FEW)."""
    d = flat.shape[1]
    some = flat[:: -(-len(flat) // SAMPLE)].double()
    centre = some.mean(0)
    some -= centre
    basis = torch.eye(d, dtype=torch.float64) if d <= FEW else torch.linalg.eigh(some.T @ some)[1][:, -FEW:]
    return torch.cat([((part.double() - centre) @ basis).float() for part in flat.split(PAIR_BLOCK)])
