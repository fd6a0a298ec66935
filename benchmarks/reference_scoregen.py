"""Plain reference of the 1-D study of Li, Li, Zhang, Bian (2023): one network at a time, its KL by an ODE solver.

The published algorithm in the libraries one would reach for: torch.nn, torch.optim, torchdiffeq.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torchdiffeq import odeint

BETA_MIN, BETA_MAX = 0.1, 20.0

Batch = tuple[Tensor, Tensor, Tensor]
"""x0 (b, 1), t (b, 1), eps (b, 1)."""


class ScoreNetwork(nn.Module):
    """s(x, t) = (1/sqrt(m)) A silu(W (x, t) + b), m hidden units."""

    def __init__(self, width: int):
        super().__init__()
        self.hidden, self.out = nn.Linear(2, width), nn.Linear(width, 1, bias=False)
        self.scale = 1 / math.sqrt(width)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Scores (n, 1) at points x (n, 1) and times t (n, 1)."""
        return self.scale * self.out(nn.functional.silu(self.hidden(torch.cat([x, t], dim=1))))


def beta(t: Tensor) -> Tensor:
    """Rate of the VP SDE."""
    return BETA_MIN + (BETA_MAX - BETA_MIN) * t


def marginal(t: Tensor) -> tuple[Tensor, Tensor]:
    """alpha_t and sigma_t of x_t = alpha_t x0 + sigma_t eps."""
    integral = BETA_MIN * t + (BETA_MAX - BETA_MIN) * t**2 / 2
    return torch.exp(-integral / 2), torch.sqrt(-torch.expm1(-integral))


def draw(x0: Tensor, size: int, source: torch.Generator) -> list[Batch]:
    """The batches of one epoch over x0 (n, 1), in random order, with t ~ U(0, 1) and eps ~ N(0, 1)."""
    order = torch.randperm(len(x0), generator=source) if size < len(x0) else torch.arange(len(x0))
    return [
        (x0[rows], torch.rand(len(rows), 1, generator=source), torch.randn(len(rows), 1, generator=source))
        for rows in order.split(size)
    ]


def train_epoch(network: ScoreNetwork, optimizer: torch.optim.Optimizer, batches: list[Batch]) -> float:
    """One step on the mean of |sigma_t s(x_t, t) + eps|^2 for each batch; returns the last loss before its step."""
    for x0, t, eps in batches:
        alpha, sigma = marginal(t)
        loss = (sigma * network(alpha * x0 + sigma * eps, t) + eps).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return float(loss.detach())


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
