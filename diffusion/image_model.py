"""The image model: a U-Net as the score of a VP SDE, and its denoising score-matching loss."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from common.data import ImageSet, epoch_permutation, flip_draws, mirrored
from common.networks.dropout import set_dropout_generator
from common.networks.unet import UNet
from common.schedules import VP, expand
from common.seeds import generator
from common.staging import staged
from common.time_laws import DebiasedTime, UniformTime
from common.transforms import LogitTransform, dequantize
from diffusion.image_config import ImageConfig

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
            return out / expand(level.g2.sqrt(), x)
        if self.parametrization == "velocity":
            out = expand(level.sigma, x) * x + expand(level.alpha, x) * out
        return -out / expand(torch.sqrt(level.sigma**2 + SIGMA_FLOOR**2), x)


def time_law(config: ImageConfig, schedule: VP) -> UniformTime | DebiasedTime:
    """The law of t in training."""
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
        squared = (expand(self.sigma, self.s) * self.s + self.eps).square().flatten(1).sum(1)
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
        x_t = expand(level.alpha, x0) * x0 + expand(level.sigma, x0) * eps
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
