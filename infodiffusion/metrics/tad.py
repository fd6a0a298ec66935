"""TAD, the total AUROC difference, and how many attributes are captured (Yeats et al. 2022, section 4)."""

from dataclasses import dataclass

import numpy as np

from common.errors import UserError
from infodiffusion.metrics.auroc import as_attributes, auroc_matrix
from infodiffusion.metrics.measured import Array, Measured, as_codes, folds_of, over_training_folds, spread_over_folds

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
