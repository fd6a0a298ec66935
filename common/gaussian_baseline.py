"""A Gaussian with full covariance as a law of grey levels: the product of conditional bin masses, pixel by pixel."""

from dataclasses import dataclass

import torch
from torch import Tensor

from common.errors import UserError
from common.estimate import mean_and_se, nats_to_bpd

VARIANCE_FLOOR = 1 / 12
"""Added to the variance of every pixel, in squared grey levels: the variance of rounding to whole levels."""


@dataclass(frozen=True)
class GaussianLevels:
    """P(k) = prod_i P(k_i | k_<i), each factor the mass that N(mu_i + w_i (k_<i - mu_<i), s_i^2) gives the bin of k_i.

    Bin k reaches from k - 1/2 to k + 1/2; the lowest and the highest take the tails, so that every factor sums to one,
    and so does P.

    Attributes:
        mean: mu, (d,) float64, in grey levels.
        factor: L, (d, d) float64, lower triangular, L L^T = covariance + floor I; row i gives w_i and s_i = L_ii.
        levels: Q.
        shape: shape of one image.
    """

    mean: Tensor
    factor: Tensor
    levels: int
    shape: tuple[int, ...]

    def log_mass(self, images: Tensor) -> Tensor:
        """log P of each image, uint8 (m, ...), as float64 (m,), nats.

        Raises:
            UserError: images of another shape, or levels of Q or more.
        """
        check_images(images, self.shape, self.levels)
        pixels = images.flatten(1).double()
        # With k = mu + L z, pixel i given those before has mean mu_i + sum_{j<i} L_ij z_j and deviation L_ii.
        z = torch.linalg.solve_triangular(self.factor, (pixels - self.mean).T, upper=False).T
        scale = self.factor.diagonal()
        conditional = pixels - z * scale
        low = torch.where(pixels == 0, -torch.inf, (pixels - 0.5 - conditional) / scale)
        high = torch.where(pixels == self.levels - 1, torch.inf, (pixels + 0.5 - conditional) / scale)
        return log_normal_mass(low, high).sum(1)

    def bpd(self, images: Tensor) -> tuple[float, float]:
        """Mean bits per dimension of the images' mass, and its standard error over them."""
        mean, se = mean_and_se(-self.log_mass(images))
        return nats_to_bpd(mean, len(self.mean)), nats_to_bpd(se, len(self.mean))


def fit_gaussian_levels(train: Tensor, levels: int, floor: float = VARIANCE_FLOOR) -> GaussianLevels:
    """The Gaussian of the training images' mean and covariance (1/n), `floor` added to every variance.

    Args:
        train: uint8 (n, ...).
        levels: Q.
        floor: in squared grey levels, above 0: pixels that never vary have no other variance.

    Raises:
        UserError: a floor that is not positive, or levels of Q or more.
    """
    if not floor > 0:
        raise UserError(f"floor = {floor}: expected a positive variance, or constant pixels allow no other level")
    check_images(train, tuple(train.shape[1:]), levels)
    pixels = train.flatten(1).double()
    mean = pixels.mean(0)
    centred = pixels - mean
    covariance = centred.T @ centred / len(pixels) + floor * torch.eye(len(mean), dtype=torch.float64)
    return GaussianLevels(mean, torch.linalg.cholesky(covariance), levels, tuple(train.shape[1:]))


def log_normal_mass(low: Tensor, high: Tensor) -> Tensor:
    """log(Phi(high) - Phi(low)) for low < high, exact far out in either tail, float64.

    >>> log_normal_mass(torch.tensor(-torch.inf), torch.tensor(0.0)).exp()
    tensor(0.5000)
    """
    # Both ends are taken to the left tail, where the distribution function has full relative precision.
    mirrored = low > -high
    low, high = torch.where(mirrored, -high, low), torch.where(mirrored, -low, high)
    below, above = torch.special.log_ndtr(low), torch.special.log_ndtr(high)
    return above + torch.log(-torch.expm1(below - above))


def check_images(images: Tensor, shape: tuple[int, ...], levels: int) -> None:
    """Refuse images of another shape, or with levels of Q or more.

    Raises:
        UserError: in either case.
    """
    if tuple(images.shape[1:]) != shape:
        raise UserError(f"images of shape {tuple(images.shape[1:])}: expected {shape}, as in training")
    if int(images.max()) >= levels:
        raise UserError(f"a grey level of {int(images.max())} in images of {levels} levels: give their own number")
