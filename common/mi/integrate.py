"""The integral over log-SNR of what the learned corrections gain on pairs that the networks have not seen."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from common.mi.denoiser import Conditioned, Denoiser, noised
from common.mi.levels import BINS, Levels
from common.seeds import generator
from common.staging import staged

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
def find_trust(model: Denoiser, data: Conditioned, levels: Levels, points: int, seed: int) -> Trust:
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
def integrate(model: Denoiser, data: Conditioned, levels: Levels, trust: Trust, points: int, seed: int) -> Gains:
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


def evaluations(model: Denoiser, n: int, points: int) -> int:
    """Pairs that go through a network in `integrate`."""
    return len(_sides(model)) * n * points


def _sides(model: Denoiser) -> tuple[float, ...]:
    return (1.0,) if model.dx == 1 else (1.0, 0.0)


def _gain(residual: Tensor, correction: Tensor) -> Tensor:
    """|residual|^2 - |residual - correction|^2."""
    return (correction * (2 * residual - correction)).sum(-1)


def _denoise(model: Denoiser, part: Conditioned, a: Tensor, eps: Tensor, given: float) -> tuple[Tensor, Tensor]:
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
