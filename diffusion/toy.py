"""The 2-D study: train diffusion models over T, m and seeds, and measure the bound and the test KL.

`python -m diffusion.toy [smoke|quick|paper] [--flags]`; `sh diffusion/run_toy.sh` does the same from any folder.
"""

from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from diffusion.tables import BoundColumns, ToyBound
from diffusion.toy_config import SWEEPS, ToyConfig
from diffusion.toy_evaluate import MakeRow, ToyEvaluation, bound_row
from infolab.device import pick_device
from infolab.epochs import NoisedBatch, NoisedEpochs
from infolab.errors import run_main
from infolab.nn.mlp import EnsembleMLP
from infolab.noise import generator
from infolab.results import write, write_arrays
from infolab.runs import Run
from infolab.schedules import VP
from infolab.storage import Pieces
from infolab.sweep import Cost, Experiment, run_sweep
from infolab.toy import make
from infolab.training import Training, train

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
