"""Maximum mean discrepancy: how far two samples lie apart, unbiased with its standard error, or as a loss."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from infolab.empirical import middle
from infolab.errors import UserError, check_choice
from infolab.estimate import Estimate

Kernel = Callable[[Tensor], Tensor]
"""Maps squared distances (n, m) to kernel values, 1 at distance 0."""

Gram = Callable[[Tensor, Tensor], Tensor]
"""Maps points (n, d) and (m, d) to their kernel values (n, m); symmetric in its arguments."""

KERNELS = ("published", "dimension")
"""Names of `named_kernel`."""

BLOCK = 2_048
"""Rows of a kernel matrix that are held at once."""

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


def named_kernel(name: str, d: int) -> Kernel:
    """A Gaussian kernel whose width follows from the dimensions d alone, as training losses need it.

    `published`: exp(-|x-y|^2 / d^2) (the code of Wang et al. 2023). Standard normal points are about sqrt(2 d) apart,
    so in many dimensions it is nearly flat and hardly sees a collapse. `dimension`: exp(-|x-y|^2 / (2 d)), which does.

    Raises:
        UserError: an unknown name, or d below 1.
    """
    check_choice("kernel", name, KERNELS)
    if d < 1:
        raise UserError(f"a kernel of d={d} dimensions: expected at least 1")
    return gaussian_kernel(d / math.sqrt(2) if name == "published" else math.sqrt(d))


def polynomial_gram(centre: Tensor, degree: int = 3) -> Gram:
    """k(x, y) = (x . y / d + 1)^degree less k(x, c) + k(c, y) - k(c, c), of x - c and y - c, c the `centre` (d,).

    With degree 3 the kernel of KID (Binkowski et al. 2018, section 4). What is left out cancels in every MMD; far from
    the origin it is all but the last digits of k. With A = |c|^2 / d + 1, p = (x - c) . c / d, q = (y - c) . c / d and
    r = (x - c) . (y - c) / d it is left out term by term:

        degree A^(degree-1) r + sum_{i>=2} binom(degree, i) A^(degree-i) ((p + q + r)^i - p^i - q^i).
    """
    d = len(centre)
    A = float(centre @ centre) / d + 1

    def gram(u: Tensor, v: Tensor) -> Tensor:
        r, p, q = u @ v.T / d, (u @ centre / d)[:, None], v @ centre / d
        k, both = degree * A ** (degree - 1) * r, p + q + r
        for i in range(2, degree + 1):
            k += math.comb(degree, i) * A ** (degree - i) * (both**i - p**i - q**i)
        return k

    return gram


def mmd2_loss(x: Tensor, y: Tensor, kernel: Kernel, unbiased: bool = False) -> Tensor:
    """MMD^2 of two samples as a differentiable scalar, in their own precision (Gretton et al. 2012, eqs. 3 and 5).

    Args:
        x: sample (n, d).
        y: sample (m, d).
        kernel: of squared distances.
        unbiased: leave out the pairs of a point with itself. The biased V-statistic, as published, is never negative
            and reads about (1 - E k(x, x')) (1/n + 1/m) where both distributions are one.

    Raises:
        UserError: shapes that do not fit.
    """
    _check(x, y)
    xx, yy, xy = (kernel(_differences(a, b)) for a, b in ((x, x), (y, y), (x, y)))
    if unbiased:
        return _other_means(xx).mean() + _other_means(yy).mean() - 2 * xy.mean()
    return xx.mean() + yy.mean() - 2 * xy.mean()


def median_bandwidth(x: Tensor, y: Tensor) -> float:
    """Median distance between different points of the two samples together (Gretton et al. 2012, section 8).

    Copies of a point are no different points: their distance is left out. 0 where all are copies of one.

    Args:
        x: points (n, d).
        y: points (m, d).
    """
    half = MEDIAN_POINTS // 2
    together = torch.cat([part[torch.linspace(0, len(part) - 1, min(len(part), half)).long()] for part in (x, y)])
    distances = torch.pdist(together.cpu().double())
    apart = distances[distances > 0]
    return float(apart.median()) if len(apart) else 0.0


def mmd2(x: Tensor, y: Tensor, kernel: Kernel | None = None, biased: bool = False) -> Estimate:
    """Unbiased estimate of MMD^2 = E k(x, x') + E k(y, y') - 2 E k(x, y) and its error (Gretton et al. 2012, lemma 6).

    The standard error is that of U-statistics to second order: the variance of the linear part, 4 Var_x h1(x) / n +
    4 Var_y h1(y) / m, plus that of the degenerate part, 2 Var k~(x, x') / (n (n-1)) + 2 Var k~(y, y') / (m (m-1)) +
    4 Var k~(x, y) / (n m), k~ the kernel less its row and column means. The second is all there is where the two laws
    are one; the estimate may be negative there.

    Args:
        x: sample (n, d), n >= 2.
        y: sample (m, d), m >= 2.
        kernel: of squared distances; None: Gaussian with the median bandwidth of both samples.
        biased: keep the pairs of a point with itself (the V-statistic of `mmd2_loss`); its error is taken to be the
            same.

    Returns:
        The estimate (no unit), `se_data` its standard error.

    Raises:
        UserError: shapes that do not fit, fewer than two points in a sample, values that are not finite, or all points
            equal where a bandwidth is to be found.
    """
    x, y = _check_sample(x, y)
    if kernel is None:
        bandwidth = median_bandwidth(x, y)
        if bandwidth == 0:
            raise UserError(
                "all examples are equal, so their median distance is 0 and no bandwidth: choose a kernel whose width "
                "follows from the dimensions (published, dimension)"
            )
        kernel = gaussian_kernel(bandwidth)
    return mmd2_of(lambda a, b: kernel(_squared(a, b)), x, y, biased)


def polynomial_mmd2(x: Tensor, y: Tensor, biased: bool = False) -> Estimate:
    """`mmd2` with the kernel (x . y / d + 1)^3, to rounding at any distance from the origin (see `polynomial_gram`).

    Args:
        x: sample (n, d), n >= 2.
        y: sample (m, d), m >= 2.
        biased: as in `mmd2`.

    Raises:
        UserError: shapes that do not fit, or fewer than two points in a sample.
    """
    _check(x, y)
    x, y = x.cpu().double(), y.cpu().double()
    centre = (middle(x) + middle(y))[0] / 2  # medians: no outlier moves them
    return mmd2_of(polynomial_gram(centre), x - centre, y - centre, biased)


def mmd2_of(gram: Gram, x: Tensor, y: Tensor, biased: bool = False) -> Estimate:
    """`mmd2` for any kernel of two points, in float64 and in blocks: the kernel matrices are never held whole.

    Args:
        gram: kernel values of two sets of points.
        x: sample (n, d), n >= 2.
        y: sample (m, d), m >= 2.
        biased: as in `mmd2`.

    Raises:
        UserError: shapes that do not fit, fewer than two points in a sample, or values that are not finite.
    """
    x, y = _check_sample(x, y)
    n, m = len(x), len(y)
    xx, yy, xy = _sums(gram, x), _sums(gram, y), _sums(gram, x, y)
    rows_x, rows_y = xx.rows / (n - 1), yy.rows / (m - 1)
    cross_x, cross_y = xy.rows / m, xy.columns / n
    mean = cross_x.mean()
    value = rows_x.mean() + rows_y.mean() - 2 * mean
    if biased:
        value = (xx.rows.sum() + xx.trace) / n**2 + (yy.rows.sum() + yy.trace) / m**2 - 2 * mean
    linear = 4 * (rows_x - cross_x).var() / n + 4 * (rows_y - cross_y).var() / m
    rest_x, rest_y = _rest(xx, rows_x), _rest(yy, rows_y)
    within = 2 * rest_x / (n * (n - 1)) + 2 * rest_y / (m * (m - 1))
    between = xy.squares / (n * m) - cross_x.square().mean() - cross_y.square().mean() + mean.square()
    between = between.clamp(min=0)  # mean square of the matrix less its row and column means
    # The spread of the linear parts over n points holds a share of the degenerate parts too: it is taken out once.
    overlap = 4 * (rest_x / (n - 1) + between / m) / n + 4 * (rest_y / (m - 1) + between / n) / m
    variance = (linear - overlap).clamp(min=0) + within + 4 * between / (n * m)
    if not math.isfinite(float(value + variance)):
        raise UserError("the kernel of these samples overflows: divide both by their common scale first")
    return Estimate(
        float(value), float(variance.sqrt()), bias="upper" if biased else "unbiased", estimand="MMD^2",
        unit="kernel units", n=n, d=x.shape[1],
    )  # fmt: skip


@dataclass(frozen=True)
class _Sums:
    """Sums of a kernel matrix over its columns, over its rows, and of all squares.

    In that of a sample with itself the diagonal is left out; `trace` is its sum.
    """

    rows: Tensor
    columns: Tensor
    squares: Tensor
    trace: Tensor


def _sums(gram: Gram, x: Tensor, other: Tensor | None = None) -> _Sums:
    """Sums of a sample's kernel matrix with another one, or with itself."""
    y = x if other is None else other
    rows, columns = [], torch.zeros(len(y), dtype=x.dtype)
    squares, trace = torch.zeros((), dtype=x.dtype), torch.zeros((), dtype=x.dtype)
    for start in range(0, len(x), BLOCK):
        k = gram(x[start : start + BLOCK], y)
        if other is None:
            trace += k.diagonal(start).sum()
            k.diagonal(start).zero_()
        rows.append(k.sum(1))
        columns += k.sum(0)
        squares += k.square().sum()
    return _Sums(torch.cat(rows), columns, squares, trace)


def _rest(sums: _Sums, means: Tensor) -> Tensor:
    """Mean square, off the diagonal, of a sample's kernel matrix less its row and column means `means` (n,)."""
    n, mean = len(means), means.mean()
    total = sums.squares - n * (n - 1) * mean.square() - 2 * n * (means - mean).square().sum()
    return total.clamp(min=0) / (n * (n - 1))


def _check(x: Tensor, y: Tensor) -> None:
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < 2:
        raise UserError(
            f"samples of shape {tuple(x.shape)} and {tuple(y.shape)}: expected (n, d) and (m, d) with n, m >= 2"
        )


def _check_sample(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Both samples in float64 on the CPU, without a graph; refused where a value is not finite."""
    _check(x, y)
    x, y = x.detach().cpu().double(), y.detach().cpu().double()
    if not (bool(x.isfinite().all()) and bool(y.isfinite().all())):
        raise UserError("the samples have values that are not finite: remove them first")
    return x, y


def _squared(x: Tensor, y: Tensor) -> Tensor:
    return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist").square()


def _differences(x: Tensor, y: Tensor) -> Tensor:
    """Squared distances (n, m) whose gradient is exact where points coincide, by way of all differences (n, m, d)."""
    return (x[:, None] - y).square().sum(-1)


def _other_means(k: Tensor) -> Tensor:
    """Mean of each row of a square kernel matrix without its diagonal."""
    return (k.sum(1) - k.diagonal()) / (len(k) - 1)
