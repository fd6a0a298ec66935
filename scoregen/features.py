"""The theorem's model against the sample size: random features on their exact gradient flow, in closed form."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from infolab.config import EXCLUDED_FROM_RUN_ID, default_device
from infolab.errors import UserError, run_main
from infolab.kl import GridDensity, flow_steps, grid_density, mode_grid, of_slopes
from infolab.results import write
from infolab.runs import Run
from infolab.schedules import VP
from infolab.storage import Keep, Pieces, unkept
from infolab.sweep import Cost, Experiment, run_sweep
from infolab.toy import two_modes
from scoregen.batch import kl_columns, training_points
from scoregen.network import ScoreConfig, frozen_features
from scoregen.tables import ScoreKl

# ----------
# The exact gradient flow of a random-feature score network: all training times in closed form, without noise.

TIMES = 16
"""Gauss-Legendre times of the loss, where nothing but smooth functions of t is integrated."""
BINS = 128
"""Bins in x at each time; the noised empirical distribution keeps its exact mass in each of them."""
NODES = TIMES * BINS


@dataclass(frozen=True)
class EmpiricalLoss:
    """The denoising loss of n points as a regression on (t, x) nodes, exactly averaged over the noise.

    E_t sigma^2 E|s + eps/sigma|^2 = sum_q w_q (s_q - target_q)^2 + a constant: w the noised empirical law's mass in bin
    q times sigma_t^2 and the weight of t; target = (p(right edge) - p(left edge)) / mass, the bin's mean of the
    empirical score, so that sum w s target = Int s dp = -E ds/dx as it must be.

    Attributes:
        t, x: nodes (q,), bin by bin at each time.
        weight: w (q,).
        target: (q,).
    """

    t: Tensor
    x: Tensor
    weight: Tensor
    target: Tensor


def empirical_loss(points: Tensor, schedule: VP, reach: float) -> EmpiricalLoss:
    """The loss of training `points` (n,) on bins over (-reach, reach), float64."""
    nodes, weights = np.polynomial.legendre.leggauss(TIMES)
    t = torch.from_numpy((nodes + 1) / 2)
    level = schedule.at(t)
    edges = torch.linspace(-reach, reach, BINS + 1, dtype=torch.float64)
    x0 = points.double()
    mass, rise = [], []
    for alpha, sigma in zip(level.alpha, level.sigma, strict=True):
        u = (edges[:, None] - alpha * x0) / sigma
        mass.append(torch.special.ndtr(u).mean(1).diff())
        rise.append((torch.exp(-u.square() / 2) / (np.sqrt(2 * np.pi) * sigma)).mean(1).diff())
    masses, rises = torch.stack(mass), torch.stack(rise)
    inside = masses > 1e-12
    middle = (edges[1:] + edges[:-1]) / 2
    return EmpiricalLoss(
        t=t[:, None].expand(-1, BINS).reshape(-1),
        x=middle.expand(TIMES, -1).reshape(-1),
        weight=(torch.from_numpy(weights / 2)[:, None] * level.sigma.square()[:, None] * masses * inside).reshape(-1),
        target=torch.where(inside, rises / masses.clamp(min=1e-300), 0.0).reshape(-1),
    )


def flow_weights(hidden: Tensor, loss: EmpiricalLoss, taus: Sequence[float]) -> Tensor:
    """A(tau) of s = (1/m) A relu(hidden) on the flow dA/dtau = -(m/2) grad_A loss from A = 0, (taus, m) float64.

    With X = W^(1/2) Phi / sqrt(m) and X = U S V^T it is A = sqrt(m) V (1 - e^(-S^2 tau)) / S U^T W^(1/2) target: X has
    at most 2,048 rows, so one eigenvalue problem of that size (or m) serves any m and all times.

    Args:
        hidden: W and U, (3, m).
        loss: nodes, weights, targets.
        taus: training times.
    """
    m = hidden.shape[1]
    kept = loss.weight > 0
    root = loss.weight[kept].sqrt()
    inputs = torch.stack([loss.x[kept], loss.t[kept], torch.ones_like(root)], 1)
    X = (inputs @ hidden.double()).relu_().mul_(root[:, None] / m**0.5)
    y = root * loss.target[kept]
    tall = len(X) > m
    values, vectors = torch.linalg.eigh(X.T @ X if tall else X @ X.T)
    values = values.clamp(min=0)
    projected = vectors.T @ (X.T @ y if tall else y)
    tau = torch.tensor(list(taus), dtype=torch.float64)[:, None]
    # (1 - e^(-l tau)) / l, which is tau at l = 0
    gain = torch.where(values > 1e-14, -torch.expm1(-values * tau) / values.clamp(min=1e-14), tau)
    A = (gain * projected) @ vectors.T
    return m**0.5 * (A if tall else A @ X)


class FeatureScores:
    """Scores of networks that share their ReLU features and differ in A, from the sorted kinks of the features.

    At one time a sum of ReLUs in x is piecewise linear, so prefix sums over the kinks give value and slope
    at any number of points in log m time each.

    Args:
        hidden: W and U, (3, m), W = +-1.
        weights: A of each network (k, m), float64.
    """

    def __init__(self, hidden: Tensor, weights: Tensor):
        self.hidden, self.weights = hidden.double(), weights / hidden.shape[1]

    def __call__(self, x: Tensor, t: float) -> tuple[Tensor, Tensor]:
        """Scores and slopes (k, g) at points x (k, g), all at one time t."""
        sign = self.hidden[0]
        kink, order = torch.sort(-sign * (t * self.hidden[1] + self.hidden[2]))
        right = (sign[order] > 0).double()
        a = self.weights[:, order]
        # A unit of W = 1 adds a (x - kink) right of its kink, one of W = -1 adds a (kink - x) left of it.
        from_left, from_right = a * right, a * (1 - right)
        slope = _before(from_left) - _after(from_right)
        offset = _after(from_right * kink) - _before(from_left * kink)
        place = torch.searchsorted(kink, x.double().contiguous())
        found = slope.gather(1, place)
        return found * x + offset.gather(1, place), found


def _before(values: Tensor) -> Tensor:
    """Sums of the first 0, 1, .., m values, (k, m + 1)."""
    return torch.nn.functional.pad(values.cumsum(1), (1, 0))


def _after(values: Tensor) -> Tensor:
    """Sums of what is left behind the first 0, 1, .., m values, (k, m + 1)."""
    return values.sum(1, keepdim=True) - _before(values)


# ----------
# The theorem's model against the sample size: random features on their exact gradient flow, at m = n and at fixed m.
#
# `python -m scoregen.features [smoke|quick|paper] [--flags]`; `sh scoregen/run_features.sh` does the same. Whatever
# --device says, it computes on the CPU: the flow is in closed form, in float64.

BEYOND = 5.0
"""Data units beyond the modes to which the loss is integrated."""
KINKED_GRID_STEP = 0.02
"""A tenth of the other networks' grid: ReLU scores have kinks, and their densities vary between coarser points."""


