"""Toy laws that are Gaussian noise around curves in the plane: sampled exactly, their density one quadrature."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from common.errors import UserError
from common.estimate import Estimate
from common.mixture import GaussianMixture


@dataclass(frozen=True)
class Piece:
    """One smooth curve u -> (x, y), u uniform on (0, 1).

    Attributes:
        weight: probability of the piece, up to a common factor.
        curve: maps u (n,) to points (n, 2), float64.
        speed: a bound of |dc/du| 2 sqrt(u (1 - u)); the second factor is the spacing of Gauss-Legendre nodes relative
            to that in the middle.
    """

    weight: float
    curve: Callable[[Tensor], Tensor]
    speed: float

    def nodes(self, noise: float) -> int:
        """Nodes for a spacing of 0.7 noise standard deviations; in the middle it is pi/2 times the mean spacing."""
        return max(32, math.ceil(math.pi / 2 * self.speed / (0.7 * noise)))


class NoisyCurves:
    """The law of c(u) + noise N(0, I) in the plane, optionally standardised per coordinate (by its exact moments).

    The density is an integral over u, done by Gauss-Legendre quadrature on each piece: a Gaussian mixture with a node
    per component (`mixture`), which gives scores and noised densities too. Nodes lie at most about 0.7 noise standard
    deviations apart, where the error of the density is below 1e-8 of its maximum.

    Attributes:
        pieces: the curves.
        noise: standard deviation of the noise, before standardisation.
        standardised: whether each coordinate has mean 0 and variance 1.
        refine: factor on the number of quadrature nodes.
        d: 2.

    Raises:
        UserError: noise not above 0.
    """

    d = 2

    def __init__(self, pieces: list[Piece], noise: float, standardised: bool = False, refine: int = 1) -> None:
        if not 0 < noise < math.inf:
            raise UserError(f"noise={noise}: expected a finite number above 0")
        self.pieces, self.noise, self.standardised, self.refine = pieces, noise, standardised, refine

    @cached_property
    def _nodes(self) -> tuple[Tensor, Tensor]:
        """Quadrature weights (k,) of sum 1 and points (k, 2) of all pieces."""
        weights, points = [], []
        for piece in self.pieces:
            u, w = (torch.from_numpy(v) for v in np.polynomial.legendre.leggauss(piece.nodes(self.noise) * self.refine))
            weights.append(piece.weight * w / 2)
            points.append(piece.curve((u + 1) / 2))
        weight = torch.cat(weights)
        return weight / weight.sum(), torch.cat(points)

    @cached_property
    def _affine(self) -> tuple[Tensor, Tensor]:
        """Centre (2,) and scale (2,) of the standardisation."""
        if not self.standardised:
            return torch.zeros(2, dtype=torch.float64), torch.ones(2, dtype=torch.float64)
        weights, points = self._nodes
        mean = weights @ points
        return mean, torch.sqrt(weights @ (points - mean) ** 2 + self.noise**2)

    @cached_property
    def _raw(self) -> GaussianMixture:
        """The law before standardisation, whose components are isotropic (several times faster)."""
        weights, points = self._nodes
        return GaussianMixture(weights, points, self.noise**2)

    @cached_property
    def mixture(self) -> GaussianMixture:
        """The law as a mixture of quadrature nodes."""
        if not self.standardised:
            return self._raw
        centre, scale = self._affine
        means = (self._raw.means - centre) / scale
        return GaussianMixture(self._raw.weights, means, torch.diag((self.noise / scale) ** 2).expand(len(means), 2, 2))

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw n points, (n, 2) float32, from the law itself (not from the nodes)."""
        share = torch.tensor([piece.weight for piece in self.pieces], dtype=torch.float64)
        which = torch.multinomial(share, n, replacement=True, generator=generator)
        u = torch.rand(n, generator=generator, dtype=torch.float64)
        x = self.noise * torch.randn(n, 2, generator=generator, dtype=torch.float64)
        for i, piece in enumerate(self.pieces):
            x[which == i] += piece.curve(u[which == i])
        centre, scale = self._affine
        return ((x - centre) / scale).float()

    def log_prob(self, x: Tensor) -> Tensor:
        """Return the log density of x (..., 2), in nats, float64."""
        centre, scale = self._affine
        return self._raw.log_prob(x.cpu().double() * scale + centre) + scale.log().sum()

    def entropy(self) -> Estimate:
        """Return the differential entropy by quadrature over the plane."""
        raw = self._raw.entropy_quadrature()
        return replace(raw, value=raw.value - float(self._affine[1].log().sum()))


