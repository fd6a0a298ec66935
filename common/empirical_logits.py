"""Logits of the empirical measure from differences of points, where matrix products would cancel."""

import math

import torch
from torch import Tensor

from common.errors import UserError
from common.schedules import expand
from common.squares import farthest, product_rounding

ROUNDING = 1e-6
"""Nats that rounding may change a logit by; where it may be more, differences are taken."""
NEGLIGIBLE = 40.0
"""Nats below the largest logit at which a pair is left as it is: a share of 4e-18."""


def cancels(points: Tensor, centre: Tensor, ratio: float | Tensor) -> Tensor:
    """Whether rounding of products of centred points (..., n, d) may change a logit by more than `ROUNDING`, (...).

    Args:
        points: (..., n, d), of any type.
        centre: (..., 1, d) or (d,).
        ratio: alpha / sigma, (...).

    Raises:
        UserError: the squares of the points, times `ratio` = alpha / sigma, overflow.
    """
    d = points.shape[-1]
    far = farthest(points, centre) * ratio
    if not bool((far < 1e150).all()):
        raise UserError(
            f"points more than {float(far.max()):.3g} noise standard deviations apart, whose squares overflow: rescale "
            "them, or remove outliers"
        )
    # Two products of points, one with noise (6 deviations above its mean norm), two squared norms.
    return product_rounding(d) * (3 * far**2 + 2 * (math.sqrt(d) + 6) * far) > ROUNDING


def by_differences(x: Tensor, rows: Tensor, eps: Tensor, ratio: Tensor) -> Tensor:
    """Logits (k, rows, n) of `mutual_information_batch` from the differences of points, one coordinate at a time."""
    ratio = expand(ratio, x)
    logits = x.new_zeros(())
    for c in range(x.shape[-1]):
        apart = ratio * (x[:, rows, None, c] - x[:, None, :, c])
        logits = logits - apart * (apart / 2 + eps[:, :, None, c])
    return logits


def repair(
    logits: Tensor, doubtful: Tensor, points: Tensor, start: int, index: Tensor, eps: Tensor, ratio: float
) -> None:
    """Compute the doubtful entries of `logits` (points i times draws, columns from `start` on) from differences."""
    draws = eps.shape[1]
    by_point = doubtful.view(len(index), draws, -1).any(1)
    for i in torch.nonzero(by_point.any(1))[:, 0].tolist():
        columns = torch.nonzero(by_point[i])[:, 0]
        apart = ratio * (points[index[i]].double() - points[start + columns].double())
        exact = -(apart.square().sum(1) / 2 + eps[i] @ apart.T)
        rows = torch.arange(i * draws, (i + 1) * draws, device=logits.device)
        logits[rows[:, None], columns] = exact


def squares_of(noisy: Tensor, part: Tensor, centre: Tensor) -> Tensor:
    """-|x_t - alpha x_j|^2 / (2 sigma^2), one coordinate at a time; `noisy` is (x_t, alpha, sigma)."""
    alpha, sigma = noisy[..., -2, None], noisy[..., -1, None]
    squares = noisy.new_zeros(())
    for c in range(part.shape[-1]):
        squares = squares + ((noisy[..., c, None] - alpha * part[..., None, :, c]) / sigma).square()
    return -squares / 2
