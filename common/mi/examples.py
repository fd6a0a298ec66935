"""What a user gives as one side of the pairs, as numbers in double precision."""

import numpy as np

from common.errors import UserError

Array = np.ndarray
LEAST_EXAMPLES = 40
SIZES = (1e-100, 1e100)
"""Least range of a coordinate that varies, and largest size of a number: beyond them moments leave double precision."""


def examples(name: str, array: Array) -> Array:
    """The examples of one side as (n, d) float64; what differs in `array` differs in it too.

    Whole numbers that double precision cannot hold (identifiers beyond 2^53, say) become ranks, names of classes
    numbers: mutual information stays the same.

    Args:
        name: "x" or "y", for messages.
        array: examples first, (n,) or (n, ...).

    Raises:
        UserError: no array of finite numbers, too few examples, or sizes at the ends of double precision.
    """
    array = np.asarray(array)
    if array.dtype.kind in "US":  # names of classes
        array = np.unique(array, return_inverse=True)[1].reshape(array.shape)
    if array.ndim < 1 or array.dtype.kind not in "fiub" or array.size == 0:
        raise UserError(f"{name} has shape {array.shape} and type {array.dtype}: expected numbers, examples first")
    if len(array) < LEAST_EXAMPLES:
        raise UserError(f"{name} has {len(array)} examples: at least {LEAST_EXAMPLES} are needed")
    flat = _as_double(array.reshape(len(array), -1))
    if not np.isfinite(flat).all():
        raise UserError(f"{name} has values that are not finite: remove them first")
    low, high = SIZES
    if np.abs(flat).max() > high or ((flat.min(0) != flat.max(0)) & (np.ptp(flat, axis=0) < low)).any():
        raise UserError(
            f"{name} has numbers larger than {high:g} or coordinates that vary by less than {low:g}: rescale them "
            "(mutual information stays the same)"
        )
    return flat


def _as_double(flat: Array) -> Array:
    out = flat.astype(np.float64)
    if flat.dtype.kind in "iu" and np.abs(out).max() >= 2.0**53:
        for column, exact in zip(out.T, flat.T, strict=True):
            levels, ranks = np.unique(exact, return_inverse=True)
            if len(np.unique(column)) < len(levels):
                column[:] = ranks
    return out
