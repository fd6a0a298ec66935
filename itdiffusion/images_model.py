"""The image denoisers: a U-Net at continuous log-SNR, and three heads that say what its output means."""

import dataclasses

import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax

from common.baselines import pixel_log_mass
from common.data import ImageSet
from common.immse import GaussianReference, LogsnrRange
from common.networks.unet import UNet, UNetConfig
from common.schedules import expand, logsnr_to_alpha_sigma
from itdiffusion.shapes_model import Gaussians


class Head(nn.Module):
    """Makes eps_hat, of the shape of z (n, c, h, w), from the network's output (n, width c, h, w)."""

    width: int = 1


class NoiseHead(Head):
    """The output is eps_hat itself, as published."""

    def forward(self, out: Tensor, z: Tensor, logsnr: Tensor) -> Tensor:
        """`out`."""
        return out


class GaussianHead(Head):
    """eps_hat is the linear optimal denoiser of the data's Gaussian plus the output, scaled by its error's root.

    Args:
        reference: the Gaussian of the training images, of full covariance, with a floor for pixels that never vary.
    """

    def __init__(self, reference: GaussianReference):
        super().__init__()
        floored = GaussianReference(reference.mean, reference.spectrum, reference.eigenvectors)
        self.gaussians = Gaussians([floored])

    def forward(self, out: Tensor, z: Tensor, logsnr: Tensor) -> Tensor:
        """Linear part plus scaled output."""
        flat, a = z.flatten(1)[None], logsnr[None]
        eps_hat = self.gaussians.eps_hat(flat, a) + self.gaussians.shaped(out.flatten(1)[None], a)
        return eps_hat[0].view_as(z)


class LevelsHead(Head):
    """The output is, for each pixel, a logit for each grey level given the other pixels; the pixel's own noisy value
    enters by Bayes' rule.

    With y = z / alpha = x + e^(-logsnr/2) eps, the posterior of pixel i's level b_k is proportional to
    h_ik exp(out_ik) exp(-(y_i - b_k)^2 e^logsnr / 2), h the histogram of that pixel over the training images, and
    x_hat is its mean. At an output of 0 this is the optimal denoiser of independent pixels, whose NLL by I-MMSE is
    that of the histogram; at high log-SNR it rounds to the nearest level whatever the output is.

    Args:
        log_mass: log h, (c, Q, h, w).
    """

    def __init__(self, log_mass: Tensor):
        super().__init__()
        self.width = log_mass.shape[1]
        self.log_mass: Tensor
        self.levels: Tensor
        self.register_buffer("log_mass", log_mass.float().contiguous())  # as a checkpoint gives it back
        self.register_buffer("levels", torch.linspace(-1, 1, self.width)[:, None, None])

    def forward(self, out: Tensor, z: Tensor, logsnr: Tensor) -> Tensor:
        """(z - alpha x_hat) / sigma with x_hat the posterior mean."""
        alpha, sigma = (expand(part, z) for part in logsnr_to_alpha_sigma(logsnr))
        n, c, h, w = z.shape
        own = (z / alpha)[:, :, None] - self.levels  # (n, c, Q, h, w)
        log_posterior = out.view(n, c, self.width, h, w) + self.log_mass
        log_posterior = log_posterior - expand(logsnr.exp() / 2, own) * own.square()
        # Deviations from the pixel's own value rather than the levels themselves: nothing cancels at high log-SNR.
        deviation = (log_softmax(log_posterior, 2).exp() * own).sum(2)
        return deviation * alpha / sigma


class ImageDenoiser(nn.Module):
    """eps_hat(z, logsnr) of one member trained from scratch.

    The network's time is t = 1/2 + (loc - logsnr) / (2 clip scale): 0 to 1 over the range of training, beyond it the
    line goes on.

    Args:
        size: the U-Net for the image's channels; its output is widened as the head needs.
        head: what the output means.
        seed: of the initial weights.
        law: the range of log-SNR in training.
        name: what tables call it.
        levels: grey levels of the images in [-1, 1].
    """

    def __init__(self, size: UNetConfig, head: Head, seed: int, law: LogsnrRange, name: str, levels: int):
        super().__init__()
        self.network = UNet(dataclasses.replace(size, out_channels=head.width * size.in_channels), seed)
        self.head = head
        self.name, self.variance = name, "large"
        self.shape = (size.in_channels, size.image_size, size.image_size)
        self.law: Tensor
        self.grey_levels: Tensor
        # Buffers, so that a checkpoint alone says how the network is to be fed.
        self.register_buffer("law", torch.tensor([law.loc, law.scale, law.clip], dtype=torch.float32))
        self.register_buffer("grey_levels", torch.tensor(levels))

    def forward(self, z: Tensor, logsnr: Tensor) -> Tensor:
        """eps_hat at z (n, c, h, w) and log-SNR (n,)."""
        a = logsnr.to(z)
        loc, scale, clip = self.law
        out = self.network(z, 0.5 + (loc - a) / (2 * clip * scale))
        with torch.autocast(z.device.type, enabled=False):  # heads subtract nearly equal numbers
            return self.head(out.float(), z, a)

    @property
    def levels(self) -> int:
        """Grey levels of its training images."""
        return int(self.grey_levels)

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return next(self.parameters()).device


def make_head(kind: str, train: ImageSet, reference: GaussianReference) -> Head:
    """The head `noise`, `gaussian` or `levels` for these training images."""
    if kind == "gaussian":
        return GaussianHead(reference)
    if kind == "levels":
        c, h, w = train.shape
        log_mass = pixel_log_mass(train.images.cpu(), train.levels).view(c, h, w, train.levels)
        return LevelsHead(log_mass.permute(0, 3, 1, 2))
    return NoiseHead()
