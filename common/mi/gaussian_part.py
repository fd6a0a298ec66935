"""The Gaussian part of mutual information: what the canonical correlations of the normal scores tell, in closed form.

For a few pairs this is all that can be estimated: networks read noise there.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import digamma, polygamma

from common.errors import RunFailedError
from common.mi.canonical import DETERMINED, LARGEST_RHO2
from common.mi.sides import LEAST_VARIANCE
from common.mi.ties import rank_scores

Array = np.ndarray
SHARE = 4
"""Of each side at most one principal component for every so many pairs is used."""


@dataclass(frozen=True)
class GaussianPart:
    """The Gaussian part of I(x; y), nats.

    Attributes:
        value: the estimate.
        se: its standard error, for pairs whose normal scores are Gaussian.
        kept: how many principal components of x and of y are used.
        dropped: how many are not.
    """

    value: float
    se: float
    kept: tuple[int, int]
    dropped: tuple[int, int]


def gaussian_part(x: Array, y: Array) -> GaussianPart:
    """-1/2 log(Lambda) of the normal scores of pairs x (n, dx), y (n, dy), without its bias.

    Lambda = prod (1 - r_i^2), r_i the sample canonical correlations, is Wilks's: log Lambda is biased by
    b = sum_{i=1}^{dx} psi((n - dy - i)/2) - psi((n - i)/2), and for independent sides, one of them Gaussian, its
    variance v is the same sum of trigamma functions (Anderson 2003, section 8.4). The value is (b - log Lambda)/2 and
    se^2 = v/4 + e/n, e/n being the variance of the log-likelihood ratio of a Gaussian pair, e = sum rho_i^2. As the
    value and its error fall together, e is taken at the upper end of one standard error: from
    s = sum r_i^2 - dx dy/(n - 1), at least 0, it is s + sqrt(2 dx dy)/n + 2 sqrt(s/n).

    A side of more than n/4 coordinates is reduced to so many principal components, which can only lose information.

    Raises:
        RunFailedError: one side determines a coordinate of the other.
    """
    n = len(x)
    (u, lost_x), (v, lost_y) = (_orthonormal(side) for side in (x, y))
    if u.shape[1] > v.shape[1]:
        small, large = v, u
    else:
        small, large = u, v
    squares = np.square(np.linalg.svd(small.T @ large, compute_uv=False))
    if squares.max(initial=0.0) >= LARGEST_RHO2:
        raise RunFailedError(DETERMINED)
    i = np.arange(1, small.shape[1] + 1)
    low, high = (n - large.shape[1] - i) / 2, (n - i) / 2
    bias = float((digamma(low) - digamma(high)).sum())
    variance = float((polygamma(1, low) - polygamma(1, high)).sum())
    products = u.shape[1] * v.shape[1]
    excess = max(float(squares.sum()) - products / (n - 1), 0.0)
    excess += math.sqrt(2 * products) / n + 2 * math.sqrt(excess / n)
    return GaussianPart(
        value=0.5 * (bias - float(np.log1p(-squares).sum())),
        se=math.sqrt(variance / 4 + excess / n),
        kept=(u.shape[1], v.shape[1]),
        dropped=(lost_x, lost_y),
    )


def _orthonormal(side: Array) -> tuple[Array, int]:
    """An orthonormal basis (n, k) of the centred normal scores, by variance; how many directions it leaves out."""
    scores = rank_scores(side)
    scores = scores - scores.mean(0)
    n, d = scores.shape
    if d > n:
        variances, left = np.linalg.eigh(scores @ scores.T)
        variances, left = variances[::-1], left[:, ::-1]
    else:
        left, sizes, _ = np.linalg.svd(scores, full_matrices=False)
        variances = np.square(sizes)
    rank = int((variances > LEAST_VARIANCE * variances[0]).sum())
    kept = min(rank, n // SHARE)
    return left[:, :kept], rank - kept
