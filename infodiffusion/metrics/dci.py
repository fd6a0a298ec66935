"""DCI: disentanglement, completeness and informativeness of codes (Eastwood and Williams 2018), by trees."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from common.errors import UserError, choose
from common.seeds import derive
from infodiffusion.metrics.measured import (
    Array,
    Measured,
    as_codes,
    as_factors,
    folds_of,
    over_test_folds,
    ranks,
    spread_over_folds,
    varying,
)

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
    choose("variant of DCI", variant, list(VARIANTS))
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
