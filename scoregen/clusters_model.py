"""The cluster study's settings, data (k-means pairs of image clusters) and model: a U-Net as the score of an SDE."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from torch import Tensor, nn

from infolab.config import EXCLUDED_FROM_RUN_ID, AtLeast, OneOf, Positive, RunConfig, Share, not_in_id_at
from infolab.data import NAMES, ImageSet, epoch_permutation, load
from infolab.data.places import default_data_dir
from infolab.device import PRECISIONS, staged
from infolab.errors import UserError
from infolab.immse import GaussianReference
from infolab.nn.unet import NETWORKS, UNet, UNetConfig
from infolab.noise import derive, generator
from infolab.schedules import VE, VP, Schedule, append_dims, logsnr_to_alpha_sigma

# ----------
# The loss and the VE schedule of the paper's replication, under their own names.
#
# x_t = x + std(t) z, std(t)^2 = (c^(2t) - 1) / (2 log c), c = 25, and the loss |s(x + std z, t) std + z|^2 summed over
# pixels, averaged over images, t uniform on (1e-5, 1). It is score matching with the weight sigma_t^2 under
# `infolab.schedules.VE(25)`.

BASE = 25.0
"""c of the VE schedule."""
T_EPS = 1e-5
"""Lower end of t."""


def marginal_std(t: Tensor, c: float = BASE) -> Tensor:
    """Standard deviation of x_t given x, sqrt((c^(2t) - 1) / (2 log c)), of the shape of t."""
    return torch.sqrt((c ** (2 * t) - 1) / (2 * math.log(c)))


def uniform_times(u: Tensor) -> Tensor:
    """Times t = u (1 - 1e-5) + 1e-5 from uniforms u on (0, 1)."""
    return u * (1 - T_EPS) + T_EPS


def replication_loss(score: Callable[[Tensor, Tensor], Tensor], x: Tensor, t: Tensor, z: Tensor) -> Tensor:
    """|s(x + std z, t) std + z|^2 of each image (n,), summed over pixels.

    Args:
        score: s(x_t, t).
        x: images (n, c, h, w), pixels in [0, 1].
        t: times (n,).
        z: standard normal noise of the shape of x.
    """
    std = marginal_std(t)[:, None, None, None]
    return (score(x + z * std, t) * std + z).square().sum((1, 2, 3))


# ----------
# Settings of the cluster study: two models on the farthest and the nearest pair of k-means clusters of images.

PAIRS = ("farthest", "nearest")


@dataclass(frozen=True)
class ClustersConfig(RunConfig):
    """One model: a pair of clusters and a seed."""

    data_dir: Path = field(default_factory=default_data_dir, metadata=EXCLUDED_FROM_RUN_ID)
    """Folder of data sets that are not built in (`python -m infolab.data doctor` says what is there)."""
    dataset: Annotated[str, OneOf("data set", NAMES)] = "mnist"
    """Image set (published: MNIST)."""
    pair: Annotated[str, OneOf("pair", PAIRS)] = "farthest"
    """farthest or nearest pair of clusters."""
    seed: int = 0
    """Seed of the chosen images, initial weights, noise and evaluation."""
    clusters: Annotated[int, AtLeast(3)] = 10
    """k of k-means (the paper gives none; MNIST has ten classes)."""
    cluster_images: Annotated[int, AtLeast(0)] = 0
    """Training images that k-means sees; 0: all. Its own seed is fixed, so that all runs speak of the same clusters."""
    n: Annotated[int, AtLeast(4)] = 2000
    """Training images, half from each cluster, the same number for both pairs; fewer where a cluster is smaller."""
    network: Annotated[str, OneOf("network", sorted(NETWORKS))] = "mnist"
    """U-Net size: digits, mnist or cifar10, each also as -narrow (for a CPU) and -tiny (for tests)."""
    schedule: Annotated[str, OneOf("schedule", ("ve", "vp"))] = "ve"
    """ve: the replication's schedule and loss; vp: VP 0.1 .. 20, weight sigma_t^2."""
    epochs: Annotated[int, AtLeast(1)] = 1000
    """Passes over the training images."""
    evaluate_every: int = 100
    """Epochs between losses on fixed noise."""
    batch: Annotated[int, AtLeast(1)] = 100
    """Images of one optimiser step."""
    lr: Annotated[float, Positive()] = 1e-3
    """Learning rate of Adam."""
    ema_decay: Annotated[float, Share()] = 0.99
    """Decay of the average of the weights that is evaluated; 0: the weights themselves."""
    precision: Annotated[str, OneOf("precision", PRECISIONS)] = field(default="fp32", metadata=not_in_id_at("fp32"))
    """Arithmetic of the networks, in training and evaluation: fp32, tf32 (on a GPU that has it), or bf16 (autocast)."""
    compile: bool = field(default=False, metadata=EXCLUDED_FROM_RUN_ID)
    """Compile the networks (torch.compile): some minutes at the start, faster steps on a GPU."""
    loss_images: Annotated[int, AtLeast(2)] = 256
    """Training and held-out images, at most, of the reported losses."""
    loss_draws: Annotated[int, AtLeast(1)] = 8
    """Times and noises for each of them."""
    nll_images: Annotated[int, AtLeast(2)] = 256
    """Held-out images of the likelihood, at most."""
    nll_points: Annotated[int, AtLeast(4)] = 100
    """Log-SNR points of the likelihood."""
    samples: Annotated[int, AtLeast(1)] = 36
    """Images drawn for the picture."""
    sde_steps: Annotated[int, AtLeast(1)] = 500
    """Sampler steps."""
    eval_batch: Annotated[int, AtLeast(1)] = 256
    """Images per network call in the evaluation."""

    def check(self) -> None:
        """Refuse settings that cannot run, before anything is written."""
        super().check()
        if self.cluster_images and self.cluster_images < self.clusters:
            raise UserError(
                f"--cluster-images must be 0 or at least --clusters ({self.clusters}), not {self.cluster_images}"
            )
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


