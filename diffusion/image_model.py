"""The image study's settings, data and model: a U-Net as the score of a VP SDE, and its loss."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import torch
from torch import Tensor, nn

from infolab.config import EXCLUDED_FROM_RUN_ID, AtLeast, OneOf, Positive, RunConfig, Share, not_in_id_at
from infolab.data import NAMES, ImageSet, epoch_permutation, flip_draws, load, mirrored
from infolab.data.images import LogitTransform, dequantize
from infolab.data.places import default_data_dir
from infolab.denoise import Denoiser
from infolab.device import PRECISIONS, precision_label, staged
from infolab.epochs import DebiasedTime, UniformTime
from infolab.errors import UserError
from infolab.nn.blocks import set_dropout_generator
from infolab.nn.unet import NETWORKS, UNet, UNetConfig
from infolab.noise import generator
from infolab.schedules import VP, append_dims

# ----------
# Settings of the image study: few-shot and full training sets, over the diffusion time T.


@dataclass(frozen=True)
class ImageConfig(RunConfig):
    """One network: a data set, a training set of m images, a diffusion time T and a seed."""

    data_dir: Path = field(default_factory=default_data_dir, metadata=EXCLUDED_FROM_RUN_ID)
    """Folder of data sets that are not built in; the default is the environment's DATA_DIR, else data/ in the
    repository (`python -m infolab.data doctor` says what is there)."""
    download: bool = field(default=False, metadata=EXCLUDED_FROM_RUN_ID)
    """Fetch missing files of the data set into --data-dir first; nothing is downloaded otherwise."""
    dataset: Annotated[str, OneOf("data set", NAMES)] = "digits"
    """Image set (`python -m infolab.data doctor` lists them)."""
    m: int = 16
    """Training images, chosen by the seed; 0: the full training set."""
    T: float = 1.0
    """Diffusion time."""
    seed: int = 0
    """Seed of the subset, initial weights, noise and evaluation."""
    network: Annotated[str, OneOf("network", sorted(NETWORKS))] = "digits"
    """U-Net size: digits, mnist or cifar10, each also as -narrow (for a CPU) and -tiny (for tests)."""
    parametrization: Annotated[str, OneOf("parametrization", ("drift", "noise", "velocity"))] = "drift"
    """What the network's output is: drift, a = g s (published); noise, eps_hat; velocity, v with
    eps_hat = sigma x + alpha v. The last two give s = -eps_hat / sqrt(sigma^2 + 1e-4)."""
    iterations: Annotated[int, AtLeast(1)] = 10_000
    """Optimiser steps."""
    batch: Annotated[int, AtLeast(1)] = 128
    """Images of one step (few-shot: all m of them, where fewer)."""
    flip: bool = field(default=False, metadata=not_in_id_at(False))
    """Mirror each training image left to right with probability 1/2, anew in every step (as published for CIFAR-10);
    test images, T1 and the score losses are those of the images as recorded."""
    lr: Annotated[float, Positive()] = 1e-4
    """Learning rate of Adam."""
    ema_decay: Annotated[float, Share()] = 0.0
    """Decay of the average of the weights that is evaluated; 0: the weights themselves (published)."""
    dropout: float = 0.0
    """Dropout of the U-Net."""
    time_sampler: Annotated[str, OneOf("time sampler", ("uniform", "debiased", "importance"))] = "uniform"
    """Law of t in training: uniform; debiased (uniform in log-SNR: the likelihood weighting); or importance (the same
    t, weighted so that the loss is that of uniform t)."""
    logit_A: float = 0.05
    """A of the logit transform y = logit(A + (1 - 2A) x)."""
    beta_min: Annotated[float, Positive()] = 0.1
    """beta(0) of the VP SDE."""
    beta_max: float = 20.0
    """beta(1) of the VP SDE."""
    sde_steps: Annotated[int, AtLeast(1)] = 1000
    """N, sampler steps at T = 1 (and at every T under the rule fixed_number)."""
    R: Annotated[float, Positive()] = 4000.0
    """Sub-Gaussian constant of the bound."""
    test_images: Annotated[int, AtLeast(2)] = 100
    """Held-out images of the bits per dimension."""
    samples: Annotated[int, AtLeast(2)] = 64
    """Images drawn, on which L is measured; the first 36 are kept as a picture."""
    elbo_draws: Annotated[int, AtLeast(1)] = 32
    """Times and noises per test image in the ELBO."""
    ode_tolerance: Annotated[float, Positive()] = 1e-5
    """Absolute and relative tolerance of the ODE likelihood."""
    ode_probes: Annotated[int, AtLeast(1)] = 1
    """Probes of the Hutchinson divergence per test image."""
    probe: Annotated[str, OneOf("probe", ("rademacher", "gaussian"))] = "rademacher"
    """Distribution of the probes: rademacher or gaussian."""
    mi_outer: Annotated[int, AtLeast(2)] = 1000
    """Training images over which T1 is averaged (the mixture is always over all of them)."""
    score_draws: Annotated[int, AtLeast(1)] = 512
    """Noised images per replicate of the score losses."""
    score_replicates: Annotated[int, AtLeast(2)] = 8
    """Replicates of the score losses (their spread gives the standard error)."""
    t_eps: float = 1e-3
    """Lower end in time of the exact score loss."""
    eval_batch: Annotated[int, AtLeast(1)] = 512
    """Images per network call in the evaluation."""
    precision: Annotated[str, OneOf("precision", PRECISIONS)] = "fp32"
    """Arithmetic of the networks, in training and evaluation: fp32, tf32 (on a GPU that has it), or bf16 (autocast)."""
    compile: bool = field(default=False, metadata=EXCLUDED_FROM_RUN_ID)
    """Compile the networks (torch.compile): some minutes at the start, faster steps on a GPU."""

    def check(self) -> None:
        """Refuse settings that cannot run, before anything is written."""
        super().check()
        if self.m < 0 or self.m == 1:
            raise UserError(f"--m must be 0 (the full training set) or at least 2, not {self.m}")
        if not 0 < self.t_eps < self.T:
            raise UserError(f"--T must exceed --t-eps ({self.t_eps}), not {self.T}")

    @property
    def split(self) -> str:
        """Which of the paper's two image experiments this is."""
        return "few_shot" if self.m else "full"

    @property
    def model_name(self) -> str:
        """What the tables call the model: networks that differ in it are never averaged."""
        flip = ",flip" if self.flip else ""
        precision = precision_label(self.precision)
        return f"unet[{self.network},{self.parametrization},{self.time_sampler}{flip}{precision}]"

    def unet(self) -> UNetConfig:
        """The U-Net's size."""
        return NETWORKS[self.network](dropout=self.dropout)


