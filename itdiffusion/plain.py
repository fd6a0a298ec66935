"""Kong, Brekelmans, Ver Steeg (2023) in one file: -log p by denoising errors, continuous (eq. 9), discrete (eq. 12).

`python -m itdiffusion.plain` takes about 25 seconds on one core: error curves and NLL of two 2-D densities beside the
truth, and the discrete NLL of two points under their exact denoiser. Fast path: `shapes.py`, `infolab/immse/`; the test
that both agree: tests/itdiffusion/test_itdiffusion_plain.py. a is the log-SNR, s the sigmoid, all results are in nats.
"""

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

N, TEST = 7200, 800  # points to train on and to test on
EPOCHS = 100  # the paper: 160
BATCH, LR, SIZE, HIDDEN = 128, 1e-3, 128, 128
LOC, SCALE, CLIP = 0.0, 3.0, 4.0  # logistic distribution of the log-SNR, cut at s(-CLIP) and s(CLIP)
CURVE, POINTS, SEED = (-6.0, -3.0, 0.0, 3.0, 6.0), 1000, 0  # log-SNRs of the printed curve; random ones of a test point

Batch = tuple[Tensor, Tensor, Tensor]  # x (b, d), a (b,), eps (b, d)
EpsHat = Callable[[Tensor, Tensor], Tensor]  # z (n, ...), a (n,) -> eps_hat


def channel(x: Tensor, a: Tensor, eps: Tensor) -> Tensor:
    """z = sqrt(s(a)) x + sqrt(s(-a)) eps (eq. 1) of x, eps (n, ...) at a (n,)."""
    a = a.reshape(-1, *[1] * (x.ndim - 1))
    return torch.sqrt(torch.sigmoid(a)) * x + torch.sqrt(torch.sigmoid(-a)) * eps


def draw_logsnr(n: int, source: torch.Generator, loc: float = LOC, scale: float = SCALE) -> Tensor:
    """Log-SNRs (n,) of the cut logistic distribution (app. B)."""
    edge = 1 / (1 + math.exp(CLIP))
    return loc + scale * torch.logit(edge + (1 - 2 * edge) * torch.rand(n, generator=source))


def weights_of(a: Tensor, loc: float = LOC, scale: float = SCALE) -> Tensor:
    """One over the density of `draw_logsnr` at a: a mean of weight times f(a) is the integral of f."""
    u = (a - loc) / scale
    return scale * math.tanh(CLIP / 2) / (torch.sigmoid(u) * torch.sigmoid(-u))


def nll(eps_hat: EpsHat, x: Tensor, a: Tensor, eps: Tensor) -> Tensor:
    """-log p(x) = d/2 log(2 pi e) + 1/2 Int E|eps - eps_hat|^2 - d s(a) da (eq. 9), one (a, eps) for each x (n, d)."""
    d = x.shape[1]
    gap = (eps - eps_hat(channel(x, a, eps), a)).square().sum(1) - d * torch.sigmoid(a)
    return d / 2 * math.log(2 * math.pi * math.e) + 0.5 * weights_of(a) * gap


def embed(v: Tensor, size: int, scale: float) -> Tensor:
    """Sines, then cosines (n, size), of scale v 10000^(-k/(h-1)), k = 0..h-1, h = size/2, for numbers v (n,)."""
    half = size // 2
    angle = v[:, None] * (scale * torch.exp(-math.log(10_000) / (half - 1) * torch.arange(half))).to(v)
    return torch.cat([angle.sin(), angle.cos()], dim=-1)


class Denoiser(nn.Module):
    """eps_hat(z, a) of a point in the plane: embeddings, three linear layers, ReLU between them."""

    def __init__(self, size: int = SIZE, hidden: int = HIDDEN):
        super().__init__()
        self.size = size
        self.layers = nn.Sequential(
            nn.Linear(3 * size, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 2)
        )

    def forward(self, z: Tensor, a: Tensor) -> Tensor:
        """eps_hat (n, 2) at z (n, 2), a (n,)."""
        features = [embed(z[:, 0], self.size, 100.0), embed(z[:, 1], self.size, 100.0), embed(a, self.size, 50.0)]
        return self.layers(torch.cat(features, dim=-1))


