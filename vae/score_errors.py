"""The error of a mean over images whose scores share networks."""

from collections.abc import Sequence

import numpy as np


def shared_se(values: np.ndarray, outside: Sequence[np.ndarray]) -> float:
    """Standard error of the mean of n scores, those of one held-out network being no independent ones.

    All images that one network never saw are scored against that network, and move with it. With S_g the sum of
    e_i = M_i - mean over the images outside of network g, and every image outside of c networks (c repeats of a
    partition into G / c folds),

        Var = [G / (G - c) sum_g S_g^2 - (c - 1) sum_i e_i^2] / n^2,

    the error over clusters in c directions (Cameron, Gelbach, Miller 2011, eq. 2.13 for pairs that share one network),
    and at least that over images, sum_i e_i^2 / (n (n - 1)). That alone is what is left where the images are outside of
    different numbers of networks, or all outside of the same ones, so that the networks' share cannot be told.

    Args:
        values: scores (n,), n >= 2.
        outside: for each network the places of the images that it never saw, indices into `values`.

    Raises:
        ValueError: fewer than two scores.
    """
    n = len(values)
    if n < 2:
        raise ValueError("a standard error takes at least two scores")
    centred = np.asarray(values, float) - np.mean(values)
    own = float(np.square(centred).sum())
    over_images = own / (n * (n - 1))
    groups = [places for places in outside if len(places)]
    times = np.bincount(np.concatenate(groups), minlength=n) if groups else np.zeros(n)
    repeats, networks = int(times.max()), len(groups)
    if times.min() != repeats or networks <= repeats:
        return over_images**0.5
    sums = sum(float(centred[places].sum()) ** 2 for places in groups)
    shared = (networks / (networks - repeats) * sums - (repeats - 1) * own) / n**2
    return max(shared, over_images) ** 0.5
