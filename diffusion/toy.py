"""The 2-D study: train diffusion models over T, m and seeds, and measure the bound and the test KL.

`python -m diffusion.toy [smoke|quick|paper] [--flags]`; `sh diffusion/run_toy.sh` does the same from any folder.
"""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, TypeVar

import numpy as np
import torch
from torch import Tensor

from diffusion.tables import BoundColumns, ToyBound
from diffusion.toy_evaluate import MakeRow, ToyEvaluation, bound_row
from infolab.config import AtLeast, Distinct, OneOf, Positive, RunConfig
from infolab.device import pick_device
from infolab.epochs import NoisedBatch, NoisedEpochs
from infolab.errors import UserError, run_main
from infolab.nn.mlp import EnsembleMLP
from infolab.noise import generator
from infolab.results import write, write_arrays
from infolab.runs import Run
from infolab.schedules import VP
from infolab.storage import Pieces
from infolab.sweep import Cost, Experiment, run_sweep
from infolab.toy import TOYS, make
from infolab.training import Training, train

# ---- config

PAPER_T = tuple(round(0.2 * k, 1) for k in range(1, 11))
PAPER_M = (10, 100, 200, 600, 800, 1000, 2000)
SEEDS = (0, 1, 2, 3, 4)


@dataclass(frozen=True)
class ToyConfig(RunConfig):
    """One batch of networks: every T with every seed, trained side by side on m points each."""

    dataset: Annotated[str, OneOf("data set", sorted(TOYS))] = "swiss_roll"
    """2-D set with an exact density (`python -m infolab.data doctor` lists them)."""
    m: Annotated[int, AtLeast(2)] = 200
    """Training points per network."""
    T: tuple[float, ...] = PAPER_T
    """Diffusion times, one network each (per seed)."""
    seeds: Annotated[tuple[int, ...], Distinct()] = SEEDS
    """Seeds of data, initial weights, noise and evaluation."""
    epochs: Annotated[int, AtLeast(1)] = 10_000
    """Passes over the training set."""
    evaluate_every: Annotated[int, AtLeast(0)] = 0
    """Epochs between evaluations; 0: only at the end."""
    batch: Annotated[int, AtLeast(1)] = 256
    """Largest number of points of one optimiser step."""
    lr: Annotated[float, Positive()] = 1e-3
    """Learning rate of Adam."""
    hidden: Annotated[int, AtLeast(1)] = 128
    """Width of the three hidden layers (Swish)."""
    beta_min: float = 0.1
    """beta(0) of the VP SDE."""
    beta_max: float = 20.0
    """beta(1) of the VP SDE; the line goes on beyond t = 1."""
    sde_steps: Annotated[int, AtLeast(1)] = 1000
    """N, sampler steps at T = 1 (and at every T under the rule fixed_number)."""
    R: Annotated[float, Positive()] = 5.0
    """Sub-Gaussian constant of the bound."""
    test_points: Annotated[int, AtLeast(2)] = 1000
    """Points of the test KL, and samples drawn."""
    mi_draws: Annotated[int, AtLeast(2)] = 4
    """Noise draws per training point in T1."""
    t_eps: Annotated[float, Positive()] = 1e-3
    """Lower end in time of the exact score loss (the paper's integral starts at 0, where it diverges)."""
    ode_tolerance: Annotated[float, Positive()] = 1e-5
    """Absolute and relative tolerance of the ODE likelihood."""

    def check(self) -> None:
        """Refuse settings that cannot run, before anything is written."""
        super().check()
        if make(self.dataset).d != 2:
            raise UserError(
                f"data set '{self.dataset}' is not 2-D: the 2-D study takes swiss_roll, moons, scg and the like"
            )
        VP(self.beta_min, self.beta_max)  # refuses a beta that is negative or falls
        if not self.T or not self.seeds or not all(self.t_eps < T < math.inf for T in self.T):
            raise UserError("--T and --seeds need at least one value each, and every T must exceed --t-eps")
        if len(set(self.T)) < len(self.T) or len(set(self.seeds)) < len(self.seeds):
            raise UserError("--T and --seeds must not name a value twice")
        if self.evaluate_every < 0 or (self.evaluate_every and self.epochs % self.evaluate_every):
            raise UserError(f"--evaluate-every must divide --epochs ({self.epochs}), or be 0 for the end only")


def _sweep(times: ToyConfig, sizes: ToyConfig, m_values: tuple[int, ...]) -> list[ToyConfig]:
    return [times, *(dataclasses.replace(sizes, m=m) for m in m_values)]


_QUICK = ToyConfig(seeds=(0, 1, 2), epochs=1500, sde_steps=200, mi_draws=2)
_SMOKE = ToyConfig(m=16, T=(0.4, 1.0), seeds=(0,), epochs=20, sde_steps=10, test_points=50, hidden=16, mi_draws=2)

SWEEPS: dict[str, list[ToyConfig]] = {
    # The published sweep. The public script stops at T = 1.8; the paper's figure goes to 2.0.
    "paper": _sweep(ToyConfig(), ToyConfig(T=(1.0,), evaluate_every=1000), PAPER_M),
    "quick": _sweep(_QUICK, dataclasses.replace(_QUICK, T=(1.0,)), (10, 100, 600, 1000)),
    "smoke": _sweep(_SMOKE, dataclasses.replace(_SMOKE, T=(1.0,)), (8, 24)),
}


