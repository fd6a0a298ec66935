"""Li, Li, Zhang, Bian (2023) in one file: the KL of a score network over its training on a 1-D mixture, early stopping.

`python -m scoregen.plain` takes about 30 seconds on one core. A one-hidden-layer network learns the score of
p0 = 1/2 N(-mu, 1) + 1/2 N(mu, 1) from n points; KL(p0 || p_theta) first falls and then, as the network begins to fit
the sample, rises: stopped early, the theorem bounds it by O(n^(-2/5) + m^(-4/5)), m the number of hidden units. The
KL is exact (flow and quadrature), not from samples. Fast path: `batch.py`, `infolab/kl.py`; the test that both give
the same numbers: tests/scoregen/test_scoregen_plain.py.
"""

import itertools
import math

import torch
from torch import Tensor, nn

MU = 3.0  # the modes are at -MU and MU, standard deviation 1
SAMPLES = (100, 1000)  # n; the paper's figure: 1,000
SEEDS = (0, 1, 2)
WIDTH = 512  # m; the paper gives none for this figure, its capacity figure goes from 2 to 2,048
LR, EPOCHS = 1e-3, 2000  # Adam, full batch
EVERY = 100  # epochs between looks at the KL
BETA_MIN, BETA_MAX = 0.1, 20.0  # VP schedule, T = 1 (not given in the paper)
GRID_STEP, GRID_REACH = 0.2, 8.0  # of the KL's quadrature; reach beyond the modes
FLOW_STEPS = 32  # fourth-order Runge-Kutta steps of the flow: the KL is good to 1e-4 nats

Batch = tuple[Tensor, Tensor, Tensor]
"""x0 (b, 1), t (b, 1), eps (b, 1)."""


def sample_modes(n: int, source: torch.Generator) -> Tensor:
    """n points (n, 1) of p0 = 1/2 N(-MU, 1) + 1/2 N(MU, 1)."""
    sign = 2.0 * torch.randint(2, (n, 1), generator=source) - 1
    return MU * sign + torch.randn(n, 1, generator=source)


def log_p0(x: Tensor) -> Tensor:
    """log p0 (g,) at x (g,), nats."""
    logs = [-0.5 * (x - mode).square() - 0.5 * math.log(2 * math.pi) + math.log(0.5) for mode in (-MU, MU)]
    return torch.logaddexp(*logs)


def beta(t: Tensor) -> Tensor:
    """Rate of the forward SDE dx = -beta/2 x dt + sqrt(beta) dw (Song et al. 2021, eq. 11)."""
    return BETA_MIN + (BETA_MAX - BETA_MIN) * t


def marginal(t: Tensor) -> tuple[Tensor, Tensor]:
    """alpha_t and sigma_t of x_t = alpha_t x0 + sigma_t eps: exp(-1/2 Int_0^t beta) and sqrt(1 - alpha_t^2)."""
    integral = BETA_MIN * t + (BETA_MAX - BETA_MIN) * t**2 / 2
    return torch.exp(-integral / 2), torch.sqrt(-torch.expm1(-integral))


