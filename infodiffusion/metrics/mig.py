"""MIG, the mutual information gap (Chen et al. 2018): how far one code is ahead of the next in telling a factor."""

import numpy as np

from common.errors import UserError
from infodiffusion.metrics.measured import (
    Array,
    Measured,
    as_codes,
    as_factors,
    folds_of,
    over_training_folds,
    refuse_outliers,
    varying,
)

GROUPS = 10
"""Groups of the jackknife that gives the standard error."""


def mig(codes: Array, factors: Array, bins: int = 20) -> Measured:
    """Mean over factors of (I_1 - I_2) / H(factor), I_1 and I_2 the largest two I(binned code; factor) in nats.

    Args:
        codes: (n, d), d at least 2; each is cut into `bins` bins of equal width between its extremes.
        factors: (n, f) classes; constant ones are left out.
        bins: number of bins.

    Returns:
        The gap on all examples, in [0, 1]; the standard error is a jackknife's over 10 groups of examples. Where two
        codes tell a factor equally, or none does, the gap has a kink and the error is up to twice the spread.

    Raises:
        UserError: a single code, fewer than 2 bins, shapes that do not fit, or a code whose extremes are so far out
            that all else is in one bin (`refuse_outliers`).
    """
    codes = as_codes(codes)
    if codes.shape[1] < 2 or bins < 2:
        raise UserError(f"MIG of {codes.shape[1]} codes in {bins} bins: expected at least 2 of both")
    factors = varying(as_factors(factors, len(codes)))
    refuse_outliers(codes)
    binned = equal_width(codes, bins)
    n = len(codes)
    spread = over_training_folds(
        "", [_gap(binned[train], factors[train], bins) for train, _ in folds_of(n, min(GROUPS, n // 2), seed=0)], n
    )
    return Measured(f"mig[bins={bins},n={n}]", _gap(binned, factors, bins), spread.se, n)


def equal_width(codes: np.ndarray, bins: int) -> np.ndarray:
    """Numbers 0 .. bins - 1 of equal-width bins between each code's extremes; a constant code is all in one bin."""
    low, high = codes.min(0), codes.max(0)
    share = (codes - low) / np.where(high > low, high - low, 1.0)
    return np.minimum((share * bins).astype(np.int64), bins - 1)


def information_matrix(binned: np.ndarray, factors: np.ndarray, bins: int) -> np.ndarray:
    """Plug-in I(code; factor) in nats, (d, f), from bin numbers (n, d) and classes (n, f)."""
    n, d = binned.shape
    table = np.empty((d, factors.shape[1]))
    for number, factor in enumerate(factors.T):
        classes = int(factor.max()) + 1
        cells = (np.arange(d) * bins + binned) * classes + factor[:, None]
        joint = np.bincount(cells.reshape(-1), minlength=d * bins * classes).reshape(d, bins, classes) / n
        table[:, number] = _entropy(joint.sum(2)) + _entropy(joint.sum(1)) - _entropy(joint.reshape(d, -1))
    return table


def _gap(binned: np.ndarray, factors: np.ndarray, bins: int) -> float:
    first, second = -np.sort(-information_matrix(binned, factors, bins), axis=0)[:2]
    entropies = [_entropy(np.bincount(factor)[None] / len(factor))[0] for factor in factors.T]
    return float(np.mean((first - second) / np.maximum(entropies, 1e-12)))


def _entropy(p: np.ndarray) -> np.ndarray:
    """Entropy in nats of each row of probabilities."""
    return -(p * np.log(np.where(p > 0, p, 1.0))).sum(-1)
