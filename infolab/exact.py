"""Exact denoisers: of a Gaussian, of a Gaussian mixture, and of a training set itself."""

import torch
from torch import Tensor

from infolab.denoise import Denoiser
from infolab.device import to_double
from infolab.empirical import empirical_posterior_mean
from infolab.mixture import GaussianMixture
from infolab.schedules import append_dims, logsnr_to_alpha_sigma


def gaussian_denoiser(mean: Tensor, covariance: Tensor) -> Denoiser:
    """The optimal denoiser of N(mean, covariance): eps_hat = sigma (alpha^2 S + sigma^2 I)^-1 (z - alpha m).

    Args:
        mean: m (d,).
        covariance: S (d, d).

    Raises:
        UserError: shapes that do not fit, or a negative variance.
    """
    return mixture_denoiser(GaussianMixture(torch.ones(1), mean[None], covariance[None]))


def mixture_denoiser(law: GaussianMixture) -> Denoiser:
    """The optimal denoiser of a mixture, at z (batch..., d) and log-SNRs (batch...); its divergence in closed form."""

    def both(z: Tensor, logsnr: Tensor) -> tuple[Tensor, Tensor]:
        alpha, sigma = logsnr_to_alpha_sigma(logsnr.cpu().double())
        return law.eps_hat(z, logsnr), (-sigma * law.divergence_at(z, alpha, sigma)).to(z)

    return Denoiser.of_eps(law.eps_hat, both)


def memorizer(points: Tensor) -> Denoiser:
    """The denoiser that knows the training set by heart: E[x | z] is a mean of the points, by their closeness to z.

    x0_hat = sum_i w_i x_i, w the softmax of -|z - alpha x_i|^2 / (2 sigma^2): optimal for data that is one of these
    points, each as likely as the others.

    Args:
        points: x_i (n, event...).
    """
    data = points.flatten(1)

    def eps_hat(z: Tensor, logsnr: Tensor) -> Tensor:
        alpha, sigma = logsnr_to_alpha_sigma(to_double(logsnr))
        flat = z.reshape(-1, data.shape[1])
        mean = empirical_posterior_mean(flat, data, alpha.reshape(-1), sigma.reshape(-1)).reshape(z.shape)
        return ((to_double(z) - append_dims(alpha, z) * mean) / append_dims(sigma, z)).to(z)

    return Denoiser.of_eps(eps_hat)
