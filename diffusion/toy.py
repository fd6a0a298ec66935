"""The 2-D study: train diffusion models over T, m and seeds, and measure the bound and the test KL.

`python -m diffusion.toy [smoke|quick|paper] [--flags]`; `sh diffusion/run_toy.sh` does the same from any folder.
"""

import dataclasses
from typing import Any

import torch
from torch import Tensor

from common.ensemble import EnsembleMLP
from common.epochs import NoisedEpochs
from common.errors import run_main
from common.results import ToyBound, write, write_arrays
from common.runs import Run, pick_device
from common.schedules import VP
from common.seeds import generator
from common.sweep import Cost, Experiment, run_sweep
from common.toy import make
from common.training import Training, train
from diffusion.toy_config import SWEEPS, ToyConfig
from diffusion.toy_evaluate import ToyEvaluation


def main() -> None:
    """Run the sweep of the preset."""
    run_main(lambda: run_sweep(EXPERIMENT))


def run_toy(preset: str, config: ToyConfig) -> None:
    """One run: config, data, model, loop, results."""
    run = Run("diffusion", "toy", preset, config)
    with run.open():
        device = pick_device(config.device)
        members = [(T, seed) for T in config.T for seed in config.seeds]
        seeds = [seed for _, seed in members]
        times = torch.tensor([T for T, _ in members], device=device)

        schedule = VP(config.beta_min, config.beta_max)
        data = training_data(config, seeds).to(device)
        model = EnsembleMLP((3, config.hidden, config.hidden, config.hidden, 2), seeds).to(device)
        batches = NoisedEpochs(data, schedule, times, seeds, config.batch)
        evaluation = ToyEvaluation(config, schedule, members, data)

        per_epoch = batches.steps_per_epoch
        every = config.evaluate_every or config.epochs
        training = Training(
            model=model,
            optimizer=torch.optim.Adam(model.parameters(), lr=config.lr, fused=True),
            objective=lambda step: dsm_loss(model, batches, step),
            steps=config.epochs * per_epoch,
            evaluate=lambda step: _as_dicts(evaluation.rows(model, step // per_epoch)),
            evaluate_after=[epoch * per_epoch for epoch in range(every, config.epochs + 1, every)],
        )
        rows = [ToyBound(**row) for row in train(run, training)]

        provenance = run.provenance()
        write_arrays(config.results_dir, "diffusion", run.id, evaluation.pictures(model, config.epochs), provenance)
        path = write(config.results_dir, ToyBound, run.id, rows, provenance)
        run.say(f"m = {config.m}: {len(rows)} rows in {path} after {run.seconds:.0f} s")


def training_data(config: ToyConfig, seeds: list[int]) -> Tensor:
    """Training sets (k, m, 2), one per network: a function of its seed, so the same at every T."""
    law = make(config.dataset)
    return torch.stack([law.sample(config.m, generator(seed, "train", config.m)) for seed in seeds])


def dsm_loss(model: EnsembleMLP, batches: NoisedEpochs, step: int) -> Tensor:
    """Denoising score matching of each network, 1/2 |sigma s + eps|^2 with a = g s the network's output: (k,)."""
    batch = batches(step)
    residual = torch.addcmul(batch.eps, model(batch.x_t, batch.t), batch.sigma_over_g[..., None])
    return 0.5 * residual.square().sum(-1).mean(-1)


def _as_dicts(rows: list[ToyBound]) -> list[dict[str, Any]]:
    return [dataclasses.asdict(row) for row in rows]


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
