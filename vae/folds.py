"""The folds of the cross-validation grid: a partition of the training images for each repeat."""

import torch
from torch import Tensor

from common.errors import UserError
from common.seeds import generator


def fold_of(n: int, K: int, seed: int, repeat: int) -> Tensor:
    """The fold 0 .. K - 1 of each of n training images, int64 (n,): a function of (n, K, seed, repeat) alone.

    Each fold has n // K images or one more. Image i is held out by the network of its own fold, and in the training
    set of the K - 1 others.

    Raises:
        UserError: fewer than two images a fold.

    >>> torch.bincount(fold_of(11, 5, seed=0, repeat=0)).tolist()
    [3, 2, 2, 2, 2]
    """
    if n < 2 * K:
        raise UserError(f"{n} training images make no {K} folds of at least two: use more images or a smaller --K")
    order = torch.randperm(n, generator=generator(seed, "folds", repeat))
    folds = torch.empty(n, dtype=torch.int64)
    folds[order] = torch.arange(n) % K
    return folds
