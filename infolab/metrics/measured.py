"""A metric's value with its error, and what every metric asks of its arrays."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from infolab.errors import UserError

Array = np.ndarray | Tensor
"""What metrics take: numpy arrays or tensors, examples first."""


FARTHEST = 1e6
"""See `refuse_outliers`."""


@dataclass(frozen=True)
class Measured:
    """One metric of one model.

    Attributes:
        name: the metric with what it depends on, as tables spell it: `kid[small-sprites,resize=none,...]`; `tad` and
            `tad_attributes` alone have none, being the published protocol's.
        value: its value.
        se: standard error; None where one fit gives none.
        n: examples measured (the smaller number where there are two samples).
        sd: spread over folds, which the paper writes behind +-; None where there are no folds.
        more: further numbers, each said in the metric's own description.
        warnings: what to know of the value before using it, a sentence each; a command writes them to standard error.
    """

    name: str
    value: float
    se: float | None
    n: int
    sd: float | None = None
    more: dict[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def as_record(self) -> dict[str, Any]:
        """Ready for JSON."""
        record: dict[str, Any] = {"value": self.value, "se": self.se, "n": self.n, "name": self.name}
        return record | ({} if self.sd is None else {"sd": self.sd}) | self.more


def over_training_folds(name: str, values: Sequence[float], n: int) -> Measured:
    """Mean of a metric computed on each of g training folds, with the delete-one-group jackknife's standard error.

    Training folds overlap, so their spread sd is not a standard error: se^2 = (g-1)/g sum (value - mean)^2. It is None
    for a single fold, and where the folds agree to the last digit (`agree`).
    """
    g, mean = len(values), float(np.mean(values))
    if g == 1:
        return Measured(name, mean, None, n)
    squares = float(np.square(np.asarray(values) - mean).sum())
    se = None if agree(values) else math.sqrt((g - 1) / g * squares)
    return Measured(name, mean, se, n, math.sqrt(squares / g))


def agree(values: Sequence[float]) -> bool:
    """Whether the folds' values are one number, up to rounding: nothing captured in any, no example misclassified.

    Such values say nothing of how far another sample's would lie, and an error of 0 would claim that they do.

    >>> agree([0.0, 0.0]), agree([0.1 + 0.2, 0.3]), agree([0.0, 1e-9])
    (True, True, False)
    """
    return float(np.ptp(values)) <= 1e-12 * float(np.abs(values).max())


def spread_over_folds(name: str, values: Sequence[float], n: int) -> Measured:
    """Mean of a metric over training folds with their spread `sd` (None for one fold), and no standard error.

    For metrics that are not smooth in the examples, such as importances of trees: each refit adds a spread of its own,
    which the jackknife's factor g - 1 would multiply.
    """
    return Measured(name, float(np.mean(values)), None, n, float(np.std(values)) if len(values) > 1 else None)


def over_test_folds(name: str, values: Sequence[float], n: int) -> Measured:
    """Mean of a metric over g held-out folds, se^2 = sd^2 (1/g + 1/(g - 1)), sd with g - 1 (Nadeau and Bengio 2003).

    The folds are disjoint but what was trained for them is not: any two classifiers share (g - 2)/(g - 1) of their
    examples, so that sd^2 / g alone is too small where the classifier itself varies (by 30 to 40% at 5 examples a
    dimension), and about right where it does not; there this error is too large, by half at g = 5. It is None where
    the folds agree to the last digit (`agree`).
    """
    g = len(values)
    spread = float(np.std(values, ddof=1))
    se = None if agree(values) else spread * math.sqrt(1 / g + 1 / (g - 1))
    return Measured(name, float(np.mean(values)), se, n, float(np.std(values)))


def folds_of(n: int, folds: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """(train, test) indices of shuffled k-fold cross-validation; one fold: a fifth is held out.

    Raises:
        UserError: fewer than 1 fold, or more than examples.
    """
    if not 1 <= folds <= n // 2:
        raise UserError(f"folds = {folds} of {n} examples: expected 1 .. {n // 2}")
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed)).numpy()
    parts = np.array_split(order, max(folds, 5) if folds == 1 else folds)
    chosen = parts[:1] if folds == 1 else parts
    return [(np.setdiff1d(order, part), np.sort(part)) for part in chosen]


def as_numpy(array: Array) -> np.ndarray:
    """The array itself, or a tensor's values, from whichever device and without its graph.

    What numpy has no type for (bfloat16) becomes float32, which holds it exactly.
    """
    if not isinstance(array, Tensor):
        return np.asarray(array)
    values = array.detach().cpu()
    return (values.float() if values.is_floating_point() and values.itemsize < 4 else values).numpy()


def as_numbers(array: Array, what: str) -> np.ndarray:
    """The values in float64 and native byte order.

    Args:
        array: any shape.
        what: what messages call them, as in "codes".

    Raises:
        UserError: no real numbers, or values that are not finite.
    """
    values = as_numpy(array)
    if values.dtype.kind not in "fiub":
        raise UserError(f"{what} of type {values.dtype}: expected real numbers")
    values = values.astype(np.float64)
    if not np.isfinite(values).all():
        raise UserError(f"the {what} have values that are not finite: remove them first")
    return values


def as_tensor(array: Array, what: str) -> Tensor:
    """The values as a tensor without a graph, in their own precision and on their device.

    Args:
        array: any shape.
        what: what messages call them.

    Raises:
        UserError: no real numbers, or values that are not finite.
    """
    if not isinstance(array, Tensor):
        values = np.asarray(array)
        if values.dtype.kind not in "fiub":
            raise UserError(f"{what} of type {values.dtype}: expected real numbers")
        native = np.float64 if values.dtype.itemsize > 8 else values.dtype.newbyteorder("=")
        array = torch.from_numpy(np.ascontiguousarray(values.astype(native, copy=False)))
    elif array.is_complex():
        raise UserError(f"{what} of type {array.dtype}: expected real numbers")
    if array.is_floating_point() and not bool(array.isfinite().all()):
        raise UserError(f"the {what} have values that are not finite: remove them first")
    return array.detach()


def as_codes(codes: Array) -> np.ndarray:
    """Codes (n, d), float64; whole numbers less the smallest of each column, which no metric of codes notices.

    Raises:
        UserError: another shape, or values that are not finite real numbers.
    """
    array = as_numpy(codes)
    if array.dtype.kind in "iu" and array.dtype.itemsize == 8 and array.size:
        # Beyond 2^53 float64 does not hold them; their differences, taken modulo 2^64, it does.
        array = array.astype(np.uint64) - array.min(0).astype(np.uint64)
    array = as_numbers(array, "codes")
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2 or min(array.shape) < 1 or len(array) < 2:
        raise UserError(f"codes of shape {array.shape}: expected (examples, code dimensions)")
    return array


def as_factors(factors: Array, n: int, values: int = 1_000) -> np.ndarray:
    """Factors (n, f) as class numbers 0, 1, .. of each column's sorted values, int64; (n,) is one factor.

    Args:
        factors: (n, f) or (n,), numbers or names of classes.
        n: how many are expected, as many as codes.
        values: most different values of one factor, and at most half the examples.

    Raises:
        UserError: another number of examples, values that are not finite, or a factor of more values than that.
    """
    array = as_numpy(factors)
    if array.dtype.kind not in "USiub":  # names of classes, or whole numbers as they are
        array = as_numbers(array, "factors")
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2 or len(array) != n or not array.shape[1]:
        raise UserError(f"factors of shape {array.shape} for {n} codes: expected ({n}, factors), one row a code")
    numbers = ranks(array)
    most = min(values, max(2, n // 2))  # classes of one example each cannot be learned
    for number, count in enumerate(numbers.max(0) + 1):
        if count > most:
            raise UserError(
                f"factor {number} has {count:,} different values in {n:,} examples: expected classes, at most "
                f"{most:,}; bin it, or give more examples"
            )
    return numbers


def ranks(array: np.ndarray) -> np.ndarray:
    """Numbers 0, 1, .. of each column's sorted values, (n, d) int64; equal values have one number."""
    return np.stack([np.unique(column, return_inverse=True)[1].reshape(-1) for column in array.T], axis=1)


