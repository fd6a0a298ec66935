"""The networks of one run: the seed of each, the images that it is trained on and those that it never sees."""

from dataclasses import dataclass

import torch
from torch import Tensor

from common.seeds import derive, generator
from vae.config import VAEConfig
from vae.folds import fold_of


@dataclass(frozen=True)
class Member:
    """One network of a run.

    Attributes:
        seed: seed of its initial weights, its training noise and the order of its images.
        fold: the fold that it holds out, -1 outside of a grid.
        rows: rows of the training images that it is trained on, int64.
        held_out: rows that it never sees (cv); None: the test images are what it never sees.
    """

    seed: int
    fold: int
    rows: Tensor
    held_out: Tensor | None = None


def members_of(config: VAEConfig, n: int) -> list[Member]:
    """The networks of `config` on n training images, in the order of `config.folds` (cv), or the only one.

    A network's seed and images do not depend on which folds are trained beside it. In the mode ghost the network has
    the first half of the images, see `halves`.
    """
    if config.mode == "cv":
        folds = fold_of(n, config.K, config.seed, config.repeat)
        return [
            Member(
                derive(config.seed, "cv", config.K, config.repeat, fold),
                fold,
                torch.nonzero(folds != fold)[:, 0],
                torch.nonzero(folds == fold)[:, 0],
            )
            for fold in config.folds
        ]
    rows = halves(config, n)[0] if config.mode == "ghost" else torch.arange(n)
    return [Member(derive(config.seed, config.mode), -1, rows)]


def halves(config: VAEConfig, n: int) -> tuple[Tensor, Tensor]:
    """Rows of the two disjoint halves of n training images, of the model and of its ghost, each sorted."""
    order = torch.randperm(n, generator=generator(config.seed, "halves"))
    return order[: n // 2].sort().values, order[n // 2 :].sort().values
