"""Settings of the image study: few-shot and full training sets, over the diffusion time T."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from common.config import NOT_IN_ID, RunConfig, not_in_id_at
from common.data import NAMES
from common.data.places import default_data_dir
from common.device import PRECISIONS, precision_label
from common.errors import UserError, choose
from common.networks.unet import UNetConfig
from common.networks.unet_configs import NETWORKS


@dataclass(frozen=True)
class ImageConfig(RunConfig):
    """One network: a data set, a training set of m images, a diffusion time T and a seed."""

    data_dir: Path = field(default_factory=default_data_dir, metadata=NOT_IN_ID)
    """Folder of data sets that are not built in; the default is the environment's DATA_DIR, else data/ in the
    repository (`python -m common.data doctor` says what is there)."""
    download: bool = field(default=False, metadata=NOT_IN_ID)
    """Fetch missing files of the data set into --data-dir first; nothing is downloaded otherwise."""
    dataset: str = "digits"
    """Image set (`python -m common.data doctor` lists them)."""
    m: int = 16
    """Training images, chosen by the seed; 0: the full training set."""
    T: float = 1.0
    """Diffusion time."""
    seed: int = 0
    """Seed of the subset, initial weights, noise and evaluation."""
    network: str = "digits"
    """U-Net size: digits, mnist or cifar10, each also as -narrow (for a CPU) and -tiny (for tests)."""
    parametrization: str = "drift"
    """What the network's output is: drift, a = g s (published); noise, eps_hat; velocity, v with
    eps_hat = sigma x + alpha v. The last two give s = -eps_hat / sqrt(sigma^2 + 1e-4)."""
    iterations: int = 10_000
    """Optimiser steps."""
    batch: int = 128
    """Images of one step (few-shot: all m of them, where fewer)."""
    flip: bool = field(default=False, metadata=not_in_id_at(False))
    """Mirror each training image left to right with probability 1/2, anew in every step (as published for CIFAR-10);
    test images, T1 and the score losses are those of the images as recorded."""
    lr: float = 1e-4
    """Learning rate of Adam."""
    ema_decay: float = 0.0
    """Decay of the average of the weights that is evaluated; 0: the weights themselves (published)."""
    dropout: float = 0.0
    """Dropout of the U-Net."""
    time_sampler: str = "uniform"
    """Law of t in training: uniform; debiased (uniform in log-SNR: the likelihood weighting); or importance (the same
    t, weighted so that the loss is that of uniform t)."""
    logit_A: float = 0.05
    """A of the logit transform y = logit(A + (1 - 2A) x)."""
    beta_min: float = 0.1
    """beta(0) of the VP SDE."""
    beta_max: float = 20.0
    """beta(1) of the VP SDE."""
    sde_steps: int = 1000
    """N, sampler steps at T = 1 (and at every T under the rule fixed_number)."""
    R: float = 4000.0
    """Sub-Gaussian constant of the bound."""
    test_images: int = 100
    """Held-out images of the bits per dimension."""
    samples: int = 64
    """Images drawn, on which L is measured; the first 36 are kept as a picture."""
    elbo_draws: int = 32
    """Times and noises per test image in the ELBO."""
    ode_tolerance: float = 1e-5
    """Absolute and relative tolerance of the ODE likelihood."""
    ode_probes: int = 1
    """Probes of the Hutchinson divergence per test image."""
    probe: str = "rademacher"
    """Law of the probes: rademacher or gaussian."""
    mi_outer: int = 1000
    """Training images over which T1 is averaged (the mixture is always over all of them)."""
    score_draws: int = 512
    """Noised images per replicate of the score losses."""
    score_replicates: int = 8
    """Replicates of the score losses (their spread gives the standard error)."""
    t_eps: float = 1e-3
    """Lower end in time of the exact score loss."""
    eval_batch: int = 512
    """Images per network call in the evaluation."""
    precision: str = "fp32"
    """Arithmetic of the networks, in training and evaluation: fp32, tf32 (on a GPU that has it), or bf16 (autocast)."""
    compile: bool = field(default=False, metadata=NOT_IN_ID)
    """Compile the networks (torch.compile): some minutes at the start, faster steps on a GPU."""

    def check(self) -> None:
        """Refuse settings that cannot run, before anything is written."""
        choose("data set", self.dataset, NAMES)
        choose("network", self.network, sorted(NETWORKS))
        choose("parametrization", self.parametrization, ("drift", "noise", "velocity"))
        choose("time sampler", self.time_sampler, ("uniform", "debiased", "importance"))
        choose("probe", self.probe, ("rademacher", "gaussian"))
        choose("precision", self.precision, PRECISIONS)
        for name in ("iterations", "batch", "sde_steps", "elbo_draws", "ode_probes", "score_draws", "eval_batch"):
            self._least(name, 1)
        for name in ("test_images", "samples", "mi_outer", "score_replicates"):
            self._least(name, 2)
        if self.m < 0 or self.m == 1:
            raise UserError(f"--m must be 0 (the full training set) or at least 2, not {self.m}")
        for name in ("lr", "R", "ode_tolerance", "beta_min"):
            if not getattr(self, name) > 0:
                raise UserError(f"--{name.replace('_', '-')} must be positive, not {getattr(self, name)}")
        if not 0 < self.t_eps < self.T:
            raise UserError(f"--T must exceed --t-eps ({self.t_eps}), not {self.T}")
        if not 0 <= self.ema_decay < 1:
            raise UserError(f"--ema-decay must lie in [0, 1), not {self.ema_decay}")

    def _least(self, name: str, least: int) -> None:
        if getattr(self, name) < least:
            raise UserError(f"--{name.replace('_', '-')} must be at least {least}, not {getattr(self, name)}")

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