def refuse_outliers(codes: np.ndarray) -> None:
    """Refuse codes whose scale is that of a few wild values, for metrics that read codes in units of their spread.

    With all but the most extreme 1% on either side (at least one value) within r > 0 of each other, a value farther out
    than `FARTHEST` r would leave them all in one bin, or at one standardised value.

    Args:
        codes: (n, d).

    Raises:
        UserError: there is such a value.
    """
    cut = max(1, len(codes) // 100)
    ordered = np.sort(codes / np.maximum(np.abs(codes).max(0), 1e-300), axis=0)
    inner = ordered[-1 - cut] - ordered[cut] if len(codes) > 2 * cut else np.zeros(codes.shape[1])
    wild = (inner > 0) & (ordered[-1] - ordered[0] > FARTHEST * inner)
    if wild.any():
        j = int(np.flatnonzero(wild)[0])
        raise UserError(
            f"code {j} has values from {codes[:, j].min():.3g} to {codes[:, j].max():.3g} while most lie more than "
            f"{FARTHEST:,.0f} times closer together, and cannot be told apart on that scale: remove the outliers"
        )


def varying(factors: np.ndarray) -> np.ndarray:
    """The factors that take more than one value.

    Raises:
        UserError: none does.
    """
    kept = factors[:, factors.max(0) > 0]
    if not kept.shape[1]:
        raise UserError("every factor is constant: metrics of codes need factors that vary")
    return kept