def over_T_and_seeds(base: ImageConfig, times: Sequence[float], seeds: Sequence[int]) -> list[ImageConfig]:
    """The sweep of `base` over diffusion times and seeds, seed by seed."""
    return [dataclasses.replace(base, T=T, seed=seed) for seed in seeds for T in times]


# ----------
# The images of one run: loaded (downloaded when asked), the few-shot subset chosen, on the device.


def load_images(config: ImageConfig, device: torch.device) -> tuple[ImageSet, ImageSet]:
    """The training set (m images chosen by the seed, or all) and the whole test set of `config`, on `device`.

    Raises:
        UserError: unknown data set, files that are missing or damaged, or images that do not fit the network.
    """
    train, test = (
        load(config.dataset, split, data_dir=config.data_dir, download=config.download) for split in ("train", "test")
    )
    size = config.unet()
    expected = (size.in_channels, size.image_size, size.image_size)
    if tuple(train.shape) != expected:
        raise UserError(
            f"--network {config.network} takes images of shape {expected}, {config.dataset}'s are "
            f"{tuple(train.shape)}: choose the network of that data set"
        )
    if config.m:
        train = train.subset(config.m, config.seed)
    return train.to(device), test.to(device)


# ----------
# The image model: a U-Net as the score of a VP SDE, and its denoising score-matching loss.

SIGMA_FLOOR = 0.01
"""Under `noise` and `velocity`, s = -eps_hat / sqrt(sigma^2 + SIGMA_FLOOR^2), which stays finite at t = 0."""


