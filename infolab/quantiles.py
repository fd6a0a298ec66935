"""Quantiles of a sample with bands that hold for every distribution: between two order statistics."""

from dataclasses import dataclass

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class Quantile:
    """A sample quantile with the ends of its band.

    Attributes:
        value: the quantile.
        low, high: ends of the band; at an open end the least or largest value, which is no limit.
        open_below, open_above: the sample is too small to bound the distribution's quantile on that side.
    """

    value: float
    low: float
    high: float
    open_below: bool = False
    open_above: bool = False


def quantile(values: np.ndarray, q: float, level: float = 0.95) -> Quantile:
    """The quantile inf{x: F_n(x) >= q} of a sample, and a band that covers the true one at least at `level`.

    The quantile is the order statistic x_(k), k = ceil(q n). Of n independent values Bin(n, q) lie at or below the
    true quantile of any distribution, so it lies between x_(r) and x_(s) with P = P(r <= Bin(n, q) < s): r and s leave
    out (1 - level)/2 at most on either side (David and Nagaraja 2003, section 7.1). Where r would be 0 or s above n,
    the sample cannot bound it: all values lie below the 0.999 quantile with chance 0.24 for n = 1,437. (A
    bootstrap's band, which ends at the largest value, covers far less than it says there.)

    Args:
        values: independent values (n,).
        q: 0 < q < 1.
        level: probability of the band.

    Raises:
        ValueError: no values, or q or level outside (0, 1).

    >>> quantile(np.arange(1000.0), 0.95)
    Quantile(value=949.0, low=935.0, high=963.0, open_below=False, open_above=False)
    """
    ordered = np.sort(np.asarray(values, float).ravel())
    n = len(ordered)
    if n == 0 or not 0 < q < 1 or not 0 < level < 1:
        raise ValueError(f"a quantile takes values and 0 < q < 1, not {n} values and q = {q} at level {level}")
    k = int(np.ceil(q * n - 1e-9))
    r, last = (int(end) for end in stats.binom.ppf([(1 - level) / 2, (1 + level) / 2], n, q))
    s = last + 1
    return Quantile(float(ordered[k - 1]), float(ordered[max(r, 1) - 1]), float(ordered[min(s, n) - 1]), r < 1, s > n)
