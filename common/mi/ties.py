"""Coordinates with atoms (zeros, clipped values, grey levels, counts) made continuous without loss of information."""

import numpy as np
from scipy.stats import norm, rankdata

from common.mi.maps import normal_map

Array = np.ndarray
LUMP = 0.01
"""A lump is a run of values that holds this share of the examples (four of them at least) ..."""
ROOM = 0.02
"""... in less than this share of the room that the standard normal law gives it, after the smooth map to that law."""


def spread_ties(x: Array, rng: np.random.Generator, groups: Array | None = None) -> Array:
    """Each coordinate of x (n, d) with tied values spread by uniform noise, so that its law has no atoms.

    The noise keeps the order, so that each value can be read off again, and does not depend on the other side: mutual
    information stays what it was. A few ties (of rounding, say) are spread half-way to their neighbours. A coordinate
    with lumps, which the smooth map of `common.mi.maps` cannot flatten, becomes the normal scores of its ranks, with
    tied values at random within their ranks. Coordinates without ties and lumps, and constant ones, are returned as
    they are.

    Args:
        x: (n, d).
        rng: of the noise.
        groups: (n,) which rows are copies of one example, 0 .. k-1: copies are no ties and stay equal.
    """
    if groups is not None:
        _, first, place = np.unique(groups, return_index=True, return_inverse=True)
        if len(first) < len(x):
            return spread_ties(x[first], rng)[place.reshape(-1)]
    out = x.astype(np.float64)
    for column in out.T:
        levels, index, counts = np.unique(column, return_inverse=True, return_counts=True)
        if len(levels) == 1:
            continue
        if has_lumps(column):
            column[:] = _scores(column, counts[index], rng)
        elif len(levels) < len(column):
            column[:] = _within_steps(column, levels, index, counts, rng)
    return out


def has_lumps(column: Array) -> bool:
    """Whether the smooth map to the normal law leaves lumps in this coordinate (n,): atoms, or values close to them.

    >>> rng = np.random.default_rng(0)
    >>> x = rng.exponential(size=500)
    >>> has_lumps(x), has_lumps(np.where(rng.random(500) < 0.3, 0, x))
    (False, True)
    """
    ordered = np.sort(column)
    n, size = len(ordered), max(int(LUMP * len(ordered)), 4)
    if n <= size:
        return False
    scores, _ = normal_map(ordered)(ordered)
    expected = norm.ppf((np.arange(n) + 0.5) / n)
    return bool((scores[size:] - scores[:-size] < ROOM * (expected[size:] - expected[:-size])).any())


def rank_scores(x: Array) -> Array:
    """Normal scores of the ranks of each coordinate of x (n, d); ties have the score of their middle rank."""
    return norm.ppf((rankdata(x, axis=0) - 0.5) / len(x))


def _scores(column: Array, counts: Array, rng: np.random.Generator) -> Array:
    lowest = rankdata(column, method="min") - 1
    within = np.where(counts > 1, rng.random(len(column)), 0.5)
    # A uniform number may be 0, whose score is infinite.
    return norm.ppf(np.maximum(lowest + counts * within, 1e-9) / len(column))


def _within_steps(column: Array, levels: Array, index: Array, counts: Array, rng: np.random.Generator) -> Array:
    """Tied values spread half-way to the neighbouring levels (at either end by as much as on the other side)."""
    half = np.diff(levels) / 2
    below, above = np.concatenate([half[:1], half]), np.concatenate([half, half[-1:]])
    u = rng.random(len(column))
    return np.where(counts[index] > 1, column - below[index] + u * (below + above)[index], column)
