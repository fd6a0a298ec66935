"""The integral over log-SNR of what the corrections gain on unseen pairs: steps in a time limit, integral, estimate
with its error.
"""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from infolab.device import staged
from infolab.errors import RunFailedError
from infolab.estimate import Estimate
from infolab.mi.denoiser import (
    BINS,
    CHECKS,
    Conditioned,
    Levels,
    PairDenoiser,
    held_error,
    noised,
    train_denoiser,
    train_head,
)
from infolab.mi.pairs import DETERMINED, Halves
from infolab.mi.settings import Settings
from infolab.noise import generator

# ----------
# The integral over log-SNR of what the learned corrections gain on pairs that the networks have not seen.

DOUBT = 4.0
"""Sum of squared corrections that weighs as much as the belief that a correction is right."""
ROWS = 8192
"""Pairs of all members denoised at a time."""


@dataclass(frozen=True)
class Trust:
    """How much of each correction is used in each bin of log-SNR: given and dropped (k, BINS), in [0, 1]."""

    given: Tensor
    dropped: Tensor


@dataclass(frozen=True)
class Gains:
    """Integrals over log-SNR for each pair, (k, n) nats.

    Attributes:
        given: 1/2 Int E_eps[|eps - linear|^2 - |eps - eps_hat|^2] da with y.
        dropped: the same without y.
        squared: 1/2 Int E_eps|eps_hat(z, y) - eps_hat(z)|^2 da, the orthogonal form.
    """

    given: Tensor
    dropped: Tensor
    squared: Tensor


@torch.no_grad()
def find_trust(model: PairDenoiser, data: Conditioned, levels: Levels, points: int, seed: int) -> Trust:
    """The factor of each correction in each bin that validation pairs speak for, at most 1.

    Least squares, <eps - linear, correction>/<correction, correction>, has variance 1/(sum of squared corrections), as
    eps has variance 1; this is the posterior mean where the factor is N(1, 1/DOUBT) beforehand. Where a correction is
    large and mostly noise the factor is near 0 and the Gaussian stays.
    """
    k = data.pairs.x.shape[0]
    products, squares = torch.zeros(2, 2, k, BINS, device=data.mean.device)
    for _, part, a, eps in _draws(data, levels, points, seed):
        place = levels.bin(a)
        for row, given in enumerate(_sides(model)):
            linear, correction = _denoise(model, part, a, eps, given)
            products[row].scatter_add_(1, place, ((eps - linear) * correction).sum(-1))
            squares[row].scatter_add_(1, place, correction.square().sum(-1))
    trust = ((products + DOUBT) / (squares + DOUBT)).clamp(0, 1)
    return Trust(trust[0], trust[1])


@torch.no_grad()
def integrate(model: PairDenoiser, data: Conditioned, levels: Levels, trust: Trust, points: int, seed: int) -> Gains:
    """The gains of every pair, at `points` log-SNRs each: stratified, drawn from `levels`, weighted by its density.

    Both corrections, with their factors, see the same x and eps, as do the Gaussian denoisers they are compared with.
    """
    k, n = data.pairs.x.shape[:2]
    given, dropped, squared = torch.zeros(3, k, n, device=data.mean.device)
    for rows, part, a, eps in _draws(data, levels, points, seed):
        weight = 0.5 / (points * levels.density(a))
        place = levels.bin(a)
        linear, correction = _denoise(model, part, a, eps, 1.0)
        correction = trust.given.gather(1, place)[..., None] * correction
        given[:, rows] += weight * _gain(eps - linear, correction)
        eps_hat, linear = linear + correction, _unconditional(part, a, eps)
        if model.dx > 1:
            linear, correction = _denoise(model, part, a, eps, 0.0)
            correction = trust.dropped.gather(1, place)[..., None] * correction
            dropped[:, rows] += weight * _gain(eps - linear, correction)
            linear = linear + correction
        squared[:, rows] += weight * (eps_hat - linear).square().sum(-1)
    return Gains(given, dropped, squared)


