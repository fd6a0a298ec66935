"""Maximum mean discrepancy: how far two samples lie apart, unbiased, with its standard error."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from common.errors import UserError
from common.estimate import Estimate

Kernel = Callable[[Tensor], Tensor]
"""Maps squared distances (n, m) to kernel values, 1 at distance 0."""

MEDIAN_POINTS = 2_000
"""The median bandwidth is read from at most this many points."""


def gaussian_kernel(bandwidth: float) -> Kernel:
    """k(x, y) = exp(-|x - y|^2 / (2 bandwidth^2)).

    Raises:
        UserError: the bandwidth is not positive and finite.
    """
    if not 0 < bandwidth < math.inf:
        raise UserError(f"bandwidth={bandwidth}: expected a finite number above 0")
    return lambda squared: torch.exp(-squared / (2 * bandwidth**2))


def median_bandwidth(x: Tensor, y: Tensor) -> float:
    """Median distance between different points of the two samples together (Gretton et al. 2012, section 8).

    Args:
        x: points (n, d).
        y: points (m, d).
    """
    half = MEDIAN_POINTS // 2
    together = torch.cat([part[torch.linspace(0, len(part) - 1, min(len(part), half)).long()] for part in (x, y)])
    return float(torch.pdist(together.cpu().double()).median())


def mmd2(x: Tensor, y: Tensor, kernel: Kernel | None = None) -> Estimate:
    """Unbiased estimate of MMD^2 = E k(x, x') + E k(y, y') - 2 E k(x, y) and its error (Gretton et al. 2012, lemma 6).

    The standard error is that of U-statistics to second order: the variance of the linear part, 4 Var_x h1(x) / n +
    4 Var_y h1(y) / m, plus that of the degenerate part, 2 Var k~(x, x') / (n (n-1)) + 2 Var k~(y, y') / (m (m-1)) +
    4 Var k~(x, y) / (n m), k~ the kernel less its row and column means. The second is all there is where the two laws
    are one; the estimate may be negative there.

    Args:
        x: sample (n, d), n >= 2.
        y: sample (m, d), m >= 2.
        kernel: of squared distances; None: Gaussian with the median bandwidth of both samples.

    Returns:
        The estimate (no unit), `se_data` its standard error.

    Raises:
        UserError: shapes that do not fit, or fewer than two points in a sample.
    """
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < 2:
        raise UserError(
            f"samples of shape {tuple(x.shape)} and {tuple(y.shape)}: expected (n, d) and (m, d) with n, m >= 2"
        )
    kernel = kernel or gaussian_kernel(median_bandwidth(x, y))
    x, y = x.cpu().double(), y.cpu().double()
    n, m = len(x), len(y)
    xx, yy, xy = kernel(_squared(x, x)), kernel(_squared(y, y)), kernel(_squared(x, y))
    rows_x, rows_y = _other_means(xx), _other_means(yy)
    cross_x, cross_y = xy.mean(1), xy.mean(0)
    value = rows_x.mean() + rows_y.mean() - 2 * xy.mean()
    linear = 4 * (rows_x - cross_x).var() / n + 4 * (rows_y - cross_y).var() / m
    within = 2 * _rest(xx) / (n * (n - 1)) + 2 * _rest(yy) / (m * (m - 1))
    between = (xy - cross_x[:, None] - cross_y + xy.mean()).square().mean()
    # The spread of the linear parts over n points holds a share of the degenerate parts too: it is taken out once.
    overlap = 4 * (_rest(xx) / (n - 1) + between / m) / n + 4 * (_rest(yy) / (m - 1) + between / n) / m
    variance = (linear - overlap).clamp(min=0) + within + 4 * between / (n * m)
    return Estimate(float(value), float(variance.sqrt()), estimand="MMD^2", unit="kernel units", n=n, d=x.shape[1])


def _squared(x: Tensor, y: Tensor) -> Tensor:
    return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist").square()


def _other_means(k: Tensor) -> Tensor:
    """Mean of each row of a square kernel matrix without its diagonal."""
    return (k.sum(1) - k.diagonal()) / (len(k) - 1)


def _rest(k: Tensor) -> Tensor:
    """Mean square, off the diagonal, of a square kernel matrix less its row and column means."""
    rows = _other_means(k)
    centred = (k - rows[:, None] - rows + rows.mean()).square()
    return (centred.sum() - centred.diagonal().sum()) / (len(k) * (len(k) - 1))
