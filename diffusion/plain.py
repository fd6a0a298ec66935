"""Chen, Zhu, Shkurti (2025), diffusion half, in one file: the bound on the swiss roll for four diffusion times T.

`python -m diffusion.plain` takes about 30 seconds on one core. For a model trained to diffusion time T on m points

    bound = T1 + sqrt(2) R (T2 + T3) + score-matching loss,    all terms in nats, each a function below.

The plug-in reverse SDE is that of Huang, Lim, Courville (2021). Fast path: `toy.py`, `toy_evaluate.py`, with the terms
in `infolab/bound.py` (T1: `infolab/empirical.py`). Both give the same: tests/diffusion/test_diffusion_plain.py.
"""

import math
from collections import namedtuple
from collections.abc import Iterable, Iterator

import torch
from sklearn.neighbors import KernelDensity
from torch import Tensor, nn

M, TEST = 200, 1000  # training points; test points of the KL
TIMES = (0.2, 0.6, 1.0, 2.0)  # the paper: 0.2, 0.4, ..., 2.0
EPOCHS = 4000  # the paper: 10,000, five seeds; here one
BATCH, LR, HIDDEN = 256, 1e-3, 128
BETA_MIN, BETA_MAX = 0.1, 20.0
STEPS = 1000  # N, Euler-Maruyama steps of the sampler, on m paths
R = 5.0  # sub-Gaussian constant
DRAWS, ODE_STEPS = 1000, 100  # noise draws per training point in T1; Heun steps of the probability-flow ODE
NOISE, SEED = 0.5 / 5, 0  # sd of the swiss roll's noise, after the division by 5


def spiral(u: Tensor) -> Tensor:
    """The curve (theta cos theta, theta sin theta)/5, theta = 1.5 pi (1 + 2u), at u (n,) in (0, 1): points (n, 2)."""
    theta = 1.5 * math.pi * (1 + 2 * u)
    return torch.stack([theta * theta.cos(), theta * theta.sin()], dim=1) / 5


def swiss_roll(n: int, source: torch.Generator) -> Tensor:
    """n points (n, 2): uniform u on the curve plus N(0, NOISE^2 I), scikit-learn's swiss roll / 5."""
    return spiral(torch.rand(n, generator=source)) + NOISE * torch.randn(n, 2, generator=source)


def log_p0(x: Tensor, points: int = 20_000) -> Tensor:
    """log density (n,) of the swiss roll at x (n, 2), nats: the mean over the curve of the noise's density."""
    curve = spiral((torch.arange(points, dtype=torch.float64) + 0.5) / points)
    log_noise = -torch.cdist(x.double(), curve).square() / (2 * NOISE**2) - math.log(2 * math.pi * NOISE**2)
    return torch.logsumexp(log_noise, 1) - math.log(points)


def beta(t: Tensor) -> Tensor:
    """Rate of the forward SDE dx = -beta/2 x dt + sqrt(beta) dw (Song et al. 2021, eq. 11): b0 + (b1 - b0) t = g^2."""
    return BETA_MIN + (BETA_MAX - BETA_MIN) * t


def marginal(t: Tensor) -> tuple[Tensor, Tensor]:
    """alpha_t and sigma_t of x_t = alpha_t x0 + sigma_t eps: exp(-1/2 Int_0^t beta) and sqrt(1 - alpha_t^2)."""
    integral = BETA_MIN * t + (BETA_MAX - BETA_MIN) * t**2 / 2
    return torch.exp(-integral / 2), torch.sqrt(-torch.expm1(-integral))


def make_network(hidden: int = HIDDEN, d: int = 2) -> nn.Sequential:
    """The network a(x, t) = g s: d + 1 inputs, three hidden layers with SiLU, d outputs."""
    return nn.Sequential(
        nn.Linear(d + 1, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(),
        nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, d),
    )  # fmt: skip