def swiss_roll(noise: float = 0.5, scale: float = 5.0, refine: int = 1) -> NoisyCurves:
    """Return (theta cos theta, theta sin theta)/scale + N(0, (noise/scale)^2 I), theta = 1.5 pi (1 + 2u).

    scikit-learn's swiss roll without its flat coordinate, as used by Chen, Zhu, Shkurti (2025).
    """

    def curve(u: Tensor) -> Tensor:
        theta = 1.5 * math.pi * (1 + 2 * u)
        return torch.stack([theta * torch.cos(theta), theta * torch.sin(theta)], -1) / scale

    if not 0 < scale < math.inf:
        raise UserError(f"scale={scale}: expected a finite number above 0")
    # |dc/du| = 3 pi sqrt(1 + theta^2) / scale; sqrt(1 - v^2) (2 + v) <= 2.21 for v = 2u - 1 bounds its theta part.
    speed = 3 * math.pi * (1 + 2.21 * 1.5 * math.pi) / scale
    return NoisyCurves([Piece(1.0, curve, speed)], noise / scale, refine=refine)


def moons(noise: float = 0.03, refine: int = 1) -> NoisyCurves:
    """Return scikit-learn's two half circles with noise, standardised per coordinate (Kong et al. 2023)."""

    def outer(u: Tensor) -> Tensor:
        return torch.stack([torch.cos(math.pi * u), torch.sin(math.pi * u)], -1)

    def inner(u: Tensor) -> Tensor:
        return torch.stack([1 - torch.cos(math.pi * u), 0.5 - torch.sin(math.pi * u)], -1)

    pieces = [Piece(1.0, outer, speed=math.pi), Piece(1.0, inner, speed=math.pi)]
    return NoisyCurves(pieces, noise, standardised=True, refine=refine)


def spiral(turns: float = 2.0, noise: float = 0.06, refine: int = 1) -> NoisyCurves:
    """Return an Archimedean spiral of radius 0.2 to 2, its angle drawn so that arc length is nearly uniform."""

    def curve(u: Tensor) -> Tensor:
        radius = torch.sqrt(0.04 + 3.96 * u)
        angle = 2 * math.pi * turns * radius / 2
        return torch.stack([radius * torch.cos(angle), radius * torch.sin(angle)], -1)

    # |dc/du| = 1.98 sqrt(1/radius^2 + (pi turns)^2), and 2 sqrt(u (1 - u)) / radius is at most about 1.
    return NoisyCurves([Piece(1.0, curve, speed=1.98 * (1 + math.pi * turns))], noise, refine=refine)


# The strokes of "M" and "I": straight lines from (x, y) to (x, y).
STROKES = (
    ((-1.6, -1.0), (-1.6, 1.0)),
    ((-1.6, 1.0), (-0.7, -0.3)),
    ((-0.7, -0.3), (0.2, 1.0)),
    ((0.2, 1.0), (0.2, -1.0)),
    ((1.2, -1.0), (1.2, 1.0)),
    ((0.8, 1.0), (1.6, 1.0)),
    ((0.8, -1.0), (1.6, -1.0)),
)


def letters(noise: float = 0.05, refine: int = 1) -> NoisyCurves:
    """Return the letters M and I in straight strokes, uniform in arc length, with noise."""
    pieces = []
    for start, end in STROKES:
        length = math.dist(start, end)
        pieces.append(Piece(length, _segment(start, end), speed=length))
    return NoisyCurves(pieces, noise, refine=refine)


def _segment(start: tuple[float, float], end: tuple[float, float]) -> Callable[[Tensor], Tensor]:
    a, b = (torch.tensor(p, dtype=torch.float64) for p in (start, end))
    return lambda u: a + u[:, None] * (b - a)