# ----------
# Pairs of image clusters: k-means on pixels, the farthest and the nearest centres, as many images for either pair.


@dataclass(frozen=True)
class ClusterPair:
    """One pair of clusters and its images.

    Attributes:
        name: which clusters, by number, and the class most of their images have.
        distance: Euclidean distance of the centres, pixels in [0, 1].
        train: training images, half from each cluster.
        test: held-out images that are nearest to one of the two centres.
    """

    name: str
    distance: float
    train: ImageSet
    test: ImageSet


def load_pair(config: ClustersConfig) -> ClusterPair:
    """The images of `config.pair`, chosen by the seed; a data set's clusters are the same in every run.

    Raises:
        UserError: missing files, images that do not fit the network, or clusters without enough images.
    """
    train, test = (load(config.dataset, split, data_dir=config.data_dir) for split in ("train", "test"))
    size = config.unet()
    expected = (size.in_channels, size.image_size, size.image_size)
    if train.shape != expected:
        raise UserError(
            f"--network {config.network} takes images of shape {expected}, {config.dataset}'s are {train.shape}: "
            "choose the network of that data set"
        )
    centres = cluster_centres(train, config.clusters, config.cluster_images)
    label, label_test = nearest_centre(train, centres), nearest_centre(test, centres)
    pairs = extreme_pairs(centres)
    sizes = torch.bincount(label, minlength=len(centres))
    each = min(config.n // 2, *(int(sizes[one]) for pair in pairs.values() for one in pair))
    chosen = pairs[config.pair]
    held_out = torch.isin(label_test, torch.tensor(chosen)).nonzero()[:, 0]
    if each < 1 or len(held_out) < 2:
        raise UserError(f"the {config.pair} clusters have too few images: lower --clusters")
    source = generator(config.seed, "clusters", config.pair)
    parts = [members[torch.randperm(len(members), generator=source)[:each]] for members in _members(label, chosen)]
    shuffled = held_out[torch.randperm(len(held_out), generator=source)]
    a, b = chosen
    return ClusterPair(
        name=" and ".join(_name(train, label, one) for one in chosen),
        distance=float((centres[a] - centres[b]).norm()),
        train=train.take(torch.cat(parts)),
        test=test.take(shuffled),
    )


def cluster_centres(images: ImageSet, k: int, most: int) -> Tensor:
    """Centres (k, d) of k-means on pixels in [0, 1], by a seed of its own, ordered by the size of their clusters."""
    from sklearn.cluster import KMeans  # takes a second to load

    chosen = images.images if not most or most >= len(images) else images.subset(most, 0).images
    pixels = _pixels(chosen, images.levels)
    fit = KMeans(k, n_init=1, max_iter=100, random_state=derive(0, "k-means") % 2**32).fit(pixels.numpy())
    order = np.argsort(-np.bincount(fit.labels_, minlength=k), kind="stable")
    return torch.from_numpy(fit.cluster_centers_[order]).float()


def nearest_centre(images: ImageSet, centres: Tensor) -> Tensor:
    """Number of the nearest centre of each image (n,)."""
    parts = images.images.split(4096)
    return torch.cat([torch.cdist(_pixels(part, images.levels), centres).argmin(1) for part in parts])


def extreme_pairs(centres: Tensor) -> dict[str, tuple[int, int]]:
    """The pairs of centres (k, d) of greatest and least distance."""
    distance = torch.cdist(centres.double(), centres.double(), compute_mode="donot_use_mm_for_euclid_dist")
    first, second = torch.triu_indices(len(centres), len(centres), offset=1)
    pairs = distance[first, second]
    places = (int(pairs.argmax()), int(pairs.argmin()))
    return {name: (int(first[at]), int(second[at])) for name, at in zip(PAIRS, places, strict=True)}


def _pixels(images: Tensor, levels: int) -> Tensor:
    return images.flatten(1).float() / (levels - 1)


def _members(label: Tensor, chosen: tuple[int, int]) -> list[Tensor]:
    return [(label == one).nonzero()[:, 0] for one in chosen]


def _name(images: ImageSet, label: Tensor, cluster: int) -> str:
    if images.labels is None:
        return f"{cluster}"
    counts = torch.bincount(images.labels[label == cluster])
    return f"{cluster} ({int(counts.max()) / int(counts.sum()):.0%} class {int(counts.argmax())})"


# ----------
# The cluster study's model: a U-Net as the score of a VE or VP SDE on pixels in [0, 1], its loss and its denoiser.


class ClusterScore(nn.Module):
    """s(x_t, t) = network(x_t / sqrt(alpha^2 + sigma^2), t) / sigma of images (n, c, h, w) at times t (n,)."""

    def __init__(self, network: UNet, schedule: Schedule):
        super().__init__()
        self.network, self.schedule = network, schedule

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Scores, of the shape of x."""
        level = self.schedule.at(t)
        size = torch.sqrt(level.alpha**2 + level.sigma**2)
        return self.network(x / append_dims(size, x), t) / append_dims(level.sigma, x)


def make_schedule(name: str) -> Schedule:
    """The schedule called ve or vp."""
    return VE(BASE) if name == "ve" else VP()


def pixels(images: ImageSet, rows: Tensor | slice = slice(None)) -> Tensor:
    """Images as float32 in [0, 1]."""
    return images.images[rows].float() / (images.levels - 1)


def losses(score: ClusterScore, x: Tensor, t: Tensor, eps: Tensor) -> Tensor:
    """|sigma_t s(x_t, t) + eps|^2 of each image (n,), summed over pixels: score matching with the weight sigma_t^2."""
    level = score.schedule.at(t)
    x_t = append_dims(level.alpha, x) * x + append_dims(level.sigma, x) * eps
    return (append_dims(level.sigma, x) * score(x_t, t) + eps).square().flatten(1).sum(1)


class ClusterObjective:
    """Loss of one optimiser step, a function of (seed, step): t uniform on (1e-5, 1), stratified over the batch."""

    def __init__(self, config: ClustersConfig, score: ClusterScore, images: ImageSet):
        self.config, self.score, self.images = config, score, images
        self.batch = min(config.batch, len(images))
        self.per_epoch = -(-len(images) // self.batch)

    def __call__(self, step: int) -> Tensor:
        """The mean loss, a scalar."""
        epoch, part = divmod(step, self.per_epoch)
        order = epoch_permutation(len(self.images), self.config.seed, epoch)
        rows = order[part * self.batch : (part + 1) * self.batch]
        source, n = generator(self.config.seed, "step", step), len(rows)
        u = (torch.randperm(n, generator=source) + torch.rand(n, generator=source)) / n
        eps = torch.randn(n, *self.images.shape, generator=source)
        rows, t, eps = staged(self.images.images.device, rows, uniform_times(u).float(), eps)
        x = pixels(self.images, rows)
        if self.config.schedule == "ve":
            return replication_loss(self.score, x, t, eps).mean()
        return losses(self.score, x, t, eps).mean()


class ChannelDenoiser:
    """eps_hat in the channel z = sqrt(s(a)) v + sqrt(s(-a)) eps of pixels v = 2 x - 1, from the score on x in [0, 1].

    z / sqrt(s(a)) = v + e^(-a/2) eps, so x is seen under noise of half that size: log-SNR a + 2 log 2 on the schedule's
    scale. At more noise than the schedule reaches the Gaussian's own denoiser answers; at less, eps_hat = 0, which
    leaves z as it is (rounding then finds the grey level).
    """

    def __init__(self, score: ClusterScore, reference: GaussianReference):
        self.score, self.reference = score, reference
        ends = torch.tensor([1.0, T_EPS], dtype=torch.float64)
        low, high = (score.schedule.t_to_logsnr(ends) - 2 * math.log(2)).tolist()
        self.low, self.high = low, high

    def __call__(self, z: Tensor, logsnr: Tensor) -> Tensor:
        """eps_hat, of the shape of z, at log-SNRs (n,)."""
        out = torch.zeros_like(z)
        few = logsnr < self.low
        inside = ~few & (logsnr <= self.high)
        if bool(few.any()):
            out[few] = self.reference.eps_hat(z[few], logsnr[few]).to(z)
        if bool(inside.any()):
            alpha_z, _ = logsnr_to_alpha_sigma(logsnr[inside])
            t = self.score.schedule.logsnr_to_t(logsnr[inside] + 2 * math.log(2))
            level = self.score.schedule.at(t)
            x = (z[inside] / append_dims(alpha_z, z) + 1) / 2
            s = self.score(append_dims(level.alpha, x) * x, t)
            out[inside] = -append_dims(level.sigma, x) * s
        return out
