"""Beside `scoregen.plain`, for the speed rows of the 1-D study: the KL by an adaptive solver, and the stopping rule."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torchdiffeq import odeint

from scoregen.plain import Batch, ScoreNetwork, beta, train_epoch


def kl(network: ScoreNetwork, log_p0: Callable[[Tensor], Tensor], reach: float, tolerance: float = 1e-5) -> float:
    """KL(p0 || p_theta) on 0.2-spaced points of (-reach, reach): dopri5, divergence by autograd, trapezoid rule."""
    half = math.ceil(reach / 0.2)
    x = 0.2 * torch.arange(-half, half + 1, dtype=torch.float64)

    def field(t: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            points = state[0].float().detach().requires_grad_()
            s = network(points[:, None], t.float().expand(len(points), 1))[:, 0]
            (slope,) = torch.autograd.grad(s.sum(), points)
        rate = beta(t) / 2
        return -rate * (state[0] + s.detach().double()), -rate * (1 + slope.double())

    times = torch.tensor([0.0, 1.0], dtype=torch.float64)
    with torch.no_grad():
        ends, logs = odeint(field, (x, torch.zeros_like(x)), times, rtol=tolerance, atol=tolerance, method="dopri5")
    log_p = -0.5 * ends[-1].square() - 0.5 * math.log(2 * math.pi) + logs[-1]
    truth = log_p0(x)
    return float(torch.trapezoid(truth.exp() * (truth - log_p), x))


def train_until_small(
    network: ScoreNetwork,
    x0: Tensor,
    log_p0: Callable[[Tensor], Tensor],
    batches: Callable[[int], list[Batch]],
    *,
    lr: float = 1e-3,
    epochs: int = 10_000,
    early: int = 1000,
    every: int = 50,
    threshold: float = 0.1,
    reach: float = 11.0,
) -> list[tuple[int, float]]:
    """Adam until epoch `early` is past and a KL <= threshold was seen; returns (epoch, KL) of every look."""
    optimizer = torch.optim.Adam(network.parameters(), lr=lr)
    looks: list[tuple[int, float]] = []
    for epoch in range(1, epochs + 1):
        train_epoch(network, optimizer, batches(epoch - 1))
        if epoch % every == 0:
            looks.append((epoch, kl(network, log_p0, reach)))
            if epoch >= early and min(value for _, value in looks) <= threshold:
                break
    return looks