def epoch(x: Tensor, batch: int, source: torch.Generator) -> Iterable[Batch]:
    """Shuffled batches of the rows of x (n, d) with log-SNRs and noise; a remainder is left out."""
    for (rows,) in DataLoader(TensorDataset(x), batch, shuffle=True, drop_last=True, generator=source):
        yield rows, draw_logsnr(len(rows), source), torch.randn(rows.shape, generator=source)


def train(network: nn.Module, optimizer: torch.optim.Optimizer, batches: Iterable[Batch]) -> list[float]:
    """One optimiser step on the mean NLL of each batch; returns the losses before each step, nats."""
    losses = []
    for x, a, eps in batches:
        loss = nll(network, x, a, eps).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def soft_round(x_hat: Tensor, a: Tensor, levels: int = 256) -> Tensor:
    """sum_b b softmax_b(-(x_hat - b)^2 (1 + e^a) / 2) over the `levels` values b of a grid on [-1, 1]."""
    bins = torch.linspace(-1, 1, levels).to(x_hat)
    return torch.softmax(-0.5 * (1 + torch.exp(a)) * (x_hat[..., None] - bins) ** 2, -1) @ bins


def errors(eps_hat: EpsHat, x: Tensor, eps: Tensor, a: Tensor, variant: str, levels: int = 256) -> Tensor:
    """|eps - eps_hat|^2 (n,) of examples x (n, ...) on the grid at one log-SNR a (), by one call of the network.

    Variants: "raw", x_hat clamped to [-1, 1]; "rounded", softly rounded too; "dequantized", of x moved within its bin.
    """
    z, alpha, sigma = channel(x, a, eps), torch.sigmoid(a).sqrt(), torch.sigmoid(-a).sqrt()
    output = eps_hat(z, a.expand(len(x)))
    if variant == "dequantized":
        return (eps - output).square().flatten(1).sum(1)
    x_hat = ((z - sigma * output) / alpha).clamp(-1, 1)
    if variant == "rounded":
        x_hat = soft_round(x_hat, a, levels)
    return torch.exp(a) * (x - x_hat).square().flatten(1).sum(1)


def discrete_nll(weights: Tensor, raw: Tensor, rounded: Tensor, eigenvalues: Tensor, low: float) -> float:
    """1/2 Int E|eps - eps_hat|^2 da (eq. 12), the smaller error (J,) at each a; tail: 1/2 sum_i log(1 + e^low l_i)."""
    left = 0.5 * torch.log1p(math.exp(low) * eigenvalues).sum()
    return float(0.5 * (weights * torch.minimum(raw, rounded).double()).mean() + left)


class Mixture:
    """k equally likely Gaussians in the plane, centres (k, 2), one covariance (2, 2): the truth."""

    def __init__(self, centres: list[list[float]], covariance: list[list[float]]):
        self.centres, self.covariance = torch.tensor(centres), torch.tensor(covariance)

    def sample(self, n: int, source: torch.Generator) -> Tensor:
        """n points (n, 2)."""
        noise = torch.randn(n, 2, generator=source) @ torch.linalg.cholesky(self.covariance).T
        return self.centres[torch.randint(len(self.centres), (n,), generator=source)] + noise

    def log_prob(self, z: Tensor, a: float = math.inf) -> Tensor:
        """Log density (n,) of the mixture seen through the channel at a (inf: itself), at z (n, 2), nats."""
        clean = 1 / (1 + math.exp(-a))
        covariance = clean * self.covariance + (1 - clean) * torch.eye(2)
        one = torch.distributions.MultivariateNormal(math.sqrt(clean) * self.centres, covariance)
        return torch.logsumexp(one.log_prob(z[:, None]), 1) - math.log(len(self.centres))

    def eps_hat(self, z: Tensor, a: Tensor) -> Tensor:
        """The optimal denoiser (n, 2), -sqrt(s(-a)) grad log p_a(z), at one log-SNR, the same in all of a (n,)."""
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            (slope,) = torch.autograd.grad(self.log_prob(z, float(a[0])).sum(), z)
        return -torch.sigmoid(-a[:, None]).sqrt() * slope


