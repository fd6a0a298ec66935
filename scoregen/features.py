"""The theorem's model against the sample size: random features on their exact gradient flow, at m = n and at fixed m.

`python -m scoregen.features [smoke|quick|paper] [--flags]`; `sh scoregen/run_features.sh` does the same. Whatever
--device says, it computes on the CPU: the flow is in closed form, in float64.
"""

import dataclasses
from dataclasses import dataclass, field

import torch
from torch import Tensor

from common.config import NOT_IN_ID, default_device
from common.errors import UserError, run_main
from common.pieces import Keep, Pieces, unkept
from common.results import write
from common.results.tables.scoregen import ScoreKl
from common.runs import Run
from common.schedules import VP
from common.sweep import Cost, Experiment, run_sweep
from common.toy import two_modes
from scoregen.batch import kl_columns, training_points
from scoregen.density import GridDensity, flow_steps, grid_density, mode_grid
from scoregen.gradient_flow import NODES, FeatureScores, empirical_loss, flow_weights
from scoregen.network import frozen_features
from scoregen.settings import ScoreConfig

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
    device: str = field(default_factory=default_device, metadata=NOT_IN_ID)
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
        found = grid_density(scores, schedule, x, len(weights), steps=flow_steps(config.mu), dtype=torch.float64)
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
