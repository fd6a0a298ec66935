"""From pointwise values of both halves to an estimate with its standard error."""

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from common.errors import RunFailedError
from common.estimate import Estimate
from common.mi.canonical import DETERMINED


@dataclass(frozen=True)
class Measured:
    """Pointwise values (2, n) of both halves, nats, and how they came about (see `Information`).

    `values[j]` are of the half that network j has not seen. `fit_gap` is what the same pairs read on average where the
    networks trained on them, minus `values`. `resolution` is what may go unseen (see `unseen`).
    """

    values: Tensor
    method: str
    fit_gap: float = 0.0
    resolution: float = 0.0
    maps: str = ""
    steps: int = 0
    evaluations: int = 0
    parts_nats: dict[str, float] = field(default_factory=dict)


def summary(found: Measured, groups: np.ndarray, d: int, widened: float = 1.0) -> Estimate:
    """Mean over both halves, with the error of training beside that over pairs.

    Of training there is what the halves differ by beyond their sampling error, and the fit gap: unseen pairs read less
    than the best fit would, by about as much as seen ones read more, so that it mostly lies between the two. It is at
    least the resolution: where nothing is found the value is 0 exactly, and what is too weak to be found may be there.

    Args:
        found: the values.
        groups: (2, n) numbers of the draws that values are of; values of one draw share it (copies, blocks of rows).
        d: dimensions of both sides.
        widened: factor of the error over draws.

    Raises:
        RunFailedError: a value is not finite.
    """
    values = found.values.double()
    if not bool(torch.isfinite(values).all()):
        raise RunFailedError(DETERMINED)
    n = values.numel()
    se = widened * standard_error(values, groups)
    means = values.mean(1)
    spread = math.sqrt(max(0.0, float((means[0] - means[1]) ** 2) / 4 - se**2))
    training = max(math.hypot(spread, max(found.fit_gap, 0.0)), found.resolution)
    return Estimate(
        float(means.mean()), se, training, bias="either", estimand="I(x; y)", n=n, d=d, evaluations=found.evaluations
    )


def unseen(dx: int, dy: int, draws: int) -> float:
    """Standard error sqrt(dx dy / 2) / draws, nats, of the Gaussian part of the information of independent sides.

    From so many draws one cannot tell less from none: twice the log-likelihood ratio is chi^2 with dx dy degrees.

    >>> unseen(1, 2, 1000)
    0.001
    """
    return math.sqrt(dx * dy / 2) / draws


def standard_error(values: Tensor, groups: np.ndarray) -> float:
    """Standard error of the mean of values (2, n), over distinct draws: values that share a group are one draw."""
    n = values.numel()
    _, index = np.unique(groups, return_inverse=True)
    distinct = int(index.max()) + 1
    if distinct == n:
        return float(values.std()) / math.sqrt(n)
    residuals = (values - values.mean()).flatten().numpy()
    sums = np.bincount(index.reshape(-1), weights=residuals)
    return math.sqrt(float(np.square(sums).sum()) * distinct / (distinct - 1)) / n
