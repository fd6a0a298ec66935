"""Toy laws in one and two dimensions: samplers with exact log densities and entropies, and their registry."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from common import toy_curves
from common.errors import UserError, choose
from common.estimate import Estimate
from common.mixture import GaussianMixture


class Toy(Protocol):
    """What every toy law offers."""

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
    """A Gaussian mixture as a toy law; `mixture` gives scores and noised densities."""

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
    """The uniform law on a rectangle, standardised: U(-sqrt 3, sqrt 3) in each of two coordinates."""

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
    "swiss_roll": toy_curves.swiss_roll,
    "moons": toy_curves.moons,
    "scg": strongly_correlated_gaussian,
    "line": Line,
    "circle": Circle,
    "ring": Ring,
    "spiral": toy_curves.spiral,
    "letters": toy_curves.letters,
    "two_modes": two_modes,
    "two_modes_far": partial(two_modes, mu=15.0),
}


def make(name: str, **settings: float) -> Toy:
    """Return the toy law of that name.

    Args:
        name: a key of `TOYS`.
        settings: its own settings (`mu` of two_modes, `noise` of the curves, ...).

    Raises:
        UserError: an unknown name, with the choices; or a setting that this law does not have.

    >>> make("line").log_prob(torch.zeros(1, 2))
    tensor([-2.4849], dtype=torch.float64)
    """
    law = TOYS[choose("toy data set", name, list(TOYS))]
    try:
        return law(**settings)
    except TypeError as error:
        raise UserError(f"toy data set '{name}': {error}; leave that setting out") from error
