"""The losses: denoising, reconstruction, MMD to the prior and KL (or its distance to a growing capacity)."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from infodiffusion.config import InfoConfig
from infodiffusion.networks import VAE, Code, Diff, Vanilla, draw_prior
from infolab import distributed
from infolab.data import ImageSet, epoch_permutation, flip_draws, mirrored
from infolab.data.images import ScaleTransform
from infolab.device import on_cpu, staged
from infolab.mmd import mmd2_loss, named_kernel
from infolab.nn.blocks import set_dropout_generator
from infolab.noise import generator
from infolab.schedules import DDPM
from infolab.training import learning_rate, set_learning_rate


@dataclass(frozen=True)
class Losses:
    """The terms of one batch, scalars but for the first; what a model does not have is 0.

    Attributes:
        errors: mean over pixels of (eps - eps_hat)^2, or of a VAE's (x - x_hat)^2, for each image (n,).
        reconstruction: |x0_hat - x|^2 / T, per pixel.
        mmd: MMD^2 between codes and prior, without its weight.
        kl: KL(q(a|x) || N(0, I)), mean over images, nats.
        total: what is differentiated.
    """

    errors: Tensor
    reconstruction: Tensor
    mmd: Tensor
    kl: Tensor
    total: Tensor


def schedule_of(config: InfoConfig) -> DDPM:
    """The betas of `config`, on a line."""
    return DDPM.linear(config.T, config.beta_1, config.beta_T)


def capacity(config: InfoConfig, epoch: int) -> float:
    """C = C_max epoch / epochs, nats (Burgess et al. 2018)."""
    return config.c_max * epoch / config.epochs


def code_terms(
    config: InfoConfig, code: Code, used: Tensor, prior: Tensor, epoch: int
) -> tuple[Tensor, Tensor, Tensor]:
    """MMD^2, KL, and their weighted sum (Wang et al. 2023, section 4).

    The MMD is that of the codes which the decoder gets (the deterministic a, or a VAE's samples); where diff has a KL
    too, of mu. With capacity the KL's part is |KL - C|.

    Args:
        config: weights, kernel and capacity.
        code: what the encoder says of the batch.
        used: the codes that the decoder got, (n, a_dim).
        prior: draws of the prior, (n, a_dim).
        epoch: passes over the data so far.
    """
    zero = used.new_zeros(())
    mmd = kl = total = zero
    if config.mmd_weight:
        compared = code.mu if config.model == "diff" and config.kld_weight else used
        mmd = mmd2_loss(compared, prior, named_kernel(config.mmd_kernel, config.a_dim))
        total = total + config.mmd_weight * mmd
    if config.kld_weight:
        kl = code.kl().mean()
        total = total + config.kld_weight * ((kl - capacity(config, epoch)).abs() if config.use_c else kl)
    return mmd, kl, total


def losses(
    config: InfoConfig, model: nn.Module, schedule: DDPM, x: Tensor, step: Tensor, eps: Tensor, prior: Tensor,
    code_eps: Tensor, epoch: int,
) -> Losses:  # fmt: skip
    """The loss of a batch and its terms.

    A diffusion model: mean w (eps - eps_hat(x_t, step, code))^2 + |x0_hat - x|^2 / T + the terms of the code, with
    w = 1 (published) or 1/abar of the step (`InfoConfig.parametrization`), and x0_hat = (x_1 -
    beta_1 / sqrt(1 - abar_1) eps_hat(x_1, 1)) / sqrt(alpha_1), so that |x0_hat - x|^2 is beta_1 / alpha_1 times
    |eps - eps_hat|^2 at the first step. Images that were drawn at that step, a share of 1/T of them, give the
    reconstruction term without another pass through the network. (The public code puts the clean x and eps_hat of a
    random step into this formula.) A VAE: mean (x - x_hat)^2 + the terms of the code.

    Args:
        config: the run's settings.
        model: Diff, VAE or Vanilla.
        schedule: the noise schedule.
        x: images in [-1, 1], (n, c, h, w).
        step: steps (n,), 0 .. T - 1.
        eps: noise of the shape of x.
        prior: draws of the prior (n, a_dim).
        code_eps: noise of the sampled code (n, a_dim).
        epoch: passes over the data so far.
    """
    zero = x.new_zeros(())
    code = used = None
    weight = x.new_ones(len(x))
    if isinstance(model, (Diff, VAE)):
        code = model.encoder(x)
        used = code.sample(code_eps) if model.sampled else code.a
    reconstruction = zero
    if isinstance(model, VAE):
        errors = (model(used) - x).square().flatten(1).mean(1)
    else:
        assert isinstance(model, (Diff, Vanilla))
        x_t = model.output.noised(x, eps, step)
        eps_hat = model(x_t, step, used) if isinstance(model, Diff) else model(x_t, step)
        errors = (eps - eps_hat).square().flatten(1).mean(1)
        weight = model.output.weight(step)
        if not isinstance(model, Vanilla):
            beta = float(schedule.betas[0])
            reconstruction = (errors * (step == 0)).mean() * (beta / (1 - beta))
    mmd = kl = extra = zero
    if code is not None and used is not None:
        mmd, kl, extra = code_terms(config, code, used, prior, epoch)
    return Losses(errors, reconstruction, mmd, kl, (weight * errors).mean() + reconstruction + extra)


def rate(config: InfoConfig, step: int, per_epoch: int) -> float:
    """Learning rate of an optimiser step, see `InfoConfig.lr_schedule`.

    >>> plain = InfoConfig(epochs=10, lr=1e-4)
    >>> [round(rate(plain, epoch, 1), 6) for epoch in (0, 1, 6)]
    [0.0001, 0.0002, 0.0001]
    """
    if config.lr_schedule != "published":
        return learning_rate(config.lr_schedule, 2 * config.lr, step, config.epochs * per_epoch)
    epoch = step // per_epoch
    if epoch == 0:
        return config.lr
    return config.lr * (1 + math.cos(math.pi * (epoch - 1) / config.epochs))


class Objective:
    """The loss of one optimiser step; what image j of its batch gets is a function of (seed, step, j).

    Args:
        config: the run's settings.
        model: the network, on the device of the images.
        train: the training images.
        optimizer: its learning rate is set at each step.
    """

    def __init__(self, config: InfoConfig, model: nn.Module, train: ImageSet, optimizer: torch.optim.Optimizer):
        self.config, self.model, self.train, self.optimizer = config, model, train, optimizer
        self.schedule = schedule_of(config)
        self.scale = ScaleTransform(train.levels)
        self.batch = min(config.batch, len(train))
        self.per_epoch = len(train) // self.batch
        self.steps = config.epochs * self.per_epoch
        self.device = train.images.device
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.long)

    def __call__(self, step: int) -> Tensor:
        """The loss of this process's share of the step's batch."""
        config, epoch = self.config, step // self.per_epoch
        set_learning_rate(self.optimizer, rate(config, step, self.per_epoch))
        source = generator(config.seed, "step", step)
        flips = [flip_draws(self.batch, source)] if config.flip else []
        drawn = draws(config, (self.batch, *self.train.shape), source)
        mine = distributed.share(torch.arange(self.batch))
        if config.dropout:
            set_dropout_generator(
                self.model, generator(config.seed, "dropout", step, distributed.rank(), device=self.device)
            )
        shared = (item[mine] for item in (self._index(step), *drawn, *flips))
        rows, step_of, eps, prior, code_eps, *tosses = staged(self.device, *shared)
        x = self.scale.forward(self.train.images[rows])
        if tosses:
            x = mirrored(x, tosses[0])
        return losses(config, self.model, self.schedule, x, step_of, eps, prior, code_eps, epoch).total

    def _index(self, step: int) -> Tensor:
        epoch, place = divmod(step, self.per_epoch)
        if epoch != self._epoch:
            self._epoch = epoch
            self._order = epoch_permutation(len(self.train), self.config.seed, epoch)
        return self._order[place * self.batch : (place + 1) * self.batch]


def draws(config: InfoConfig, shape: tuple[int, ...], source: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Steps (n,), eps (shape), prior draws and noise of the codes (n, a_dim) for n = shape[0] images."""
    n = shape[0]
    step = torch.randint(config.T, (n,), generator=source)
    eps = torch.randn(shape, generator=source)
    prior = draw_prior(config.prior, n, config.a_dim, source)
    return step, eps, prior, torch.randn(n, config.a_dim, generator=source)


def evaluator(config: InfoConfig, test: ImageSet, most: int = 1024) -> Callable[[nn.Module, int], dict[str, float]]:
    """A function of (model in evaluation mode, epoch) that gives the losses of at most `most` test images."""
    images = test.take(torch.linspace(0, len(test) - 1, min(most, len(test))).round().long())
    schedule, scale = schedule_of(config), ScaleTransform(test.levels)

    @torch.no_grad()
    def measure(model: nn.Module, epoch: int) -> dict[str, float]:
        errors, others = [], []
        for number, block in enumerate(images.images.split(256)):
            x = scale.forward(block)
            drawn = draws(config, tuple(x.shape), generator(config.seed, "evaluation", number))
            step, eps, prior, code_eps = staged(x.device, *drawn)
            found = losses(config, model, schedule, x, step, eps, prior, code_eps, epoch)
            errors.append(on_cpu(found.errors))
            others.append([float(part) for part in (found.mmd, found.kl)])
        per_image = torch.cat(errors)
        mmd, kl = torch.tensor(others, dtype=torch.float64).mean(0).tolist()
        se = float(per_image.std() / len(per_image) ** 0.5)
        return {"data_loss": float(per_image.mean()), "data_loss_se": se, "mmd": mmd, "kl_nats": kl}

    return measure
