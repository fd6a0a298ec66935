"""Distances between samples in a feature space: FID, KID and MMD, with their errors."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from infolab.errors import UserError, check_choice
from infolab.metrics.features import Features, Moments, check_comparable, described, moments
from infolab.metrics.measured import Array, Measured, as_tensor
from infolab.mmd import KERNELS, mmd2, named_kernel, polynomial_mmd2

# ----------
# FID, the Frechet distance between Gaussians fitted to features (Heusel et al. 2017), in float64, with its errors.

LEAST_FOR_FID = 2_048
"""Fewest examples on each side: below, the covariance of 2,048 Inception features is far from full rank."""


def fid(real: Moments | Features, generated: Features, reference: str = "train", force: bool = False) -> Measured:
    """|m1 - m2|^2 + tr(S1 + S2 - 2 (S1^1/2 S2 S1^1/2)^1/2) of the two samples' moments.

    FID is biased upward by an amount of order d/n: `more["floor"]` is what two samples of these sizes of one Gaussian
    with the reference's covariance read on average (see `null_floor`). Features with heavier tails read more,
    those of an exponential law by a third. With few examples a dimension the floor is too low: by 7% at n = 2 d, 20% at
    n = d (2,048 Inception features of as many images) and 36% at n = d/2.

    Args:
        real: moments (of a file) or features of the reference sample.
        generated: features of the samples, of the same extractor.
        reference: name of the reference sample where `real` are features, for the metric's name.
        force: also below 2,048 examples.

    Returns:
        The distance; `se` is the sampling error of both samples, to first and second order (`sampling_error`).

    Raises:
        UserError: different extractors, or fewer than 2,048 examples without `force`.
    """
    check_comparable(real, generated)
    kept = real if isinstance(real, Moments) else moments(real, reference)
    other = moments(generated)
    smallest = min(kept.n or LEAST_FOR_FID, other.n)
    if smallest < LEAST_FOR_FID and not force:
        raise UserError(
            f"FID of {smallest:,} examples says more about their number than about the samples: give at least "
            f"{LEAST_FOR_FID:,} on each side, use kid, which is unbiased at any number, or --force"
        )
    parts = Transport(kept.mean, kept.cov, other.mean, other.cov)
    n = (kept.n or other.n, other.n)
    values = (real.values if isinstance(real, Features) else None, generated.values)
    floor = null_floor(kept.cov, *n)
    return Measured(
        f"fid{described(generated, kept.reference, other.n)}",
        parts.distance,
        sampling_error(parts, n, values),
        other.n,
        more={"floor": floor, "n_reference": kept.n},
    )


def gaussian_fid(m1: Tensor, S1: Tensor, m2: Tensor, S2: Tensor) -> float:
    """Squared Frechet distance between N(m1, S1) and N(m2, S2), by symmetric eigenvalues in float64.

    >>> gaussian_fid(torch.zeros(2), torch.eye(2), torch.ones(2), 4 * torch.eye(2))
    4.0
    """
    return Transport(m1, S1, m2, S2).distance


class Transport:
    """Two Gaussians, their distance, and the linear optimal transport between them.

    Args:
        m1, m2: means (d,).
        S1, S2: covariances (d, d), positive semi-definite up to rounding.

    Raises:
        UserError: shapes that do not fit, or numbers that are not finite.
    """

    def __init__(self, m1: Tensor, S1: Tensor, m2: Tensor, S2: Tensor):
        self.m1, self.S1, self.m2, self.S2 = (part.detach().cpu().double() for part in (m1, S1, m2, S2))
        d = len(self.m1)
        if self.m1.shape != self.m2.shape or self.S1.shape != (d, d) or self.S2.shape != (d, d):
            raise UserError("moments of different dimensions: expected means (d,) and covariances (d, d)")
        if not all(bool(part.isfinite().all()) for part in (self.m1, self.S1, self.m2, self.S2)):
            raise UserError("the moments have values that are not finite: remove examples that are not finite")
        self.root = _function(self.S1, lambda values: values.clamp(min=0).sqrt())
        self.middle, self.basis = torch.linalg.eigh(self.root @ self.S2 @ self.root)
        traces = self.S1.trace() + self.S2.trace() - 2 * self.middle.clamp(min=0).sqrt().sum()
        # Rounding may leave a negative number of order 1e-12 of the traces.
        self.distance = float((self.m1 - self.m2).square().sum() + traces.clamp(min=0))

    def slopes(self) -> tuple[Tensor, Tensor]:
        """Derivatives of the distance in S1 and S2: I - T with T the transport from that Gaussian to the other."""
        eye = torch.eye(len(self.m1), dtype=torch.float64)
        roots = self.middle.clamp(min=0).sqrt()
        inverse = torch.where(roots > 1e-7 * roots.max(), 1 / roots, 0.0)
        back = self.root @ (self.basis * inverse) @ self.basis.T @ self.root
        forth = _function(back, lambda values: torch.where(values > 1e-7 * values.max(), 1 / values, 0.0))
        return eye - forth, eye - back


def null_moments(cov: Tensor, n1: int, n2: int) -> tuple[float, float]:
    """Mean and variance of the FID between samples of n1 and n2 of one Gaussian, to order 1/n.

    With eigenvalues l of the covariance, W_ij = l_i l_j / (l_i + l_j) and 1/n = 1/n1 + 1/n2, the mean is
    (tr S + (sum_ij W_ij + sum_i W_ii) / 2) / n, and the variance (2 tr S^2 + sum_ij W_ij^2 + sum_i W_ii^2) / n^2: the
    expansion of the distance in the sampling errors of mean and covariance.
    """
    values = torch.linalg.eigvalsh(cov.double()).clamp(min=0)
    sums = values[:, None] + values
    W = torch.where(sums > 0, values[:, None] * values / sums, 0.0)
    own = W.diagonal()
    share = 1 / n1 + 1 / n2
    mean = share * (values.sum() + (W.sum() + own.sum()) / 2)
    variance = share**2 * (2 * values.square().sum() + W.square().sum() + own.square().sum())
    return float(mean), float(variance)


def null_floor(cov: Tensor, n1: int, n2: int) -> float:
    """Mean FID between samples of n1 and n2 of one Gaussian, from the covariance of the first of them.

    The mean of `null_moments` is concave in the covariance S through H = sum_ij l_i l_j / (l_i + l_j), and a sample's
    eigenvalues are spread too widely, so that put into it they read low: by 9% at n = 5 d and equal eigenvalues, by
    more than a third at n = d. The Wishart's second moments, E D_ij^2 = l_i l_j / n (twice that for i = j), give
    the bias of H to first order in 1/n, which is taken off:

        (sum_ij l_i l_j D_ij + sum_i l_i^2 D_ii + sum_i l_i) / (2 n),
        D_ij = -2 sum_k l_k^2 (l_i + l_j + 2 l_k) / ((l_i + l_k)^2 (l_j + l_k)^2),

    D the divided differences of dH/dl.
    """
    values = torch.linalg.eigvalsh(cov.double())
    values = values[values > 1e-12 * values.max()]
    inverse = 1 / (values[:, None] + values).square()
    squares, cubes = (inverse * values**2) @ inverse.T, (inverse * values**3) @ inverse.T
    weighted = values[:, None] * values * -2 * ((values[:, None] + values) * squares + 2 * cubes)
    bias = (weighted.sum() + weighted.trace() + values.sum()) / (2 * n1)
    return null_moments(cov, n1, n2)[0] - (1 / n1 + 1 / n2) / 2 * float(bias)


def sampling_error(parts: Transport, n: tuple[int, int], values: tuple[Tensor | None, Tensor | None]) -> float:
    """Standard error of the FID: the delta method, and the second-order spread that is left where the laws are one.

    The first order is Var(phi)/n for each side, phi(x) = 2 (m - m') . x + (x - m)^T (I - T) (x - m), measured over the
    features `values`, or where only moments are kept as that of a Gaussian, 4 g^T S g + 2 tr(((I - T) S)^2).

    phi is made of estimated moments, whose errors alone give the first order twice the null variance on average (the
    variance of a quadratic form's linear part, measured where the slope is zero); so much is taken off it.
    """
    null_variance, linear = null_moments(parts.S1, *n)[1], 0.0
    sides = ((parts.m1, parts.S1, parts.m1 - parts.m2), (parts.m2, parts.S2, parts.m2 - parts.m1))
    for (mean, cov, away), slope, count, x in zip(sides, parts.slopes(), n, values, strict=True):
        if x is None:
            both = slope @ cov
            linear += float(4 * away @ cov @ away + 2 * (both * both.T).sum()) / count
        else:
            centred = x.cpu().double() - mean
            phi = 2 * centred @ away + ((centred @ slope) * centred).sum(1)
            linear += float(phi.var()) / count
    return math.sqrt(null_variance + max(linear - 2 * null_variance, 0.0))


def _function(matrix: Tensor, f: Callable[[Tensor], Tensor]) -> Tensor:
    """f of the eigenvalues of a symmetric matrix."""
    values, vectors = torch.linalg.eigh((matrix + matrix.T) / 2)
    return (vectors * f(values)) @ vectors.T


# ----------
# KID and MMD: kernel distances between samples, unbiased at any number of examples, with standard errors.

MEDIAN = "median"


def kid(real: Features, generated: Features, reference: str = "train") -> Measured:
    """KID: unbiased MMD^2 with the kernel (x . y / d + 1)^3 over all pairs (Binkowski et al. 2018, section 4).

    The published tools average it over random subsets of 1,000 and give the spread over subsets; its mean is the same.
    It may be negative where the two distributions are close.

    Args:
        real: features of the reference sample.
        generated: features of the samples, of the same extractor.
        reference: name of the reference sample.

    Raises:
        UserError: different extractors, or fewer than 2 examples.
    """
    check_comparable(real, generated)
    found = polynomial_mmd2(real.values, generated.values)
    n = len(generated)
    return Measured(
        f"kid{described(generated, reference, n)}", found.value, found.se, n, more={"n_reference": len(real)}
    )


def mmd(
    real: Features | Array,
    generated: Features | Array,
    kernel: str = MEDIAN,
    biased: bool = False,
    reference: str = "train",
) -> Measured:
    """MMD^2 with a Gaussian kernel: unbiased with its error, or the published biased V-statistic (its error the same).

    Args:
        real: features of the reference sample, or an array (n, ...) as its own features.
        generated: features of the samples, or an array.
        kernel: `median`, the median distance of both samples as its width, or a name of `infolab.mmd.KERNELS`.
        biased: keep the pairs of a point with itself.
        reference: name of the reference sample.

    Raises:
        UserError: an unknown kernel, different extractors, or fewer than 2 examples.
    """
    check_choice("kernel", kernel, (MEDIAN, *KERNELS))
    real, generated = as_features(real), as_features(generated)
    check_comparable(real, generated)
    x, y = (part.values.flatten(1) for part in (real, generated))
    found = mmd2(x, y, None if kernel == MEDIAN else named_kernel(kernel, x.shape[1]), biased)
    n = len(generated)
    name = f"mmd{described(generated, reference, n)[:-1]},kernel={kernel}{',biased' if biased else ''}]"
    return Measured(name, found.value, found.se, n, more={"n_reference": len(real)})


def as_features(x: Features | Array) -> Features:
    """An array (n, ...) as its own features (n, d); features as they are.

    Raises:
        UserError: no real numbers, or values that are not finite.
    """
    if isinstance(x, Features):
        return x
    x = as_tensor(x, "features")
    return Features(x.flatten(1) if x.ndim > 1 else x[:, None])
