"""Rows that are not independent draws (time series, patches of one image): noticed, and taken in blocks on request."""

import math

import numpy as np
from scipy.stats import t

from common.errors import UserError
from common.mi.sides import varying
from common.mi.ties import rank_scores

Array = np.ndarray
LAGS = 8
DOUBT = 5.0
"""Standard errors 1/sqrt(n) by which a lag correlation must differ from 0 to be noticed ..."""
LEAST = 0.1
"""... and its least size."""
LEAST_BLOCKS = 10
Z95 = 1.96


def lag_correlation(side: Array) -> tuple[float, int]:
    """The largest correlation, in size, between the ranks of a coordinate of (n, d) and itself 1 to 8 rows on; its lag.

    >>> round(lag_correlation(np.arange(40.0)[:, None])[0], 1)
    0.9
    """
    columns = varying(side)
    if len(columns) == 0 or len(side) <= 2 * LAGS:
        return 0.0, 0
    scores = rank_scores(side[:, columns])
    scores = (scores - scores.mean(0)) / scores.std(0)
    n = len(scores)
    found = [float(np.abs((scores[lag:] * scores[:-lag]).sum(0) / n).max()) for lag in range(1, LAGS + 1)]
    return max(found), 1 + int(np.argmax(found))


def dependence_warning(x: Array, y: Array) -> str:
    """What to say where both sides are alike in rows that are close to each other; empty where they are not.

    Where only one side is, the pairs still say as much as independent ones of whether x and y depend on each other.
    """
    least = max(LEAST, DOUBT / math.sqrt(len(x)))
    (in_x, lag), (in_y, _) = lag_correlation(x), lag_correlation(y)
    if min(in_x, in_y) < least:
        return ""
    return (
        f"rows that are close to each other are alike (correlation up to {in_x:.2f} in x, at lag {lag}, and {in_y:.2f} "
        "in y): unless independent pairs were only sorted, the value and its error cannot be trusted; give --blocks N, "
        "N blocks of consecutive rows that are long enough to be nearly independent"
    )


def block_numbers(n: int, blocks: int) -> Array:
    """Which of `blocks` blocks of consecutive rows, of equal size up to one, each of n rows lies in.

    Raises:
        UserError: too few blocks for an error, or fewer than two rows a block.
    """
    if not LEAST_BLOCKS <= blocks <= n // 2:
        raise UserError(f"--blocks {blocks} of {n} rows: expected from {LEAST_BLOCKS} to {n // 2}")
    return np.arange(n) * blocks // n


def block_halves(numbers: Array) -> tuple[Array, Array]:
    """The first and the second half of the rows, cut between two blocks; as many rows of each."""
    n = len(numbers)
    starts = np.flatnonzero(np.diff(numbers)) + 1
    cut = int(starts[np.abs(starts - n // 2).argmin()])
    size = min(cut, n - cut)
    return np.arange(size), np.arange(cut, cut + size)


def widened(blocks: int) -> float:
    """By how much an error over so few blocks is too small for an interval of 1.96 of them: Student's t over it.

    >>> round(widened(20), 3)
    1.068
    """
    return float(t.ppf(0.975, blocks - 1)) / Z95