# ---- data, model, loop, results

Loss = Callable[[EnsembleMLP, NoisedEpochs, int], Tensor]
Row = TypeVar("Row", bound=BoundColumns)


def main() -> None:
    """Run the sweep of the preset."""
    run_main(lambda: run_sweep(EXPERIMENT))


def run_toy(preset: str, config: ToyConfig) -> None:
    """One run: config, data, model, loop, results."""
    run = Run("diffusion", "toy", preset, config)
    with run.open():
        study = ToyStudy(config, [(T, seed) for T in config.T for seed in config.seeds])
        rows = study.train(run, ToyBound)

        provenance = run.provenance()
        write_arrays(config.results_dir, "diffusion", run.id, study.pictures(run), provenance)
        path = write(config.results_dir, ToyBound, run.id, rows, provenance)
        run.say(f"m = {config.m}: {len(rows)} rows in {path} after {run.seconds:.0f} s")


class ToyStudy:
    """Networks trained side by side, and their evaluation: data, model and loop of one run.

    Args:
        config: the run's settings.
        members: (T, seed) of each network (k).
        loss: (networks, batches, step) -> their losses (k,); None: `dsm_loss`.
        make_row: makes the rows of the evaluation.
    """

    def __init__(
        self,
        config: ToyConfig,
        members: list[tuple[float, int]],
        loss: Loss | None = None,
        make_row: MakeRow = bound_row,
    ):
        self.config = config
        device = pick_device(config.device)
        seeds = [seed for _, seed in members]
        times = torch.tensor([T for T, _ in members], device=device)

        self.schedule = VP(config.beta_min, config.beta_max)
        data = training_data(config, seeds).to(device)
        self.model = EnsembleMLP((3, config.hidden, config.hidden, config.hidden, 2), seeds).to(device)
        self.batches = NoisedEpochs(data, self.schedule, times, seeds, config.batch)
        self.loss = loss or dsm_loss
        self.evaluation = ToyEvaluation(config, self.schedule, members, data, make_row)

    def train(self, run: Run, row_type: type[Row]) -> list[Row]:
        """Train to the end, from the run's last checkpoint where there is one; all rows."""
        config, per_epoch = self.config, self.batches.steps_per_epoch
        every = config.evaluate_every or config.epochs
        training = Training(
            model=self.model,
            optimizer=torch.optim.Adam(self.model.parameters(), lr=config.lr, fused=True),
            objective=lambda step: self.loss(self.model, self.batches, step),
            steps=config.epochs * per_epoch,
            evaluate=lambda step: self.evaluation.rows(self.model, step // per_epoch, Pieces(run.folder, self.model)),
            row_type=row_type,
            evaluate_after=[epoch * per_epoch for epoch in range(every, config.epochs + 1, every)],
        )
        return train(run, training)

    def pictures(self, run: Run) -> dict[str, np.ndarray]:
        """The arrays of `ToyEvaluation.pictures` at the end of the training."""
        return self.evaluation.pictures(self.model, self.config.epochs, Pieces(run.folder, self.model))


def training_data(config: ToyConfig, seeds: list[int]) -> Tensor:
    """Training sets (k, m, 2), one per network: a function of its seed, so the same at every T."""
    law = make(config.dataset)
    return torch.stack([law.sample(config.m, generator(seed, "train", config.m)) for seed in seeds])


def dsm_loss(model: EnsembleMLP, batches: NoisedEpochs, step: int) -> Tensor:
    """Denoising score matching of each network, 1/2 |sigma s + eps|^2 with a = g s the network's output: (k,)."""
    batch = batches(step)
    return denoising_loss(model(batch.x_t, batch.t), batch)


def denoising_loss(drift: Tensor, batch: NoisedBatch) -> Tensor:
    """Mean of 1/2 |sigma s + eps|^2 over a batch (k,), s = drift / g."""
    residual = torch.addcmul(batch.eps, drift, batch.sigma_over_g[..., None])
    return 0.5 * residual.square().sum(-1).mean(-1)


def cost(config: ToyConfig) -> Cost:
    """Expected cost of one run: training, and per evaluation two samplers and one ODE solution."""
    k, h = len(config.T) * len(config.seeds), config.hidden
    parameters = k * (3 * h + 2 * h * h + 2 * h + 3 * h + 2)
    trained = float(k) * config.epochs * config.m
    checks = config.epochs // config.evaluate_every if config.evaluate_every else 1
    evaluated = checks * k * config.test_points * (2.0 * config.sde_steps + 600)
    memory = 16 * parameters + 4.0 * k * max(min(config.batch, config.m), config.test_points) * h * 12
    return Cost(parameters, memory, trained + evaluated, 2 * parameters / k * (3 * trained + evaluated))


EXPERIMENT = Experiment("python -m diffusion.toy", SWEEPS, ToyBound, ToyConfig.check, run_toy, cost)


if __name__ == "__main__":
    main()
