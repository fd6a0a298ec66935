"""Metrics of codes against known factors or attributes: DCI, MIG, AUROC and TAD."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import rankdata

from infolab.errors import UserError, check_choice
from infolab.metrics.measured import (
    Array,
    Measured,
    as_codes,
    as_factors,
    as_numbers,
    as_numpy,
    folds_of,
    over_test_folds,
    over_training_folds,
    ranks,
    refuse_outliers,
    spread_over_folds,
    varying,
)
from infolab.noise import derive

# ----------
# AUROC of every code for every binary attribute at once, by the rank statistic.


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


# ----------
# DCI: disentanglement, completeness and informativeness of codes (Eastwood and Williams 2018), by trees.

TREES = 10
LEAF = 4


def _boosted(seed: int) -> Any:
    from sklearn.ensemble import GradientBoostingClassifier

    return GradientBoostingClassifier(random_state=seed)


def _forest(seed: int) -> Any:
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(TREES, max_features=None, min_samples_leaf=LEAF, random_state=seed)


VARIANTS: dict[str, Callable[[int], Any]] = {"boosted": _boosted, "forest": _forest}
"""Classifiers with `feature_importances_`, by the name of the variant."""


@dataclass(frozen=True)
class DCI:
    """The three numbers and the importances they are made of.

    Attributes:
        disentanglement: sum_i rho_i (1 - H(P_i) / log f), P_i row i of the importances R normalised, rho_i its share;
            NaN where one factor varies, whose log f is 0. Its `sd` is over training folds, it has no standard error.
        completeness: the same over columns with log d; NaN where there is one code.
        informativeness: held-out accuracy, mean over factors.
        importance: R (d, f), mean over folds; each column sums to 1.
    """

    disentanglement: Measured
    completeness: Measured
    informativeness: Measured
    importance: np.ndarray

    def measured(self) -> list[Measured]:
        """Those of the three numbers that are defined."""
        found = (self.disentanglement, self.completeness, self.informativeness)
        return [item for item in found if not math.isnan(item.value)]


def dci(codes: Array, factors: Array, variant: str = "forest", seed: int = 0, folds: int = 5, jobs: int = 0) -> DCI:
    """DCI with one classifier a factor, whose impurity importances say which codes it used.

    `boosted` is the published one: scikit-learn's gradient boosting with its defaults (100 rounds of depth 3, one tree
    a class). `forest` is the fast one: 10 trees on bootstrap samples, every code tried at every split, at least 4
    examples a leaf. Importances differ in size between the two, so their numbers are not to be mixed.

    Trees are given the rank of each value among those of its code. The splits that they choose from are the same, for
    codes of any unit and origin; scikit-learn's own take float32 and see no gap below 1e-7.

    Args:
        codes: (n, d).
        factors: (n, f) classes; constant ones are left out.
        variant: `forest` or `boosted`.
        seed: of folds and trees.
        folds: the classifiers are trained on each of so many training folds (published: 5) and scored on what is held
            out; 1: once, with a fifth held out. The accuracy has a standard error, over held-out folds; the other two
            have only their spread over folds, as the training folds overlap and every refit of trees adds its own.
        jobs: processes that work side by side on folds and factors; 0: one a core.

    Raises:
        UserError: an unknown variant, shapes that do not fit, a factor that is constant in a training fold (it would
            have no importances, and every code would seem to belong to the others).
    """
    check_choice("variant of DCI", variant, list(VARIANTS))
    codes = as_codes(codes)
    factors = varying(as_factors(factors, len(codes)))
    n, f = factors.shape
    codes = ranks(codes)
    splits = folds_of(n, folds, seed)
    if any(np.ptp(factors[train], axis=0).min() == 0 for train, _ in splits):
        raise UserError("a training fold has one class of a factor only: give more examples, or leave out the factor")
    tasks = [(fold, factor) for fold in range(len(splits)) for factor in range(f)]
    seeds = [derive(seed, "dci", *task) % 2**32 for task in tasks]
    fitted = _side_by_side(
        [
            (variant, codes[train], factors[train, factor], codes[test], factors[test, factor], number)
            for (train, test), factor, number in ((splits[a], b, s) for (a, b), s in zip(tasks, seeds, strict=True))
        ],
        jobs,
    )
    importances = np.stack([importance for importance, _ in fitted]).reshape(len(splits), f, -1).transpose(0, 2, 1)
    right = np.stack([correct for _, correct in fitted]).reshape(len(splits), f)
    described = f"[{variant},n={n}]"
    accuracy = [float(row.mean()) for row in right]
    held_out = f"dci_informativeness{described}"
    return DCI(
        _scored(f"dci_disentanglement{described}", disentanglement, importances, n, f > 1),
        _scored(f"dci_completeness{described}", completeness, importances, n, codes.shape[1] > 1),
        over_test_folds(held_out, accuracy, n) if folds > 1 else Measured(held_out, accuracy[0], None, n),
        importances.mean(0),
    )


def disentanglement(R: np.ndarray) -> float:
    """sum_i rho_i (1 - H(P_i) / log f) of importances R (codes, factors); a code that nothing uses has no weight.

    Raises:
        UserError: one factor, of which every code is a code of that factor alone.

    >>> disentanglement(np.eye(3)), round(disentanglement(np.ones((4, 3))), 12)
    (1.0, 0.0)
    """
    if R.shape[1] < 2:
        raise UserError("disentanglement needs at least 2 factors that vary: with one, log(number of factors) is 0")
    total = R.sum(1, keepdims=True)
    P = R / np.where(total > 0, total, 1.0)
    entropy = -(P * np.log(np.where(P > 0, P, 1.0))).sum(1)
    share = R.sum(1) / max(float(R.sum()), 1e-300)
    return float((share * (1 - entropy / np.log(R.shape[1]))).sum())


def completeness(R: np.ndarray) -> float:
    """`disentanglement` of the transpose: does one code tell all of a factor?

    Raises:
        UserError: one code.
    """
    if len(R) < 2:
        raise UserError("completeness needs at least 2 code dimensions: with one, log(number of codes) is 0")
    return disentanglement(R.T)


def _scored(
    name: str, score: Callable[[np.ndarray], float], importances: np.ndarray, n: int, defined: bool
) -> Measured:
    """A score of the importances of each fold; NaN where it is not defined."""
    return spread_over_folds(name, [score(R) for R in importances], n) if defined else Measured(name, math.nan, None, n)


def _fit(
    variant: str, x: np.ndarray, y: np.ndarray, x_test: np.ndarray, y_test: np.ndarray, seed: int
) -> tuple[np.ndarray, float]:
    """Importances (d,) of one classifier, and its accuracy on what was held out."""
    model = VARIANTS[variant](seed)
    model.fit(x, y)
    return model.feature_importances_, float((model.predict(x_test) == y_test).mean())


def _side_by_side(tasks: list[tuple[Any, ...]], jobs: int) -> list[tuple[np.ndarray, float]]:
    from sklearn.utils.parallel import Parallel, delayed

    # A forest's trees grow outside Python's lock, boosting is many small steps within it.
    prefer = "threads" if tasks[0][0] == "forest" else "processes"
    return list(Parallel(n_jobs=jobs or -1, prefer=prefer)(delayed(_fit)(*task) for task in tasks))


# ----------
# MIG, the mutual information gap (Chen et al. 2018): how far one code is ahead of the next in telling a factor.

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


# ----------
# TAD, the total AUROC difference, and how many attributes are captured (Yeats et al. 2022, section 4).

MOST = 10_000
"""Examples of the published protocol, the first ones."""


@dataclass(frozen=True)
class TAD:
    """Both numbers, over training folds, and what they are made of.

    Attributes:
        tad: sum over kept attributes of best minus second-best AUROC.
        captured: number of kept attributes.
        kept: attributes kept on all examples, indices.
        best: best AUROC of each attribute on all examples, (k,); NaN where it is constant.
        gap: best minus second-best AUROC, (k,).
    """

    tad: Measured
    captured: Measured
    kept: np.ndarray
    best: np.ndarray
    gap: np.ndarray

    def measured(self) -> list[Measured]:
        """Both numbers."""
        return [self.tad, self.captured]


def tad(
    codes: Array,
    attributes: Array,
    seed: int = 0,
    least: float = 0.75,
    most_shared: float = 0.2,
    folds: int = 5,
    most: int = MOST,
) -> TAD:
    """Sum over kept attributes of the AUROC of the best code minus that of the second best.

    A code's AUROC for an attribute is the larger of those of the code and of minus the code. An attribute is kept if
    its best AUROC is at least `least` and no other attribute tells much of it: max_j I(y_i; y_j) / H(y_i) at most
    `most_shared`. As published, both are computed on each training fold, codes being the first `most` examples
    (standardising the codes changes no rank and so no AUROC).

    Args:
        codes: (n, d), d at least 2.
        attributes: (n, k), 0 or 1.
        seed: of the folds.
        least, most_shared: limits of what is kept.
        folds: number of folds; the spread over them is `sd`, a jackknife over them `se` of TAD. That error holds where
            attributes stay kept or not kept: close to the limits TAD jumps, and the count has only its spread. Where no
            fold keeps an attribute, TAD is 0 and has no error.
        most: examples used.

    Raises:
        UserError: a single code, shapes that do not fit, attributes that are not 0 or 1, are all constant, or vary but
            not in a training fold.
    """
    codes = as_codes(codes)
    if codes.shape[1] < 2:
        raise UserError("TAD needs at least 2 code dimensions: it sets the best beside the second best")
    attributes = as_attributes(attributes, len(codes))[:most]
    codes = codes[:most]
    vary = attributes.any(0) & ~attributes.all(0)
    if not vary.any():
        raise UserError("every attribute is constant: TAD needs attributes that vary")
    splits = folds_of(len(codes), folds, seed)
    if any(np.ptp(attributes[train][:, vary].astype(int), axis=0).min() == 0 for train, _ in splits):
        raise UserError("an attribute has one class only in a training fold: give more examples, or leave it out")
    gaps, counts = [], []
    for train, _ in splits:
        gap, _, kept = _kept(codes[train], attributes[train], least, most_shared)
        gaps.append(float(gap[kept].sum()))
        counts.append(float(len(kept)))
    gap, best, kept = _kept(codes, attributes, least, most_shared)
    n = len(codes)
    captured = spread_over_folds("tad_attributes", counts, n)
    return TAD(over_training_folds("tad", gaps, n), captured, kept, best, gap)


def shared_information(attributes: np.ndarray) -> np.ndarray:
    """I(y_i; y_j) / H(y_i) of binary attributes (n, k), as a matrix (k, k); NaN in rows of constant attributes."""
    ones = attributes.astype(np.float64)
    joint = {(1, 1): ones.T @ ones, (1, 0): ones.T @ (1 - ones), (0, 1): (1 - ones).T @ ones}
    joint[0, 0] = (1 - ones).T @ (1 - ones)
    p = ones.mean(0)
    sides = {1: p, 0: 1 - p}
    information = np.zeros((len(p), len(p)))
    with np.errstate(divide="ignore", invalid="ignore"):
        for (a, b), count in joint.items():
            share = count / len(ones)
            term = share * np.log(share / np.outer(sides[a], sides[b]))
            information += np.where(share > 0, term, 0.0)
        return information / information.diagonal()[:, None]


def _kept(codes: np.ndarray, attributes: np.ndarray, least: float, most_shared: float) -> tuple[np.ndarray, ...]:
    """Gap and best AUROC of each attribute, and the indices of those kept."""
    found = auroc_matrix(codes, attributes)
    either = np.maximum(found, 1 - found)
    best, second = -np.sort(-either, axis=0)[:2]
    shared = shared_information(attributes)
    np.fill_diagonal(shared, 0.0)
    with np.errstate(invalid="ignore"):
        constant = np.isnan(best)
        others = np.nan_to_num(shared, nan=0.0).max(1, initial=0.0)
        kept = np.flatnonzero(~constant & (best >= least) & (others <= most_shared))
    return best - second, best, kept
