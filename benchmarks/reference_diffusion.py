"""Plain reference of the 2-D study of Chen, Zhu, Shkurti (2025): one network at a time, each term as it is written.

The published algorithm with its mathematical faults mended (variance sigma_T^2, kernel bandwidth sigma_T, forward times
in a sampler that starts at N(0, I)), in the libraries one would reach for: torch.nn, torch.optim, scikit-learn.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.neighbors import KernelDensity
from torch import Tensor, nn

BETA_MIN, BETA_MAX = 0.1, 20.0

Batch = tuple[Tensor, Tensor, Tensor]
"""x0 (b, d), t (b,), eps (b, d)."""


def beta(t: Tensor) -> Tensor:
    """Rate of the VP SDE, beta(t) = b0 + (b1 - b0) t."""
    return BETA_MIN + (BETA_MAX - BETA_MIN) * t


def marginal(t: Tensor) -> tuple[Tensor, Tensor]:
    """alpha_t and sigma_t of x_t = alpha_t x0 + sigma_t eps."""
    integral = BETA_MIN * t + (BETA_MAX - BETA_MIN) * t**2 / 2
    return torch.exp(-integral / 2), torch.sqrt(-torch.expm1(-integral))


def make_network(hidden: int = 128, d: int = 2) -> nn.Sequential:
    """The network a(x, t) = g s of the study: d + 1 inputs, three hidden layers with SiLU, d outputs."""
    return nn.Sequential(
        nn.Linear(d + 1, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(),
        nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, d),
    )  # fmt: skip


def score(network: nn.Module, x: Tensor, t: Tensor) -> Tensor:
    """s(x, t) = a(x, t) / g(t) at points x (n, d) and times t (n,)."""
    return network(torch.cat([x, t[:, None]], dim=1)) / beta(t).sqrt()[:, None]


def epochs(x0: Tensor, T: float, count: int, batch: int, source: torch.Generator) -> Iterator[Batch]:
    """Batches of `count` passes over x0 (m, d) in random order, with t ~ U(0, T) and eps ~ N(0, I)."""
    for _ in range(count):
        for index in torch.randperm(len(x0), generator=source).split(batch):
            yield (
                x0[index],
                T * torch.rand(len(index), generator=source),
                torch.randn(len(index), x0.shape[1], generator=source),
            )


def train(network: nn.Module, batches: Iterable[Batch], lr: float = 1e-3) -> list[float]:
    """One Adam step on E 1/2 |sigma_t s(x_t, t) + eps|^2 for each batch; returns the losses before each step."""
    optimizer = torch.optim.Adam(network.parameters(), lr=lr)
    losses = []
    for x0, t, eps in batches:
        loss = denoising_losses(network, x0, t, eps).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def denoising_losses(network: nn.Module, x0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
    """1/2 |sigma_t s(alpha_t x0 + sigma_t eps, t) + eps|^2 of each point, (n,)."""
    alpha, sigma = marginal(t)
    x_t = alpha[:, None] * x0 + sigma[:, None] * eps
    return 0.5 * (sigma[:, None] * score(network, x_t, t) + eps).square().sum(1)


@dataclass(frozen=True)
class Bound:
    """The bound of one network term by term, with the standard error that its noise leaves in it, in nats."""

    term1: float
    term2: float
    score_norm: float
    term3: float
    score_loss_nats: float
    nats: float
    se: float


def bound(
    network: nn.Module,
    x0: Tensor,
    T: float,
    seed: int,
    *,
    R: float = 5.0,
    draws: int = 1000,
    steps: int = 1000,
    term1_points: int | None = None,
    clock: Callable[[str], None] = lambda part: None,
) -> Bound:
    """T1 + sqrt(2) R (T2 + T3) + score loss (the published variant) of a network on its training set.

    Args:
        network: a(x, t) = g s.
        x0: training set (m, d).
        T: diffusion time.
        seed: of all noise.
        R: sub-Gaussian constant.
        draws: noise draws per training point in T1.
        steps: N, Euler-Maruyama steps, on m paths.
        term1_points: T1 over this many points only (all m if None).
        clock: called with "term1" and "rest" when that part is done.
    """
    rng = np.random.default_rng(seed)
    source = torch.Generator().manual_seed(seed)
    m = len(x0)
    first, first_se = term1(x0.double().numpy(), T, draws, rng, m if term1_points is None else term1_points)
    clock("term1")
    second = term2(x0.double().numpy(), T)
    norm, norm_se = sampler_score_norm(network, (m, x0.shape[1]), T, steps, source)
    per_norm = math.sqrt(T / (2 * m * steps) * float(beta(torch.arange(steps) * T / steps).sum()))
    with torch.no_grad():
        noise = torch.randn(x0.shape, generator=source)
        losses = denoising_losses(network, x0, T * torch.rand(m, generator=source), noise).double()
    clock("rest")
    factor = math.sqrt(2) * R
    return Bound(
        term1=first,
        term2=second,
        score_norm=norm,
        term3=per_norm * norm,
        score_loss_nats=float(losses.mean()),
        nats=first + factor * (second + per_norm * norm) + float(losses.mean()),
        se=math.hypot(first_se, factor * per_norm * norm_se, float(losses.std()) / math.sqrt(m)),
    )


def term1(x0: np.ndarray, T: float, draws: int, rng: np.random.Generator, points: int) -> tuple[float, float]:
    """-(1/m) sum_i KL(E_T(x_i) || mixture) by `draws` noise points per training point, and its standard error."""
    alpha, sigma = _end(T)
    d = x0.shape[1]
    mixture = KernelDensity(bandwidth=sigma).fit(alpha * x0)
    kls, variances = [], []
    for x in x0[:points]:
        eps = rng.standard_normal((draws, d))
        log_own = -0.5 * (eps**2).sum(1) - d * (math.log(sigma) + 0.5 * math.log(2 * math.pi))
        log_ratio = log_own - mixture.score_samples(alpha * x + sigma * eps)
        kls.append(log_ratio.mean())
        variances.append(log_ratio.var(ddof=1) / draws)
    # The error of a run over all m points, also where only some of them were run: the noise is all that varies then.
    return -float(np.mean(kls)), math.sqrt(np.mean(variances) / len(x0))


def term2(x0: np.ndarray, T: float) -> float:
    """(1/m) sum_i sqrt(KL(N(alpha x_i, sigma^2 I) || N(0, I)))."""
    alpha, sigma = _end(T)
    d = x0.shape[1]
    roots = []
    for x in x0:
        kl = 0.5 * (d * sigma**2 + alpha**2 * (x**2).sum() - d - d * math.log(sigma**2))
        roots.append(math.sqrt(max(kl, 0.0)))
    return float(np.mean(roots))


@torch.no_grad()
def sampler_score_norm(
    network: nn.Module, shape: tuple[int, int], T: float, steps: int, source: torch.Generator
) -> tuple[float, float]:
    """L, the largest over Euler-Maruyama steps of the mean score norm over the paths, and its standard error."""
    x = torch.randn(shape, generator=source)
    size = T / steps
    largest, error = 0.0, 0.0
    for k in range(steps):
        t = torch.full((len(x),), T * (1 - k / steps))
        s = score(network, x, t)
        norms = s.norm(dim=1)
        if norms.mean() > largest:
            largest, error = float(norms.mean()), float(norms.std()) / math.sqrt(len(x))
        rate = beta(t)[:, None]
        x = x + (0.5 * rate * x + rate * s) * size + torch.sqrt(rate * size) * torch.randn(shape, generator=source)
    return largest, error


def _end(T: float) -> tuple[float, float]:
    alpha, sigma = marginal(torch.tensor(T, dtype=torch.float64))
    return float(alpha), float(sigma)