class ImageScore(nn.Module):
    """s(x, t) of images x (n, c, h, w) at times t (n,).

    Args:
        network: the U-Net.
        schedule: the forward process.
        parametrization: `drift`, network = g s (Huang et al. 2021); `noise`, network = eps_hat; `velocity`, network = v
            with eps_hat = sigma x + alpha v (Salimans and Ho 2022), which is exact where only noise is left.
    """

    def __init__(self, network: UNet, schedule: VP, parametrization: str):
        super().__init__()
        self.network, self.schedule, self.parametrization = network, schedule, parametrization

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Scores, of the shape of x."""
        level = self.schedule.at(t)
        out = self.network(x, t)
        if self.parametrization == "drift":
            return out / append_dims(level.g2.sqrt(), x)
        if self.parametrization == "velocity":
            out = append_dims(level.sigma, x) * x + append_dims(level.alpha, x) * out
        return -out / append_dims(torch.sqrt(level.sigma**2 + SIGMA_FLOOR**2), x)

    def denoiser(self) -> Denoiser:
        """The model, for instruments and samplers."""
        return Denoiser.of_score(self, self.schedule)


def time_law(config: ImageConfig, schedule: VP) -> UniformTime | DebiasedTime:
    """The distribution of t in training."""
    if config.time_sampler == "uniform":
        return UniformTime(config.T)
    return DebiasedTime(schedule, config.T, config.t_eps)


@dataclass(frozen=True)
class Denoised:
    """Scores s (n, c, h, w) at times t (n,) of images noised by sigma eps, and the weights of their losses (n,)."""

    s: Tensor
    t: Tensor
    sigma: Tensor
    eps: Tensor
    weight: Tensor

    def loss(self) -> Tensor:
        """Mean over the batch of w(t) 1/2 |sigma s + eps|^2, summed over dimensions; a scalar."""
        squared = (append_dims(self.sigma, self.s) * self.s + self.eps).square().flatten(1).sum(1)
        return 0.5 * (self.weight * squared).mean()


class ImageObjective:
    """Loss of one optimiser step: mean over the batch of w(t) 1/2 |sigma s + eps|^2, a function of (seed, step).

    uniform: t ~ U(0, T), w = 1. debiased (Huang et al. 2021, app. C): t with density p proportional to g^2/sigma^2 and
    w = 1, which is the likelihood weighting, the ELBO's integrand. importance: the same t with w = 1/(T p(t)), so that
    the loss estimates the integral of `uniform`.

    Args:
        config: the run's settings.
        score: the model.
        images: the training set.
        transform: grey levels to logits.
    """

    def __init__(self, config: ImageConfig, score: ImageScore, images: ImageSet, transform: LogitTransform):
        self.config, self.score, self.images, self.transform = config, score, images, transform
        self.law = time_law(config, score.schedule)
        self.batch = min(config.batch, len(images))
        self.per_epoch = len(images) // self.batch
        self.device = images.images.device
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.long)

    def __call__(self, step: int) -> Tensor:
        """The loss, a scalar."""
        return self.denoise(step).loss()

    def denoise(self, step: int) -> Denoised:
        """The noised batch of this step and the model's scores there."""
        source = generator(self.config.seed, "step", step)
        shape = (self.batch, *self.images.shape)
        u = torch.rand(shape, generator=source)
        t, density = self.law.sample(self._stratified(source))
        weight = 1 / (self.config.T * density) if self.config.time_sampler == "importance" else torch.ones_like(t)
        eps = torch.randn(shape, generator=source)
        flips = flip_draws(self.batch, generator(self.config.seed, "flip", step)) if self.config.flip else u[:0]
        rows, u, t, weight, eps, flips = staged(
            self.device, self._index(step), u, t.float(), weight.float(), eps, flips
        )
        pixels = self.images.images[rows]
        if self.config.flip:
            pixels = mirrored(pixels, flips)
        x0, _ = self.transform.forward(dequantize(pixels, u, self.images.levels))
        level = self.score.schedule.at(t)
        x_t = append_dims(level.alpha, x0) * x0 + append_dims(level.sigma, x0) * eps
        if self.config.dropout:
            masks = generator(self.config.seed, "dropout", step, device=self.device)
            set_dropout_generator(self.score, masks)
        return Denoised(self.score(x_t, t), t, level.sigma, eps, weight)

    def _stratified(self, source: torch.Generator) -> Tensor:
        # One uniform in each of `batch` equal parts, shuffled: each t is still uniform, their mean has less variance.
        strata = torch.randperm(self.batch, generator=source)
        return (strata + torch.rand(self.batch, generator=source)) / self.batch

    def _index(self, step: int) -> Tensor:
        epoch, part = divmod(step, self.per_epoch)
        if epoch != self._epoch:
            self._epoch = epoch
            self._order = epoch_permutation(len(self.images), self.config.seed, epoch)
        return self._order[part * self.batch : (part + 1) * self.batch]