@dataclass(frozen=True)
class FeaturesConfig(ScoreConfig):
    """One network per seed, at all training times; --lr, --batch, --epochs, --optimizer, --scaling play no part."""

    network: str = "features"
    """features: s = (1/m) A relu(W x + U e(t)), A trained from 0."""
    m_is_n: bool = True
    """Is this point of the sweep one of m = n, or of fixed m."""
    mu: float = 3.0
    """Modes at -mu and mu."""
    tau_octaves: tuple[int, int] = (-2, 24)
    """Training times 2^low .. 2^high, two an octave."""
    device: str = field(default_factory=default_device, metadata=EXCLUDED_FROM_RUN_ID)
    """Accepted as by every study, but all is computed on the CPU: the gradient flow in closed form, in float64."""

    def check(self) -> None:
        """Refuse settings that cannot run, before anything is written."""
        super().check()
        if self.network != "features":
            raise UserError(
                f"--network must be features here, not {self.network}: python -m scoregen.samples takes swish"
            )
        low, high = self.tau_octaves
        if not -20 <= low < high <= 40:
            raise UserError(f"--tau-octaves must be two rising whole numbers from -20 to 40, not {low} {high}")
        if self.m_is_n and self.n != self.width:
            raise UserError(f"--n ({self.n}) and --width ({self.width}) differ: give the same number, or --no-m-is-n")

    @property
    def taus(self) -> list[float]:
        """The training times."""
        return [2.0 ** (half / 2) for half in range(2 * self.tau_octaves[0], 2 * self.tau_octaves[1] + 1)]


