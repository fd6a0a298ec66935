"""Toy distributions in one and two dimensions: samplers with exact log densities and entropies, by name."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from infolab.errors import UserError, check_choice
from infolab.estimate import Estimate
from infolab.mixture import GaussianMixture

# ----------
# Toy distributions that are Gaussian noise around curves in the plane: sampled exactly, their density one quadrature.


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
    """The distribution of c(u) + noise N(0, I) in the plane, standardised on request (by its exact moments).

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
        """The distribution before standardisation, whose components are isotropic (several times faster)."""
        weights, points = self._nodes
        return GaussianMixture(weights, points, self.noise**2)

    @cached_property
    def mixture(self) -> GaussianMixture:
        """The distribution as a mixture of quadrature nodes."""
        if not self.standardised:
            return self._raw
        centre, scale = self._affine
        means = (self._raw.means - centre) / scale
        return GaussianMixture(self._raw.weights, means, torch.diag((self.noise / scale) ** 2).expand(len(means), 2, 2))

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw n points, (n, 2) float32, from the distribution itself (not from the nodes)."""
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


# ----------
# The distributions by name.


class Toy(Protocol):
    """What every toy distribution offers."""

    @property
    def d(self) -> int:
        """Number of dimensions."""

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw n points, (n, d) float32."""

    def log_prob(self, x: Tensor) -> Tensor:
        """Return the log density of x (..., d) in nats, float64; -inf outside the support."""

    def entropy(self) -> Estimate:
        """Return the differential entropy in nats."""


@dataclass(frozen=True)
class MixtureToy:
    """A Gaussian mixture as a toy distribution; `mixture` gives scores and noised densities."""

    mixture: GaussianMixture

    @property
    def d(self) -> int:
        """Number of dimensions."""
        return self.mixture.d

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw n points, (n, d) float32."""
        return self.mixture.sample(n, generator).float()

    def log_prob(self, x: Tensor) -> Tensor:
        """Return the log density of x (..., d) in nats, float64."""
        return self.mixture.log_prob(x)

    def entropy(self) -> Estimate:
        """Return the differential entropy by quadrature."""
        return self.mixture.entropy_quadrature()


def two_modes(mu: float = 3.0, q1: float = 0.5) -> MixtureToy:
    """Return q1 N(-mu, 1) + (1 - q1) N(mu, 1) (Li et al. 2023).

    Raises:
        UserError: q1 not inside (0, 1).
    """
    if not 0 < q1 < 1:
        raise UserError(f"q1={q1}: expected a weight between 0 and 1")
    weights = torch.tensor([q1, 1 - q1], dtype=torch.float64)
    return MixtureToy(GaussianMixture(weights, torch.tensor([[-mu], [mu]], dtype=torch.float64), 1.0))


def strongly_correlated_gaussian(standardised: bool = True) -> MixtureToy:
    """Return the Gaussian of variances 0.5050 and covariance -0.4950, standardised (Kong et al. 2023).

    Standardised, the variances are 1, the correlation -0.4950/0.5050 and the entropy 1.218489 nats; as it stands, the
    entropy is 0.535292 nats.
    """
    variance = 0.5050 if standardised else 1.0
    covariance = torch.tensor([[[0.5050, -0.4950], [-0.4950, 0.5050]]], dtype=torch.float64) / variance
    return MixtureToy(GaussianMixture(torch.ones(1), torch.zeros(1, 2), covariance))


@dataclass(frozen=True)
class Line:
    """The uniform distribution on a rectangle, standardised: U(-sqrt 3, sqrt 3) in each of two coordinates."""

    d = 2

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw n points, (n, 2) float32."""
        u = torch.rand(n, 2, generator=generator, dtype=torch.float64)
        return (math.sqrt(3) * (2 * u - 1)).float()

    def log_prob(self, x: Tensor) -> Tensor:
        """Return -log 12 inside the square, -inf outside."""
        # Half a float32 ulp of slack: samples are rounded, and may round outwards at the edge.
        inside = (x.cpu().double().abs() <= math.sqrt(3) * (1 + 6e-8)).all(-1)
        return torch.where(inside, -math.log(12), -math.inf).double()

    def entropy(self) -> Estimate:
        """Return log 12."""
        return Estimate(math.log(12), 0.0, estimand="differential entropy", d=2)