def evaluations(model: PairDenoiser, n: int, points: int) -> int:
    """Pairs that go through a network in `integrate`."""
    return len(_sides(model)) * n * points


def _sides(model: PairDenoiser) -> tuple[float, ...]:
    return (1.0,) if model.dx == 1 else (1.0, 0.0)


def _gain(residual: Tensor, correction: Tensor) -> Tensor:
    """|residual|^2 - |residual - correction|^2."""
    return (correction * (2 * residual - correction)).sum(-1)


def _denoise(model: PairDenoiser, part: Conditioned, a: Tensor, eps: Tensor, given: float) -> tuple[Tensor, Tensor]:
    flag = torch.full((*a.shape, 1), given, device=a.device)
    return model(noised(part.pairs.x, a, eps), part, a, flag)


def _unconditional(part: Conditioned, a: Tensor, eps: Tensor) -> Tensor:
    """eps_hat of N(0, I): sigma z."""
    return torch.sigmoid(-a).sqrt()[..., None] * noised(part.pairs.x, a, eps)


def _draws(
    data: Conditioned, levels: Levels, points: int, seed: int
) -> Iterator[tuple[slice, Conditioned, Tensor, Tensor]]:
    """Blocks of pairs, each at `points` log-SNRs: (rows, pairs, a, eps); eps comes in pairs of opposite sign."""
    k, n = data.pairs.x.shape[:2]
    source = generator(seed, "mi", "integral")
    size = max(ROWS // k, 1)
    for first in range(0, n, size):
        rows = slice(first, min(first + size, n))
        part = data[rows]
        (shift,) = staged(part.mean.device, torch.rand(k, part.mean.shape[1], generator=source))
        eps = torch.zeros_like(part.mean)
        for point in range(points):
            eps = -eps if point % 2 else staged(eps.device, torch.randn(eps.shape, generator=source))[0]
            yield rows, part, levels.quantile((point + shift) / points), eps


# ----------
# How many steps fit into a time limit: a few steps are timed on this machine.

FIRST, TIMED = 4, (40, 500)
"""First steps, which pay for starting up, and the least and largest number of those that are timed after them."""
TIMED_SHARE = 0.05
"""Share of the time that they may take, were they as slow as the first ones."""
LEAST_STEPS = 50
MARGIN = 0.9
"""Share of the time that is planned: other programs come and go."""
LABEL_STEPS_PER_MINUTE = 2000
"""Steps taken for a label, whose network is small: more of them find nothing more."""


def steps_within(settings: Settings, halves: Halves, begun: float) -> int:
    """Steps of the denoiser (the head takes half as many) that, with all else, take `settings.minutes` from `begun` on.

    Looks at the pairs held back are timed apart from the steps: there are as many of them in a run of any length.
    """
    first = _timed(settings, halves, FIRST)
    steps = int(TIMED_SHARE * 60 * settings.minutes / max(first.step, 1e-9))
    timed = _timed(settings, halves, min(max(steps, TIMED[0]), TIMED[1]))
    # Test pairs at all points, validation pairs at twice as many, seen pairs at a third.
    pairs = settings.points * (len(halves.test) + 2 * len(halves.validation) + len(halves.train) / 3)
    left = MARGIN * 60 * settings.minutes - timed.pair * pairs - timed.look * CHECKS - (time.perf_counter() - begun)
    return max(int(left / max(timed.step, 1e-9)), LEAST_STEPS)


@dataclass(frozen=True)
class _Times:
    """Seconds of one step of the denoiser with half a step of the head, of a look, and of a pair at one log-SNR."""

    step: float
    look: float
    pair: float


def _timed(settings: Settings, halves: Halves, steps: int) -> _Times:
    batch, lr = settings.batch, settings.lr
    start = time.perf_counter()
    head = train_head(halves, steps=steps // 2, batch=batch, lr=lr, seed=0)
    with torch.no_grad():
        data, held = (Conditioned(pairs, *head(pairs.y)) for pairs in (halves.train, halves.validation))
    levels = Levels(-6.0, 10.0, data.mean.device)
    model = train_denoiser(data, held, levels, steps=steps, batch=batch, width=settings.width, lr=lr, seed=0, checks=1)
    trained = time.perf_counter()
    held_error(model, held, levels, 0).cpu()  # a GPU is waited for
    looked = time.perf_counter()
    some, points = data[:ROWS], 4
    trust = torch.ones(2, len(halves.rho), BINS, device=some.mean.device)
    integrate(model, some, levels, Trust(*trust), points, 0).squared.cpu()
    ended = time.perf_counter()
    # The denoiser looked before the first of these steps and after the last.
    own = max(trained - start - 2 * (looked - trained), 0.0)
    return _Times(own / steps, looked - trained, (ended - looked) / (points * len(some.pairs)))


# ----------
# From pointwise values of both halves to an estimate with its standard error.


@dataclass(frozen=True)
class Measured:
    """Pointwise values (2, n) of both halves, nats, and how they came about (see `Information`).

    `values[j]` are of the half that network j has not seen. `fit_gap` is what the same pairs read on average where the
    networks trained on them, minus `values`. `resolution` is what may go unseen (see `unseen`).
    """

    values: Tensor
    method: str
    fit_gap: float = 0.0
    resolution: float = 0.0
    maps: str = ""
    steps: int = 0
    evaluations: int = 0
    parts_nats: dict[str, float] = field(default_factory=dict)


def summary(found: Measured, groups: np.ndarray, d: int, widened: float = 1.0) -> Estimate:
    """Mean over both halves, with the error of training beside that over pairs.

    Of training there is what the halves differ by beyond their sampling error, and the fit gap: unseen pairs read less
    than the best fit would, by about as much as seen ones read more, so that it mostly lies between the two. It is at
    least the resolution: where nothing is found the value is 0 exactly, and what is too weak to be found may be there.

    Args:
        found: the values.
        groups: (2, n) numbers of the draws that values are of; values of one draw share it (copies, blocks of rows).
        d: dimensions of both sides.
        widened: factor of the error over draws.

    Raises:
        RunFailedError: a value is not finite.
    """
    values = found.values.double()
    if not bool(torch.isfinite(values).all()):
        raise RunFailedError(DETERMINED)
    n = values.numel()
    se = widened * standard_error(values, groups)
    means = values.mean(1)
    spread = math.sqrt(max(0.0, float((means[0] - means[1]) ** 2) / 4 - se**2))
    training = max(math.hypot(spread, max(found.fit_gap, 0.0)), found.resolution)
    return Estimate(
        float(means.mean()), se, training, bias="either", estimand="I(x; y)", n=n, d=d, evaluations=found.evaluations
    )


def unseen(dx: int, dy: int, draws: int) -> float:
    """Standard error sqrt(dx dy / 2) / draws, nats, of the Gaussian part of the information of independent sides.

    From so many draws one cannot tell less from none: twice the log-likelihood ratio is chi^2 with dx dy degrees.

    >>> unseen(1, 2, 1000)
    0.001
    """
    return math.sqrt(dx * dy / 2) / draws


def standard_error(values: Tensor, groups: np.ndarray) -> float:
    """Standard error of the mean of values (2, n), over distinct draws: values that share a group are one draw."""
    n = values.numel()
    _, index = np.unique(groups, return_inverse=True)
    distinct = int(index.max()) + 1
    if distinct == n:
        return float(values.std()) / math.sqrt(n)
    residuals = (values - values.mean()).flatten().numpy()
    sums = np.bincount(index.reshape(-1), weights=residuals)
    return math.sqrt(float(np.square(sums).sum()) * distinct / (distinct - 1)) / n
