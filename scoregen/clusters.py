"""Distant modes in images: one model on the farthest and one on the nearest pair of k-means clusters.

`python -m scoregen.clusters [smoke|quick|paper] [--flags]`; `sh scoregen/run_clusters.sh` does the same.
"""

import dataclasses
from typing import Any

import torch

from common.device import pick_device
from common.errors import run_main
from common.networks.arithmetic import set_arithmetic
from common.networks.unet import UNet
from common.pieces import Pieces
from common.results import write, write_arrays
from common.results.tables.scoregen import ScoreClusters
from common.runs import Run
from common.sweep import Cost, Experiment, run_sweep
from common.training import Training, train
from scoregen.clusters_config import SWEEPS, ClustersConfig
from scoregen.clusters_data import load_pair
from scoregen.clusters_evaluate import ClusterEvaluation
from scoregen.clusters_model import ClusterObjective, ClusterScore, make_schedule


def main() -> None:
    """Run the sweep of the preset."""
    run_main(lambda: run_sweep(experiment("python -m scoregen.clusters", SWEEPS)))


def run_clusters(preset: str, config: ClustersConfig) -> None:
    """One run: config, data, model, loop, results."""
    run = Run("scoregen", f"clusters-{config.dataset}", preset, config)
    device = pick_device(config.device)
    pair = load_pair(config)
    pair = dataclasses.replace(pair, train=pair.train.to(device), test=pair.test.to(device))
    with run.open():
        score = ClusterScore(UNet(config.unet(), config.seed), make_schedule(config.schedule)).to(device)
        set_arithmetic(score, config)
        objective = ClusterObjective(config, score, pair.train)
        evaluation = ClusterEvaluation(config, pair)
        training = Training(
            model=score,
            optimizer=torch.optim.Adam(score.parameters(), lr=config.lr, fused=True),
            objective=objective,
            steps=config.epochs * objective.per_epoch,
            ema_decay=config.ema_decay,
            evaluate_after=[e * objective.per_epoch for e in range(0, config.epochs + 1, config.evaluate_every) if e],
        )

        def evaluate(step: int) -> list[dict[str, Any]]:
            with torch.no_grad():
                averaged = ClusterScore(UNet(config.unet(), config.seed), score.schedule).to(device)
                averaged.load_state_dict(training.averaged(), strict=False)
            averaged.requires_grad_(False)
            set_arithmetic(averaged, config)
            keep = Pieces(run.folder, averaged)
            found = {"epoch": step // objective.per_epoch, "step": step, **evaluation.losses(averaged, keep)}
            last = evaluation.nll(averaged, keep) if step == training.steps else {}
            return [{**evaluation.settings(), **found, **last}]

        training.evaluate = evaluate
        rows = [ScoreClusters(**row) for row in train(run, training)]

        score.load_state_dict(training.averaged(), strict=False)
        pictures = evaluation.pictures(score, Pieces(run.folder, score))
        provenance = run.provenance()
        write_arrays(config.results_dir, "scoregen", run.id, pictures, provenance)
        path = write(config.results_dir, ScoreClusters, run.id, rows, provenance)
        last = rows[-1]
        run.say(
            f"{config.pair} pair, clusters {pair.name}, distance {pair.distance:.2f}: loss {last.loss:.1f}, held-out "
            f"{last.nll_bpd:.3f} bits/dim, in {path} after {run.seconds:.0f} s"
        )


def cost(config: ClustersConfig) -> Cost:
    """Expected cost of one run: training, losses, likelihood and samples."""
    size = config.unet()
    parameters = sum(item.numel() for item in UNet(size).parameters())
    # A convolution uses its weights at every pixel of its level: a factor that the coarser levels shrink.
    per_image = 2.0 * parameters * size.image_size**2 / 3
    trained = float(config.epochs) * config.n
    checks = config.epochs // config.evaluate_every
    evaluated = checks * 2 * config.loss_images * config.loss_draws
    evaluated += config.nll_images * config.nll_points + config.samples * config.sde_steps
    memory = 16.0 * parameters + max(config.batch, config.eval_batch) * size.model_channels * size.image_size**2 * 240
    return Cost(parameters, memory, trained + evaluated, per_image * (3 * trained + evaluated))


def experiment(command: str, sweeps: dict[str, list[ClustersConfig]]) -> Experiment:
    """The cluster study on one data set's sweeps."""
    return Experiment(command, sweeps, ScoreClusters, ClustersConfig.check, run_clusters, cost)


if __name__ == "__main__":
    main()
