"""The density of each 2-D denoiser on a product grid: pointwise NLL, noise shared by all points, control variate."""

import math

import torch
from torch import Tensor

from common.immse import LogsnrGrid
from common.immse.noise import curve_noise
from common.schedules import logsnr_to_alpha_sigma
from itdiffusion.shapes_model import Gaussians, ShapesModel

HALF_WIDTH = 3.0
"""The grid covers [-3, 3] on both axes, as published."""


def grid_axis(points: int) -> Tensor:
    """The grid's coordinates on either axis, (points,) float32."""
    return torch.linspace(-HALF_WIDTH, HALF_WIDTH, points)


@torch.no_grad()
def density_grid(model: ShapesModel, axis: Tensor, grid: LogsnrGrid, pairs: int, seed: int) -> Tensor:
    """-log p(x) in nats at every point of axis x axis and its standard error, (2, k, r, r) float64.

    -log p(x) = -log N(x; mu, Sigma) - 1/2 Int E_eps[mse_G(x, eps, a) - mse(x, eps, a)] da, the same eps at all points x
    and for all members. At one (a, eps) the noisy points are a product grid too, whose first layer costs a row for each
    axis value (`FourierMLPs.on_grid`).

    The error is over the pairs; since noise is shared, that of neighbouring points is one and the same.

    Args:
        model: k denoisers.
        axis: coordinates (r,) of both axes; the first index of the result is the first coordinate.
        grid: log-SNR points and weights.
        pairs: antithetic pairs eps, -eps at each log-SNR point, at least 2.
        seed: of the noise.
    """
    axis = axis.to(model.gaussians.mean)
    points = torch.cartesian_prod(axis, axis)
    gap = torch.zeros(pairs, len(model), len(points), dtype=torch.float64)
    drawn = curve_noise("quasi", (pairs, 2), 0, torch.arange(len(grid)), len(grid), seed)
    noise = drawn.transpose(0, 1).to(axis)  # spread evenly along the curve, pair by pair
    for logsnr, weight, at_point in zip(grid.logsnr.to(axis), grid.weights.tolist(), noise, strict=True):
        alpha, sigma = logsnr_to_alpha_sigma(logsnr)
        for pair, half in enumerate(at_point):
            for eps in (half, -half):
                network = model.on_grid([alpha * axis + sigma * one for one in eps], logsnr)
                gaussian = model.gaussians.eps_hat(alpha * points + sigma * eps, logsnr[None, None])
                difference = (eps - gaussian).square().sum(-1) - (eps - network).square().sum(-1)
                gap[pair] += weight / 2 * difference.cpu().double()
    nll = -log_gaussian(model.gaussians, points) - gap / 2
    both = torch.stack([nll.mean(0), nll.std(0) / pairs**0.5])
    return both.view(2, len(model), len(axis), len(axis))


def log_gaussian(gaussians: Gaussians, x: Tensor) -> Tensor:
    """log N(x; mu, Sigma) of points x (n, d) under each of k Gaussians, (k, n) float64."""
    mean, eigenvalues, vectors = (item.cpu().double() for item in gaussians.buffers())
    along = (x.cpu().double() - mean[:, None]) @ vectors
    constant = eigenvalues.log().sum(-1, keepdim=True) + x.shape[-1] * math.log(2 * math.pi)
    return -0.5 * ((along**2 / eigenvalues[:, None]).sum(-1) + constant)
