"""Settings of the cluster study: two models on the farthest and the nearest pair of k-means clusters of images."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from common.config import NOT_IN_ID, RunConfig, not_in_id_at
from common.data import NAMES
from common.data.places import default_data_dir
from common.device import PRECISIONS
from common.errors import UserError, choose
from common.networks.unet import UNetConfig
from common.networks.unet_configs import NETWORKS

PAIRS = ("farthest", "nearest")


@dataclass(frozen=True)
class ClustersConfig(RunConfig):
    """One model: a pair of clusters and a seed."""

    data_dir: Path = field(default_factory=default_data_dir, metadata=NOT_IN_ID)
    """Folder of data sets that are not built in (`python -m common.data doctor` says what is there)."""
    dataset: str = "mnist"
    """Image set (published: MNIST)."""
    pair: str = "farthest"
    """farthest or nearest pair of clusters."""
    seed: int = 0
    """Seed of the chosen images, initial weights, noise and evaluation."""
    clusters: int = 10
    """k of k-means (the paper gives none; MNIST has ten classes)."""
    cluster_images: int = 0
    """Training images that k-means sees; 0: all. Its own seed is fixed, so that all runs speak of the same clusters."""
    n: int = 2000
    """Training images, half from each cluster, the same number for both pairs; fewer where a cluster is smaller."""
    network: str = "mnist"
    """U-Net size: digits, mnist or cifar10, each also as -narrow (for a CPU) and -tiny (for tests)."""
    schedule: str = "ve"
    """ve: the replication's schedule and loss; vp: VP 0.1 .. 20, weight sigma_t^2."""
    epochs: int = 1000
    """Passes over the training images."""
    evaluate_every: int = 100
    """Epochs between losses on fixed noise."""
    batch: int = 100
    """Images of one optimiser step."""
    lr: float = 1e-3
    """Learning rate of Adam."""
    ema_decay: float = 0.99
    """Decay of the average of the weights that is evaluated; 0: the weights themselves."""
    precision: str = field(default="fp32", metadata=not_in_id_at("fp32"))
    """Arithmetic of the networks, in training and evaluation: fp32, tf32 (on a GPU that has it), or bf16 (autocast)."""
    compile: bool = field(default=False, metadata=NOT_IN_ID)
    """Compile the networks (torch.compile): some minutes at the start, faster steps on a GPU."""
    loss_images: int = 256
    """Training and held-out images, at most, of the reported losses."""
    loss_draws: int = 8
    """Times and noises for each of them."""
    nll_images: int = 256
    """Held-out images of the likelihood, at most."""
    nll_points: int = 100
    """Log-SNR points of the likelihood."""
    samples: int = 36
    """Images drawn for the picture."""
    sde_steps: int = 500
    """Sampler steps."""
    eval_batch: int = 256
    """Images per network call in the evaluation."""

    def check(self) -> None:
        """Refuse settings that cannot run, before anything is written."""
        choose("data set", self.dataset, NAMES)
        choose("pair", self.pair, PAIRS)
        choose("network", self.network, sorted(NETWORKS))
        choose("schedule", self.schedule, ("ve", "vp"))
        choose("precision", self.precision, PRECISIONS)
        least = {"clusters": 3, "n": 4, "epochs": 1, "batch": 1, "loss_images": 2, "loss_draws": 1, "nll_images": 2}
        least |= {"nll_points": 4, "samples": 1, "sde_steps": 1, "eval_batch": 1, "cluster_images": 0}
        for name, low in least.items():
            if getattr(self, name) < low:
                raise UserError(f"--{name.replace('_', '-')} must be at least {low}, not {getattr(self, name)}")
        if self.cluster_images and self.cluster_images < self.clusters:
            raise UserError(
                f"--cluster-images must be 0 or at least --clusters ({self.clusters}), not {self.cluster_images}"
            )
        if not self.lr > 0:
            raise UserError(f"--lr must be positive, not {self.lr}")
        if not 0 <= self.ema_decay < 1:
            raise UserError(f"--ema-decay must lie in [0, 1), not {self.ema_decay}")
        if self.evaluate_every < 1 or self.epochs % self.evaluate_every:
            raise UserError(f"--evaluate-every must divide --epochs ({self.epochs}), not be {self.evaluate_every}")

    def unet(self) -> UNetConfig:
        """The U-Net's size."""
        return NETWORKS[self.network](dropout=0.0)


def both_pairs(base: ClustersConfig, seeds: Sequence[int]) -> list[ClustersConfig]:
    """The sweep of `base` over both pairs and seeds."""
    return [dataclasses.replace(base, pair=pair, seed=seed) for seed in seeds for pair in PAIRS]


_QUICK = ClustersConfig(
    dataset="fashion-mnist", cluster_images=4000, n=384, network="mnist-narrow", epochs=12, evaluate_every=3, batch=32,
    lr=4e-3, ema_decay=0.95, loss_images=48, loss_draws=4, nll_images=24, nll_points=24, samples=16, sde_steps=40,
)  # fmt: skip
_DIGITS = ClustersConfig(
    dataset="digits", n=200, network="digits", epochs=1000, evaluate_every=100, batch=100, lr=1e-3, loss_images=64
)
_SMOKE = ClustersConfig(
    dataset="digits", n=40, network="digits-tiny", epochs=2, evaluate_every=1, batch=20, loss_images=8, loss_draws=2,
    nll_images=4, nll_points=6, samples=4, sde_steps=4,
)  # fmt: skip
_QUICK_DIGITS = dataclasses.replace(
    _DIGITS, network="digits-narrow", epochs=200, evaluate_every=50, lr=3e-3, loss_images=48, loss_draws=8,
    nll_images=48, nll_points=48, samples=16, sde_steps=100, ema_decay=0.98,
)  # fmt: skip

SEEDS = (0, 1, 2)
SWEEPS: dict[str, list[ClustersConfig]] = {
    "paper": both_pairs(ClustersConfig(), SEEDS),
    "quick": both_pairs(_QUICK, SEEDS),
    "smoke": both_pairs(_SMOKE, (0,)),
}
DIGITS_SWEEPS: dict[str, list[ClustersConfig]] = {
    "paper": both_pairs(_DIGITS, SEEDS),
    "quick": both_pairs(_QUICK_DIGITS, SEEDS),
    "smoke": both_pairs(_SMOKE, (0,)),
}