def score(network: nn.Module, x: Tensor, t: Tensor) -> Tensor:
    """s(x, t) = a(x, t) / g(t) at points x (n, d) and times t (n,)."""
    return network(torch.cat([x, t[:, None]], dim=1)) / beta(t).sqrt()[:, None]


def denoising_losses(network: nn.Module, x0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
    """1/2 |sigma_t s(alpha_t x0 + sigma_t eps, t) + eps|^2 of each point, (n,): training loss and last term, nats."""
    alpha, sigma = marginal(t)
    s = score(network, alpha[:, None] * x0 + sigma[:, None] * eps, t)
    return 0.5 * (sigma[:, None] * s + eps).square().sum(1)


def epochs(x0: Tensor, T: float, count: int, batch: int, source: torch.Generator) -> Iterator[tuple[Tensor, ...]]:
    """Batches of `count` passes over x0 (m, d) in random order, with t ~ U(0, T) and eps ~ N(0, I)."""
    for _ in range(count):
        for index in torch.randperm(len(x0), generator=source).split(batch):
            t = T * torch.rand(len(index), generator=source)
            yield x0[index], t, torch.randn(len(index), x0.shape[1], generator=source)


def train(network: nn.Module, batches: Iterable[tuple[Tensor, ...]], lr: float = LR) -> list[float]:
    """One Adam step on the mean denoising loss of each batch; returns the losses before each step, nats."""
    optimizer = torch.optim.Adam(network.parameters(), lr=lr)
    losses = []
    for x0, t, eps in batches:
        loss = denoising_losses(network, x0, t, eps).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def term1(x0: Tensor, T: float, draws: int, source: torch.Generator, points: int | None = None) -> tuple[float, float]:
    """T1 = -(1/m) sum_i KL(N(alpha_T x_i, sigma_T^2 I) || their mixture), in [-log m, 0], and its standard error."""
    alpha, sigma = (float(value) for value in marginal(torch.tensor(T, dtype=torch.float64)))
    d, data = x0.shape[1], x0.double().numpy()
    mixture = KernelDensity(bandwidth=sigma).fit(alpha * data)
    kls, variances = [], []
    for x in data[:points]:
        eps = torch.randn(draws, d, generator=source, dtype=torch.float64).numpy()
        log_own = -0.5 * (eps**2).sum(1) - d * (math.log(sigma) + 0.5 * math.log(2 * math.pi))
        log_ratio = log_own - mixture.score_samples(alpha * x + sigma * eps)
        kls.append(log_ratio.mean())
        variances.append(log_ratio.var(ddof=1) / draws)
    return -float(sum(kls) / len(kls)), math.sqrt(sum(variances) / len(variances) / len(x0))


def term2(x0: Tensor, T: float) -> float:
    """T2 = (1/m) sum_i sqrt(KL(N(alpha_T x_i, sigma_T^2 I) || N(0, I)))."""
    alpha, sigma = marginal(torch.tensor(T, dtype=torch.float64))
    kl = 0.5 * (alpha**2 * x0.double().square() + sigma**2 - 1 - torch.log(sigma**2)).sum(1)
    return float(kl.clamp(min=0).sqrt().mean())


def term3(L: float, T: float, m: int, steps: int) -> float:
    """T3 = sqrt(T L^2 / (2 m N) sum_k beta(t_k)), t_k = k T / N for k = 0 .. N - 1."""
    return L * math.sqrt(T / (2 * m * steps) * float(beta(torch.arange(steps) * T / steps).double().sum()))


@torch.no_grad()
def sampler_score_norm(
    network: nn.Module, n: int, T: float, steps: int, source: torch.Generator
) -> tuple[float, float]:
    """L, the largest over reverse steps (Huang et al., eq. 19) of the mean |s| of n paths, and its standard error."""
    x, size, largest, error = torch.randn(n, 2, generator=source), T / steps, 0.0, 0.0
    for k in range(steps):
        t = torch.full((len(x),), T * (1 - k / steps))
        s = score(network, x, t)
        norms = s.norm(dim=1)
        if norms.mean() > largest:
            largest, error = float(norms.mean()), float(norms.std()) / math.sqrt(len(x))
        rate = beta(t)[:, None]
        x = x + (0.5 * rate * x + rate * s) * size + torch.sqrt(rate * size) * torch.randn(n, 2, generator=source)
    return largest, error


Bound = namedtuple("Bound", "term1 term2 score_norm term3 score_loss_nats nats se")


def bound(network: nn.Module, x0: Tensor, T: float, first: tuple[float, float], source: torch.Generator) -> Bound:
    """The bound of a network on its training set x0 (m, 2), and the error of its noise; `first`: T1 with its error."""
    m, second = len(x0), term2(x0, T)
    L, L_se = sampler_score_norm(network, m, T, STEPS, source)
    third = term3(L, T, m, STEPS)
    with torch.no_grad():
        eps, t = torch.randn(x0.shape, generator=source), T * torch.rand(m, generator=source)
        losses = denoising_losses(network, x0, t, eps).double()
    factor, loss = math.sqrt(2) * R, float(losses.mean())
    se = math.hypot(first[1], factor * third * L_se / L, float(losses.std()) / math.sqrt(m))
    return Bound(first[0], second, L, third, loss, first[0] + factor * (second + third) + loss, se)


def log_likelihood(network: nn.Module, x: Tensor, T: float, steps: int) -> Tensor:
    """log p_theta (n,) at x (n, d) by the ODE dx = -beta/2 (x + s) dt from 0 to T (Song et al. 2021, eq. 39), nats."""

    def field(x: Tensor, t: float) -> tuple[Tensor, Tensor]:
        x, times = x.detach().requires_grad_(), torch.full((len(x),), t)
        dx = -0.5 * beta(times)[:, None] * (x + score(network, x, times))
        slopes = [torch.autograd.grad(dx[:, i].sum(), x, retain_graph=True)[0][:, i] for i in range(x.shape[1])]
        return dx.detach(), torch.stack(slopes).sum(0)

    log_p, h = torch.zeros(len(x)), T / steps
    for k in range(steps):
        dx, divergence = field(x, k * h)
        dx_next, divergence_next = field(x + h * dx, (k + 1) * h)
        x, log_p = x + h / 2 * (dx + dx_next), log_p + h / 2 * (divergence + divergence_next)
    return log_p - 0.5 * x.square().sum(1) - x.shape[1] / 2 * math.log(2 * math.pi)


def main() -> list[tuple[float, Bound, float, float]]:
    """Train one network for each T, print and return its bound and its exact test KL with its standard error."""
    source = torch.Generator().manual_seed(SEED)
    x0, test = swiss_roll(M, source), swiss_roll(TEST, source)
    print(f"Swiss roll, m = {M}, {EPOCHS} epochs, R = {R:g}, {STEPS} sampler steps; nats, +- one standard error")
    print("   T      T1     T2     T3  score loss          bound   test KL(p || p_theta)     L")
    rows = []
    for T in TIMES:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            network = make_network()
        train(network, epochs(x0, T, EPOCHS, BATCH, source))
        b = bound(network, x0, T, term1(x0, T, DRAWS, source), source)
        kls = log_p0(test) - log_likelihood(network, test, T, ODE_STEPS)
        rows.append((T, b, float(kls.mean()), float(kls.std()) / math.sqrt(TEST)))
        print(f"{T:4.1f} {b.term1:7.3f} {b.term2:6.3f} {b.term3:6.3f} {b.score_loss_nats:11.3f} {b.nats:7.2f} +- "
              f"{b.se:.2f} {rows[-1][2]:12.3f} +- {rows[-1][3]:.3f} {b.score_norm:9.2f}")  # fmt: skip
    print("The paper (10,000 epochs, 5 seeds): bound and test KL fall, then rise in T; best T 0.4 to 0.6. With fewer")
    print("epochs the least bound is at a larger T and the least KL at a smaller one.")
    return rows


if __name__ == "__main__":
    main()