DENSITIES = {
    "scg": Mixture([[0.0, 0.0]], [[1.0, -0.4950 / 0.5050], [-0.4950 / 0.5050, 1.0]]),  # entropy 1.2185 nats
    "four modes": Mixture([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]], [[0.04, 0.0], [0.0, 0.04]]),
}


def two_points(z: Tensor, a: Tensor) -> Tensor:
    """The optimal denoiser of x = -1 or 1, equally likely: x_hat = tanh(sqrt(s(a)) z / s(-a))."""
    alpha, sigma = torch.sigmoid(a)[:, None].sqrt(), torch.sigmoid(-a)[:, None].sqrt()
    return (z - alpha * torch.tanh(alpha * z / sigma**2)) / sigma


@torch.no_grad()
def main() -> dict[str, tuple[float, float]]:
    """Print curves and NLLs; returns each excess over the truth, nats, with its standard error."""
    source, excess = torch.Generator().manual_seed(SEED), {}
    for name, p in DENSITIES.items():
        x, test = p.sample(N, source), p.sample(TEST, source)
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            torch.manual_seed(SEED)
            network = Denoiser()
            optimizer = torch.optim.Adam(network.parameters(), lr=LR)
            for _ in range(EPOCHS):
                train(network, optimizer, epoch(x, BATCH, source))
        print(f"{name}: |eps - eps_hat|^2 of the network ({EPOCHS} epochs), of the optimal denoiser; {TEST} points")
        for a in torch.tensor(CURVE):
            eps = torch.randn(test.shape, generator=source)
            both = [errors(f, test, eps, a, "dequantized").mean() for f in (network, p.eps_hat)]
            print(f"  log-SNR {a:5.1f}: {both[0]:.3f}, {both[1]:.3f}")
        values, truth = torch.zeros(TEST), -p.log_prob(test)
        for _ in range(POINTS):
            values += nll(network, test, draw_logsnr(TEST, source), torch.randn(TEST, 2, generator=source)) / POINTS
        excess[name] = mean_and_se(values - truth)
        shown = (*mean_and_se(values), float(truth.mean()), *excess[name])
        print("  NLL {:.3f} +- {:.3f} nats, truth {:.3f}, excess {:.3f} +- {:.3f}".format(*shown))
    a, x = draw_logsnr(POINTS, source), 2.0 * torch.randint(2, (TEST, 1), generator=source) - 1
    rows = []
    for one in a:
        eps = torch.randn(x.shape, generator=source)
        rows.append([errors(two_points, x, eps, one, variant, 2).mean() for variant in ("raw", "rounded")])
    raw, rounded = torch.tensor(rows).T
    value = discrete_nll(weights_of(a), raw, rounded, torch.ones(1), LOC - CLIP * SCALE)
    se = mean_and_se(0.5 * weights_of(a) * torch.minimum(raw, rounded))[1]
    print(f"x = +-1: discrete NLL {value:.3f} +- {se:.3f} nats, truth log 2 = {math.log(2):.3f}")
    print("The paper: with the optimal denoiser eqs. 9 and 12 are equalities; any other gives an upper bound.")
    excess["two points"] = value - math.log(2), se
    return excess


def mean_and_se(values: Tensor) -> tuple[float, float]:
    """Mean and standard error of values (n,)."""
    return float(values.mean()), float(values.std()) / math.sqrt(len(values))


if __name__ == "__main__":
    main()
