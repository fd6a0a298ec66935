"""Distant modes in images: one model on the farthest and one on the nearest pair of clusters, and its evaluation."""

import dataclasses
import functools
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from infolab.baselines import per_pixel_histogram_bpd
from infolab.data import ImageSet
from infolab.denoise import Denoiser
from infolab.device import pick_device, precision_label, set_arithmetic
from infolab.errors import run_main
from infolab.estimate import mean_and_se
from infolab.immse import Bins, GaussianReference, LogsnrRange, estimate_nll
from infolab.nn.unet import UNet, unet_size
from infolab.noise import generator
from infolab.results import write, write_arrays
from infolab.runs import Run
from infolab.sample import StepNoise, reverse_sde, walk_in_pieces
from infolab.storage import Keep, Pieces, unkept
from infolab.sweep import Cost, Experiment, run_sweep
from infolab.training import Training, train
from scoregen import clusters_model
from scoregen.clusters_model import (
    SWEEPS,
    ChannelDenoiser,
    ClusterObjective,
    ClusterPair,
    ClustersConfig,
    ClusterScore,
    load_pair,
    losses,
    make_schedule,
    pixels,
)
from scoregen.tables import ScoreClusters

# ----------
# Evaluation of one cluster model: losses on fixed times and noise, I-MMSE likelihood of held-out images, samples.

LOWEST_LOGSNR = -9.0
"""Left end of the likelihood's integral; what is left of it is known in closed form from the spectrum."""


