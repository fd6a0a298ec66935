"""The cluster study's model: a U-Net as the score of a VE or VP SDE on pixels in [0, 1], its loss and its denoiser."""

import math

import torch
from torch import Tensor, nn

from common.data import ImageSet, epoch_permutation
from common.immse import GaussianReference
from common.networks.unet import UNet
from common.schedules import VE, VP, Schedule, expand, logsnr_to_alpha_sigma
from common.seeds import generator
from common.staging import staged
from scoregen import replication
from scoregen.clusters_config import ClustersConfig


class ClusterScore(nn.Module):
    """s(x_t, t) = network(x_t / sqrt(alpha^2 + sigma^2), t) / sigma of images (n, c, h, w) at times t (n,)."""

    def __init__(self, network: UNet, schedule: Schedule):
        super().__init__()
        self.network, self.schedule = network, schedule

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Scores, of the shape of x."""
        level = self.schedule.at(t)
        size = torch.sqrt(level.alpha**2 + level.sigma**2)
        return self.network(x / expand(size, x), t) / expand(level.sigma, x)


def make_schedule(name: str) -> Schedule:
    """The schedule called ve or vp."""
    return VE(replication.BASE) if name == "ve" else VP()


def pixels(images: ImageSet, rows: Tensor | slice = slice(None)) -> Tensor:
    """Images as float32 in [0, 1]."""
    return images.images[rows].float() / (images.levels - 1)


def losses(score: ClusterScore, x: Tensor, t: Tensor, eps: Tensor) -> Tensor:
    """|sigma_t s(x_t, t) + eps|^2 of each image (n,), summed over pixels: score matching with the weight sigma_t^2."""
    level = score.schedule.at(t)
    x_t = expand(level.alpha, x) * x + expand(level.sigma, x) * eps
    return (expand(level.sigma, x) * score(x_t, t) + eps).square().flatten(1).sum(1)


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
        rows, t, eps = staged(self.images.images.device, rows, replication.uniform_times(u).float(), eps)
        x = pixels(self.images, rows)
        if self.config.schedule == "ve":
            return replication.replication_loss(self.score, x, t, eps).mean()
        return losses(self.score, x, t, eps).mean()


class ChannelDenoiser:
    """eps_hat in the channel z = sqrt(s(a)) v + sqrt(s(-a)) eps of pixels v = 2 x - 1, from the score on x in [0, 1].

    z / sqrt(s(a)) = v + e^(-a/2) eps, so x is seen under noise of half that size: log-SNR a + 2 log 2 on the schedule's
    scale. At more noise than the schedule reaches the Gaussian's own denoiser answers; at less, eps_hat = 0, which
    leaves z as it is (rounding then finds the grey level).
    """

    def __init__(self, score: ClusterScore, reference: GaussianReference):
        self.score, self.reference = score, reference
        ends = torch.tensor([1.0, replication.T_EPS], dtype=torch.float64)
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
            x = (z[inside] / expand(alpha_z, z) + 1) / 2
            s = self.score(expand(level.alpha, x) * x, t)
            out[inside] = -expand(level.sigma, x) * s
        return out
