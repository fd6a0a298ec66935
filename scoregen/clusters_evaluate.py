"""Evaluation of one cluster model: losses on fixed times and noise, I-MMSE likelihood of held-out images, samples."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from common.baselines import per_pixel_histogram_bpd
from common.data import ImageSet
from common.device import precision_label
from common.estimate import mean_and_se
from common.immse import Bins, GaussianReference, LogsnrRange, estimate_nll
from common.samplers import StepNoise, reverse_sde
from common.seeds import generator
from scoregen import replication
from scoregen.clusters_config import ClustersConfig
from scoregen.clusters_data import ClusterPair
from scoregen.clusters_model import ChannelDenoiser, ClusterScore, losses, pixels

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
    def losses(self, score: ClusterScore) -> dict[str, float]:
        """Mean losses on training and held-out images, the same images, times and noise whenever they are asked for."""
        found = {}
        for name, images in (("loss", self.pair.train), ("loss_test", self.pair.test)):
            # A step through all training images, which stand cluster by cluster.
            rows = torch.linspace(0, len(images) - 1, min(self.config.loss_images, len(images)), device=self.device)
            found[name], found[f"{name}_se"] = mean_and_se(
                self._losses(score, pixels(images, rows.round().long()), name)
            )
        return found

    def nll(self, score: ClusterScore) -> dict[str, float]:
        """Discrete NLL of held-out images by I-MMSE, in nats and bits per dimension, and the per-pixel histogram's."""
        x = self._scaled(self.pair.test)[: self.config.nll_images]
        d = x[0].numel()
        reference = GaussianReference.fit(self._scaled(self.pair.train), floor=self.bins.step**2 / 12)
        # Right of `high` rounding finds every grey level: P(|noise| > D/2) is below e^-8 a pixel there.
        high = math.log(66 / self.bins.step**2)
        found = estimate_nll(
            ChannelDenoiser(score, reference), x, reference, bins=self.bins, points=self.config.nll_points, widen=False,
            logsnr_range=LogsnrRange.from_ends(LOWEST_LOGSNR, high), seed=self.config.seed,
            batch=self.config.eval_batch,
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

    def pictures(self, score: ClusterScore) -> dict[str, np.ndarray]:
        """Samples by the reverse SDE and training images of both clusters, grey levels, for the figure."""
        shape = (self.config.samples, *self.pair.train.shape)
        std = score.schedule.prior_std(1.0)
        x_T = std * torch.randn(shape, generator=generator(self.config.seed, "prior")).to(self.device)
        noise = StepNoise([self.config.seed], "sampler", shape, self.device)
        drawn = reverse_sde(score, score.schedule, x_T, 1.0, self.config.sde_steps, lambda step: noise(step)[0])
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

    def _losses(self, score: ClusterScore, x: Tensor, stream: str) -> Tensor:
        """Mean over draws of the loss of each image (n,); each has one time in every stratum of (1e-5, 1)."""
        total = torch.zeros(len(x), dtype=torch.float64)
        for draw in range(self.config.loss_draws):
            source = generator(self.config.seed, stream, draw)
            u = (draw + torch.rand(len(x), generator=source)) / self.config.loss_draws
            t, eps = replication.uniform_times(u).to(x), torch.randn(x.shape, generator=source).to(x)
            parts = zip(*(item.split(self.config.eval_batch) for item in (x, t, eps)), strict=True)
            total += torch.cat([losses(score, *part) for part in parts]).double().cpu()
        return total / self.config.loss_draws

    def _scaled(self, images: ImageSet) -> Tensor:
        return 2 * pixels(images) - 1