class ScoreNetwork(nn.Module):
    """s(x, t) = (1/sqrt(m)) A silu(W (x, t) + b), m hidden units, all weights trained."""

    def __init__(self, width: int):
        super().__init__()
        self.hidden, self.out = nn.Linear(2, width), nn.Linear(width, 1, bias=False)
        self.scale = 1 / math.sqrt(width)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Scores (n, 1) at points x (n, 1) and times t (n, 1)."""
        return self.scale * self.out(nn.functional.silu(self.hidden(torch.cat([x, t], dim=1))))


def draw(x0: Tensor, size: int, source: torch.Generator) -> list[Batch]:
    """The batches of one epoch over x0 (n, 1), in random order, with t ~ U(0, 1) and eps ~ N(0, 1)."""
    order = torch.randperm(len(x0), generator=source) if size < len(x0) else torch.arange(len(x0))
    return [
        (x0[rows], torch.rand(len(rows), 1, generator=source), torch.randn(len(rows), 1, generator=source))
        for rows in order.split(size)
    ]


def train_epoch(network: nn.Module, optimizer: torch.optim.Optimizer, batches: list[Batch]) -> None:
    """One step on the loss E lambda(t) |s(x_t, t) + eps/sigma_t|^2, lambda = sigma_t^2, for each batch."""
    for x0, t, eps in batches:
        alpha, sigma = marginal(t)
        loss = (sigma * network(alpha * x0 + sigma * eps, t) + eps).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def log_p(network: nn.Module, x: Tensor, steps: int) -> Tensor:
    """log p_theta (g,) at x (g,) by the flow dx = -beta/2 (x + s) dt from t = 0 to 1, where it is N(0, 1); nats."""

    def field(x: Tensor, t: float) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            points = x.float().requires_grad_()
            s = network(points[:, None], torch.full((len(x), 1), t))[:, 0]
            (slope,) = torch.autograd.grad(s.sum(), points)
        rate = (BETA_MIN + (BETA_MAX - BETA_MIN) * t) / 2
        return -rate * (x + s.detach().double()), -rate * (1 + slope.double())

    x, log_det = x.double(), torch.zeros_like(x)
    ends = torch.linspace(0, 1, steps + 1, dtype=torch.float64).square().tolist()  # short steps where noise is small
    for t, end in itertools.pairwise(ends):
        h = end - t
        k1, d1 = field(x, t)
        k2, d2 = field(x + h / 2 * k1, t + h / 2)
        k3, d3 = field(x + h / 2 * k2, t + h / 2)
        k4, d4 = field(x + h * k3, end)
        x, log_det = x + h / 6 * (k1 + 2 * (k2 + k3) + k4), log_det + h / 6 * (d1 + 2 * (d2 + d3) + d4)
    return log_det - 0.5 * x.square() - 0.5 * math.log(2 * math.pi)


def kl(network: nn.Module, steps: int) -> float:
    """KL(p0 || p_theta) = Int p0 (log p0 - log p_theta) dx by the trapezoid rule, nats."""
    half = math.ceil((MU + GRID_REACH) / GRID_STEP)
    x = GRID_STEP * torch.arange(-half, half + 1, dtype=torch.float64)
    truth = log_p0(x)
    return float(torch.trapezoid(truth.exp() * (truth - log_p(network, x, steps)), x))


def train(n: int, seed: int) -> list[float]:
    """The KL, nats, of one network on n points at every EVERY-th epoch; weights start from N(0, 1)."""
    source = torch.Generator().manual_seed(seed)
    x0, network = sample_modes(n, source), ScoreNetwork(WIDTH)
    for weight in network.parameters():
        nn.init.normal_(weight, generator=source)
    optimizer = torch.optim.Adam(network.parameters(), lr=LR)
    looks = []
    for epoch in range(1, EPOCHS + 1):
        train_epoch(network, optimizer, draw(x0, n, source))
        if epoch % EVERY == 0:
            looks.append(kl(network, FLOW_STEPS))
    return looks


def main() -> dict[int, Tensor]:
    """Print the KL over the epochs and at the early-stopped epoch for each n; returns the curves (seeds, looks)."""
    print(f"KL(p0 || p_theta), nats, modes at +-{MU:g}, {WIDTH} hidden units, Adam {LR:g}; mean +- one standard error")
    print(f"over {len(SEEDS)} seeds. Each is stopped at the epoch of its least KL, looked at every {EVERY} epochs.")
    curves = {n: torch.tensor([train(n, seed) for seed in SEEDS]) for n in SAMPLES}
    for n, curve in curves.items():
        for k in range(len(curve[0]) // 4 - 1, len(curve[0]), max(1, len(curve[0]) // 4)):
            print(f"n = {n:5}: epoch {EVERY * (k + 1):5}: {mean_and_se(curve[:, k])}")
        stops = (EVERY * (curve.argmin(1) + 1)).tolist()
        print(f"n = {n:5}: stopped early at {stops}: {mean_and_se(curve.min(1).values)}")
    print("The paper (n = 1,000, Adam): least KL about 0.05 near epoch 1,000, then oscillation; stopped KL falls in n.")
    return curves


def mean_and_se(values: Tensor) -> str:
    """Mean and standard error of values (k,), as text."""
    return f"{float(values.mean()):.3f} +- {float(values.std()) / math.sqrt(len(values)):.3f}"


if __name__ == "__main__":
    main()
