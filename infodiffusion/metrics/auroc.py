"""AUROC of every code for every binary attribute at once, by the rank statistic."""

import numpy as np
from scipy.stats import rankdata

from common.errors import UserError
from infodiffusion.metrics.measured import Array, as_codes, as_numbers, as_numpy, ranks


def auroc_matrix(codes: Array, attributes: Array) -> np.ndarray:
    """AUROC[j, k] of code j as a score for attribute k, (d, k): P(code | 1 > code | 0) + P(equal) / 2.

    The Mann-Whitney statistic, (R - n1 (n1 + 1) / 2) / (n1 n0), R the sum of the ranks of the positive examples, equal
    codes sharing their mean rank: each code is ranked once, and all sums are one matrix product.

    Args:
        codes: (n, d).
        attributes: (n, k), 0 or 1.

    Returns:
        Values in [0, 1]; NaN for an attribute that is constant.

    Raises:
        UserError: shapes that do not fit, or attributes that are not 0 or 1.

    >>> auroc_matrix(np.array([[0.1], [0.4], [0.35], [0.8]]), np.array([[0], [0], [1], [1]])).tolist()
    [[0.75]]
    """
    codes = as_codes(codes)
    positive = as_attributes(attributes, len(codes)).astype(np.float64)
    n, n1 = len(codes), positive.sum(0)
    sums = rankdata(codes, axis=0).T @ positive
    with np.errstate(invalid="ignore", divide="ignore"):
        return (sums - n1 * (n1 + 1) / 2) / (n1 * (n - n1))


def as_attributes(attributes: Array, n: int) -> np.ndarray:
    """Attributes (n, k) as bool.

    Raises:
        UserError: another number of examples, or values other than 0 and 1.
    """
    array = as_numpy(attributes)
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2 or len(array) != n:
        raise UserError(f"attributes of shape {array.shape} for {n} codes: expected ({n}, attributes), one row a code")
    if not ((array == 0) | (array == 1)).all():
        raise UserError("attributes must be 0 or 1: split other factors in two, for example at the median (--binarise)")
    return array == 1


def binarise(factors: Array) -> np.ndarray:
    """Attributes (n, f): 1 where a factor is above its median (or, where none is, at its largest value).

    Raises:
        UserError: factors that are no finite numbers.
    """
    array = as_numpy(factors)
    if array.dtype.kind not in "iub":  # whole numbers as they are: float64 does not hold all of them
        array = as_numbers(array, "factors")
    array = array[:, None] if array.ndim == 1 else array
    numbers = ranks(array)  # the median of large labels, a float, may be none of them
    above = numbers > np.median(numbers, axis=0)
    return np.where(above.any(0), above, numbers == numbers.max(0)).astype(np.int64)