class Circle:
    """The published "circle": 16 directions and the origin, each with a little round blur; nearly discrete.

    A point of the grid {-2, .., 2}^2 is drawn and divided by its norm (the grid's centre, which has no direction, stays
    where it is); a displacement of uniform angle and length r ~ U(0, 0.03) is added; the whole is standardised by its
    exact standard deviation, as the public code of Kong et al. (2023) does by the sample's. The blurs do not overlap,
    so the density is that of the nearest centre: w / (2 pi r 0.03) within 0.03.

    Args:
        standardised: divide by the standard deviation; otherwise the directions lie on the unit circle.
    """

    d = 2
    JITTER = 0.03

    def __init__(self, standardised: bool = True) -> None:
        axis = torch.arange(-2.0, 3.0, dtype=torch.float64)
        grid = torch.cartesian_prod(axis, axis)
        directions = grid / grid.norm(dim=1, keepdim=True).clamp(min=1)
        rounded, counts = torch.unique(directions.round(decimals=12), dim=0, return_counts=True)
        self.centres, self.weights = rounded, counts.double() / 25
        # Per coordinate: 24 of 25 points on the unit circle, and half of E r^2 = JITTER^2 / 3.
        self.scale = math.sqrt(24 / 25 / 2 + self.JITTER**2 / 6) if standardised else 1.0

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw n points, (n, 2) float32."""
        j = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        u = torch.rand(n, 2, generator=generator, dtype=torch.float64)
        return ((self.centres[j] + self.JITTER * u[:, :1] * _direction(u[:, 1])) / self.scale).float()

    def log_prob(self, x: Tensor) -> Tensor:
        """Return the log density of x (..., 2), -inf outside the blurs."""
        difference = x.cpu().double()[..., None, :] * self.scale - self.centres
        r, j = difference.norm(dim=-1).min(-1)
        log_p = torch.log(self.weights[j] * self.scale**2 / (2 * math.pi * r * self.JITTER))
        return torch.where(r <= self.JITTER + 1e-7, log_p, -math.inf)

    def entropy(self) -> Estimate:
        """Return H(w) + log(2 pi R) + log R - 1 - 2 log scale, R = 0.03."""
        choice = -float((self.weights * self.weights.log()).sum())
        blur = math.log(2 * math.pi * self.JITTER) + math.log(self.JITTER) - 1
        return Estimate(choice + blur - 2 * math.log(self.scale), 0.0, estimand="differential entropy", d=2)


@dataclass(frozen=True)
class Ring:
    """A true ring beside `Circle`: uniform angle, radius 1 + U(0, jitter), density 1/(2 pi r jitter).

    Attributes:
        jitter: width of the ring, > 0.
    """

    jitter: float = 0.03
    d = 2

    def __post_init__(self) -> None:
        if not 0 < self.jitter < math.inf:
            raise UserError(f"jitter={self.jitter}: expected a finite number above 0")

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw n points, (n, 2) float32."""
        u = torch.rand(n, 2, generator=generator, dtype=torch.float64)
        return ((1 + self.jitter * u[:, :1]) * _direction(u[:, 1])).float()

    def log_prob(self, x: Tensor) -> Tensor:
        """Return the log density of x (..., 2), -inf outside the ring."""
        r = x.cpu().double().norm(dim=-1)
        inside = (r >= 1 - 1e-7) & (r <= 1 + self.jitter + 1e-7)
        return torch.where(inside, -torch.log(2 * math.pi * r * self.jitter), -math.inf)

    def entropy(self) -> Estimate:
        """Return log(2 pi jitter) + E log r, E log r = ((1 + c) log(1 + c) - c) / c, c = jitter."""
        c = self.jitter
        value = math.log(2 * math.pi * c) + ((1 + c) * math.log1p(c) - c) / c
        return Estimate(value, 0.0, estimand="differential entropy", d=2)


def _direction(u: Tensor) -> Tensor:
    """Unit vectors (n, 2) at angle 2 pi u."""
    return torch.stack([torch.cos(2 * math.pi * u), torch.sin(2 * math.pi * u)], -1)


TOYS: dict[str, Callable[..., Toy]] = {
    "swiss_roll": swiss_roll,
    "moons": moons,
    "scg": strongly_correlated_gaussian,
    "line": Line,
    "circle": Circle,
    "ring": Ring,
    "spiral": spiral,
    "letters": letters,
    "two_modes": two_modes,
    "two_modes_far": partial(two_modes, mu=15.0),
}


def make(name: str, **settings: float) -> Toy:
    """Return the toy distribution of that name.

    Args:
        name: a key of `TOYS`.
        settings: its own settings (`mu` of two_modes, `noise` of the curves, ...).

    Raises:
        UserError: an unknown name, with the choices; or a setting that this one does not have.

    >>> make("line").log_prob(torch.zeros(1, 2))
    tensor([-2.4849], dtype=torch.float64)
    """
    law = TOYS[check_choice("toy data set", name, list(TOYS))]
    try:
        return law(**settings)
    except TypeError as error:
        raise UserError(f"toy data set '{name}': {error}; leave that setting out") from error