def run_features(preset: str, config: FeaturesConfig) -> None:
    """One run: config, data, model, results."""
    run = Run("scoregen", "features", preset, config)
    with run.open():
        keep = Pieces(run.folder, "gradient flow")  # nothing is trained: all follows from the config
        rows = [row for seed in config.seeds for row in rows_of_seed(config, seed, keep)]
        path = write(config.results_dir, ScoreKl, run.id, rows, run.provenance())
        best = min(row.kl_nats for row in rows if row.kl_nats is not None)
        run.say(f"n = {config.n}, m = {config.width}: least KL {best:.4f}, in {path} after {run.seconds:.0f} s")


def rows_of_seed(config: FeaturesConfig, seed: int, keep: Keep = unkept) -> list[ScoreKl]:
    """One network at every training time; `keep` keeps its densities."""
    schedule = VP(config.beta_min, config.beta_max)
    points = training_points(config, config.mu, seed)[:, 0]
    x = mode_grid(config.mu, step=KINKED_GRID_STEP)

    def measure() -> dict[str, Tensor]:
        hidden = frozen_features(config.width, seed)
        weights = flow_weights(hidden, empirical_loss(points, schedule, config.mu + BEYOND), config.taus)
        scores = FeatureScores(hidden, weights)
        model = of_slopes(scores, schedule)
        found = grid_density(model, schedule, x, len(weights), steps=flow_steps(config.mu), dtype=torch.float64)
        return {"log_p": found.log_p, "x_T": found.x_T}

    density = GridDensity(x, **keep(f"density-{seed}", measure))
    log_p0 = two_modes(config.mu, config.q1).log_prob(x[:, None])
    settings = {**config.columns(config.mu, seed), "optimizer": "flow", "lr": 0.0, "batch": config.n}
    sweep = "samples_m=n" if config.m_is_n else "samples_fixed_m"
    return [
        ScoreKl(**settings, sweep=sweep, epoch=None, time=tau, **kl_columns(density, place, log_p0, points))  # type: ignore[arg-type]
        for place, tau in enumerate(config.taus)
    ]


def cost(config: FeaturesConfig) -> Cost:
    """Expected cost: products and one eigenvalue problem of the smaller side of the feature matrix."""
    small, large = sorted((config.width, NODES))
    each = 2.0 * small**2 * large + 10.0 * small**3 + 4.0 * len(config.taus) * config.width * 4 * flow_steps(config.mu)
    memory = 8.0 * (2 * config.width * NODES + 2 * small**2)
    return Cost(config.width, memory, 0, len(config.seeds) * each)


def _over_n(base: FeaturesConfig, exponents: range, fixed: int) -> list[FeaturesConfig]:
    sizes = [2**exponent for exponent in exponents]
    equal = [dataclasses.replace(base, n=n, width=n) for n in sizes]
    return [*equal, *(dataclasses.replace(base, n=n, width=fixed, m_is_n=False) for n in sizes)]


SWEEPS: dict[str, list[FeaturesConfig]] = {
    "paper": _over_n(FeaturesConfig(), range(5, 15), 1024),
    "quick": _over_n(FeaturesConfig(), range(5, 11), 512),
    "smoke": _over_n(FeaturesConfig(seeds=(0, 1), tau_octaves=(-2, 4)), range(4, 6), 16),
}
EXPERIMENT = Experiment("python -m scoregen.features", SWEEPS, ScoreKl, FeaturesConfig.check, run_features, cost)


def main() -> None:
    """Run the sweep of the preset."""
    run_main(lambda: run_sweep(EXPERIMENT))


if __name__ == "__main__":
    main()