class ClusterEvaluation:
    """Measures one model of a pair of clusters.

    Args:
        config: the run's settings.
        pair: its images, on the device.
    """

    def __init__(self, config: ClustersConfig, pair: ClusterPair):
        self.config, self.pair = config, pair
        self.bins = Bins.of_levels(pair.train.levels)
        self.device = pair.train.images.device

    @torch.no_grad()
    def losses(self, score: ClusterScore, keep: Keep = unkept) -> dict[str, float]:
        """Mean losses on training and held-out images, the same images, times and noise whenever they are asked for."""
        found = {}
        for name, images in (("loss", self.pair.train), ("loss_test", self.pair.test)):
            # A step through all training images, which stand cluster by cluster.
            rows = torch.linspace(0, len(images) - 1, min(self.config.loss_images, len(images)), device=self.device)
            found[name], found[f"{name}_se"] = mean_and_se(
                self._losses(score, pixels(images, rows.round().long()), name, keep)
            )
        return found

    def nll(self, score: ClusterScore, keep: Keep = unkept) -> dict[str, float]:
        """Discrete NLL of held-out images by I-MMSE, in nats and bits per dimension, and the per-pixel histogram's."""
        x = self._scaled(self.pair.test)[: self.config.nll_images]
        d = x[0].numel()
        reference = GaussianReference.fit(self._scaled(self.pair.train), floor=self.bins.step**2 / 12)
        # Right of `high` rounding finds every grey level: P(|noise| > D/2) is below e^-8 a pixel there.
        high = math.log(66 / self.bins.step**2)
        model = Denoiser.of_eps(ChannelDenoiser(score, reference))
        found = estimate_nll(
            model, x, reference, bins=self.bins, points=self.config.nll_points, widen=False,
            logsnr_range=LogsnrRange.from_ends(LOWEST_LOGSNR, high), seed=self.config.seed,
            batch=self.config.eval_batch, keep=keep,
        )["discrete"]  # fmt: skip
        to_bpd = 1 / (d * math.log(2))
        train, test = (part.images.cpu() for part in (self.pair.train, self.pair.test))
        histogram, histogram_se = per_pixel_histogram_bpd(train, test[: len(x)], self.pair.train.levels)
        return {
            "nll_nats": found.value,
            "nll_nats_se": found.se,
            "nll_bpd": found.value * to_bpd,
            "nll_bpd_se": found.se * to_bpd,
            "histogram_bpd": histogram,
            "histogram_bpd_se": histogram_se,
        }

    def pictures(self, score: ClusterScore, keep: Keep = unkept) -> dict[str, np.ndarray]:
        """Samples by the reverse SDE and training images of both clusters, grey levels, for the figure."""
        shape = (self.config.samples, *self.pair.train.shape)
        std = score.schedule.prior_std(1.0)
        x_T = std * torch.randn(shape, generator=generator(self.config.seed, "prior")).to(self.device)
        noise = StepNoise([self.config.seed], "sampler", shape, self.device)
        model = Denoiser.of_score(score, score.schedule)

        def walk(x: Tensor, part: range) -> dict[str, Tensor]:
            steps = self.config.sde_steps
            return {"x": reverse_sde(model, score.schedule, x, 1.0, steps, lambda step: noise(step)[0], part=part)}

        drawn = x_T
        for kept in walk_in_pieces(keep, "samples", x_T, self.config.sde_steps, walk):
            drawn = kept["x"]
        levels = self.pair.train.levels
        images = {
            "samples": (drawn.clamp(0, 1) * (levels - 1)).round().to(torch.uint8),
            "train": self.pair.train.images[:: max(1, len(self.pair.train) // 16)][:16],
        }
        return {
            **{name: item.permute(0, 2, 3, 1).squeeze(-1).cpu().numpy() for name, item in images.items()},
            "levels": np.array(levels),
            "seed": np.array(self.config.seed),
            "pair": np.array(self.config.pair),
            "name": np.array(self.pair.name),
            "distance": np.array(self.pair.distance),
        }

    def settings(self) -> dict[str, Any]:
        """The settings columns of the table, and what is known of the pair."""
        return {
            "dataset": self.config.dataset,
            "model": f"unet[{self.config.network}{precision_label(self.config.precision)}]",
            "seed": self.config.seed,
            "pair": self.config.pair,
            "clusters": self.pair.name,
            "schedule": self.config.schedule,
            "n": len(self.pair.train),
            "d": self.pair.train.d,
            "levels": self.pair.train.levels,
            "centre_distance": self.pair.distance,
            "n_test": min(self.config.nll_images, len(self.pair.test)),
        }

    def _losses(self, score: ClusterScore, x: Tensor, stream: str, keep: Keep) -> Tensor:
        """Mean over draws of the loss of each image (n,); each has one time in every stratum of (1e-5, 1)."""

        def measure(draw: int) -> dict[str, Tensor]:
            source = generator(self.config.seed, stream, draw)
            u = (draw + torch.rand(len(x), generator=source)) / self.config.loss_draws
            t, eps = clusters_model.uniform_times(u).to(x), torch.randn(x.shape, generator=source).to(x)
            parts = zip(*(item.split(self.config.eval_batch) for item in (x, t, eps)), strict=True)
            return {"losses": torch.cat([losses(score, *part) for part in parts])}

        total = torch.zeros(len(x), dtype=torch.float64)
        for draw in range(self.config.loss_draws):
            total += keep(f"{stream}-{draw:03d}", functools.partial(measure, draw))["losses"].double()
        return total / self.config.loss_draws

    def _scaled(self, images: ImageSet) -> Tensor:
        return 2 * pixels(images) - 1


# ----------
# Distant modes in images: one model on the farthest and one on the nearest pair of k-means clusters.
#
# `python -m scoregen.clusters [smoke|quick|paper] [--flags]`; `sh scoregen/run_clusters.sh` does the same.


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
            row_type=ScoreClusters,
        )

        def evaluate(step: int) -> list[ScoreClusters]:
            with torch.no_grad():
                averaged = ClusterScore(UNet(config.unet(), config.seed), score.schedule).to(device)
                averaged.load_state_dict(training.averaged(), strict=False)
            averaged.requires_grad_(False)
            set_arithmetic(averaged, config)
            keep = Pieces(run.folder, averaged)
            found = {"epoch": step // objective.per_epoch, "step": step, **evaluation.losses(averaged, keep)}
            last = evaluation.nll(averaged, keep) if step == training.steps else {}
            return [ScoreClusters(**evaluation.settings(), **found, **last)]

        training.evaluate = evaluate
        rows = train(run, training)

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
    parameters, per_image = unet_size(size)
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
