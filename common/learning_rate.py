"""Learning rates as a function of the step alone, so that a resumed run goes on with the rate it would have had."""

import math

import torch

from common.errors import choose

SCHEDULES = ("constant", "cosine")


def learning_rate(kind: str, base: float, step: int, steps: int) -> float:
    """The rate of optimiser step `step` of `steps`: `base`, or base (1 + cos(pi step / steps)) / 2.

    Raises:
        UserError: an unknown kind.

    >>> learning_rate("cosine", 1.0, 50, 100), learning_rate("constant", 1.0, 50, 100)
    (0.5, 1.0)
    """
    if choose("learning-rate schedule", kind, SCHEDULES) == "constant":
        return base
    return base * (0.5 + 0.5 * math.cos(math.pi * step / steps))


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every parameter group this rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate
