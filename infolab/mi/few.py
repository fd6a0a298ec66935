"""The Gaussian part of mutual information in closed form, and what is said of few pairs."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import digamma, polygamma

from infolab.errors import RunFailedError, UserError
from infolab.estimate import Estimate
from infolab.mi.categorical import is_label
from infolab.mi.pairs import DETERMINED, LARGEST_RHO2
from infolab.mi.settings import Settings
from infolab.mi.sides import LEAST_VARIANCE, rank_scores, spread_ties, varying
from infolab.noise import derive

# ----------
# The Gaussian part of mutual information: what the canonical correlations of the normal scores tell, in closed form.
#
# For a few pairs this is all that can be estimated: networks read noise there.

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


# ----------
# What is said of few pairs: the Gaussian part of their information alone, as networks would read noise.

METHOD = "Gaussian part alone (few pairs)"
LEAST_PAIRS, PAIRS_A_COORDINATE = 500, 25


def least_pairs(coordinates: int) -> int:
    """The fewest distinct pairs, with so many varying coordinates on both sides, that networks are trained on.

    >>> least_pairs(2), least_pairs(64)
    (500, 1600)
    """
    return max(LEAST_PAIRS, PAIRS_A_COORDINATE * coordinates)


def of_few_pairs(
    noised: Array, given: Array, names: tuple[str, str], copied: Array, settings: Settings
) -> tuple[Estimate, list[str]]:
    """The Gaussian part (`infolab.mi.few`) of the distinct pairs, and what to say of it.

    Args:
        noised: (n, d), whose ties are spread.
        given: (n, d').
        names: of both, "x" and "y" in either order.
        copied: (n,) which rows are copies of one pair.
        settings: their seed, and `blocks`.

    Raises:
        UserError: a label, or pairs in blocks, for which there is no closed form.
        RunFailedError: one side determines a coordinate of the other.
    """
    first = np.unique(copied, return_index=True)[1]
    noised, given = noised[first], given[first]
    least = least_pairs(len(varying(noised)) + len(varying(given)))
    if is_label(noised):
        raise UserError(
            f"{len(first)} pairs are too few for a class label: networks read noise in fewer than {least}, and a label "
            "has no Gaussian part"
        )
    if settings.blocks:
        raise UserError(
            f"{len(first)} pairs are too few for --blocks: at least {least} are needed for {_sizes(noised, given)}"
        )
    part = gaussian_part(spread_ties(noised, np.random.default_rng(derive(settings.seed, "mi", "ties"))), given)
    said = [
        f"{len(first)} distinct pairs are few for {_sizes(noised, given)}: only the Gaussian part of the information "
        f"was estimated, which linear dependence of normal scores shows; with {least} pairs networks look for the rest"
    ]
    for name, kept, dropped in zip(names, part.kept, part.dropped, strict=True):
        if dropped:
            said.append(
                f"{name} was reduced to {kept} of its {kept + dropped} principal components, one for every 4 pairs: "
                "information in the others is not counted"
            )
    estimate = Estimate(
        part.value, part.se, bias="either", estimand="I(x; y)", n=len(copied), d=noised.shape[1] + given.shape[1]
    )
    return estimate, said


def _sizes(noised: Array, given: Array) -> str:
    return f"{len(varying(noised)) + len(varying(given))} coordinates that vary"
