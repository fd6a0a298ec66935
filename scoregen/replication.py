"""The loss and the VE schedule of the paper's replication, under their own names.

x_t = x + std(t) z, std(t)^2 = (c^(2t) - 1) / (2 log c), c = 25, and the loss |s(x + std z, t) std + z|^2 summed over
pixels, averaged over images, t uniform on (1e-5, 1). It is score matching with the weight sigma_t^2 under
`common.schedules.VE(25)`.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

BASE = 25.0
"""c of the VE schedule."""
T_EPS = 1e-5
"""Lower end of t."""


def marginal_std(t: Tensor, c: float = BASE) -> Tensor:
    """Standard deviation of x_t given x, sqrt((c^(2t) - 1) / (2 log c)), of the shape of t."""
    return torch.sqrt((c ** (2 * t) - 1) / (2 * math.log(c)))


def uniform_times(u: Tensor) -> Tensor:
    """Times t = u (1 - 1e-5) + 1e-5 from uniforms u on (0, 1)."""
    return u * (1 - T_EPS) + T_EPS


def replication_loss(score: Callable[[Tensor, Tensor], Tensor], x: Tensor, t: Tensor, z: Tensor) -> Tensor:
    """|s(x + std z, t) std + z|^2 of each image (n,), summed over pixels.

    Args:
        score: s(x_t, t).
        x: images (n, c, h, w), pixels in [0, 1].
        t: times (n,).
        z: standard normal noise of the shape of x.
    """
    std = marginal_std(t)[:, None, None, None]
    return (score(x + z * std, t) * std + z).square().sum((1, 2, 3))
