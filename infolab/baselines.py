"""Baselines of discrete likelihood: histograms of independent pixels, a mixture of them, and a full Gaussian."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from infolab.errors import UserError
from infolab.estimate import mean_and_se, nats_to_bpd
from infolab.noise import generator

# ----------
# The least that a likelihood model of images must beat: independent pixels, each with its own histogram.

BLOCK = 4_096  # images counted at once: bounds the memory of the index tensors


def per_pixel_histogram_bpd(train: Tensor, test: Tensor, levels: int, smoothing: float = 1.0) -> tuple[float, float]:
    """Bits per dimension of the test images' probability mass under independent, Laplace-smoothed pixel histograms.

    P(k_i = q) = (n_iq + a) / (n + a Q), with n_iq the number of training images of level q at pixel i.

    Args:
        train: uint8 (n, ...).
        test: uint8 (m, ...), of the same image shape, m >= 2.
        levels: Q.
        smoothing: a > 0, the count added to every level.

    Returns:
        The mean over test images and its standard error over them, both in bpd.

    Raises:
        UserError: different image shapes, levels of Q or more, or no smoothing.
    """
    if train.shape[1:] != test.shape[1:]:
        raise UserError(
            f"training images {tuple(train.shape[1:])} and test images {tuple(test.shape[1:])} differ in shape"
        )
    if int(max(train.max(), test.max())) >= levels:
        raise UserError(
            f"a grey level of {int(max(train.max(), test.max()))} in sets of {levels} levels: give their own number"
        )
    log_mass = pixel_log_mass(train, levels, smoothing)
    per_image = torch.cat([_log_mass_of(block.flatten(1), log_mass) for block in test.split(BLOCK)])
    mean, se = mean_and_se(-per_image)
    d = log_mass.shape[0]
    return nats_to_bpd(mean, d), nats_to_bpd(se, d)


def pixel_log_mass(train: Tensor, levels: int, smoothing: float = 1.0) -> Tensor:
    """log P(k_i = q), float64 (d, Q), nats, of the smoothed histogram of each pixel over `train`, uint8 (n, ...).

    Raises:
        UserError: if `smoothing` is not positive: a level that training never showed would have mass 0.
    """
    if not smoothing > 0:
        raise UserError(f"smoothing = {smoothing}: expected a positive count, or unseen grey levels have probability 0")
    d = train[0].numel()
    first_bin = torch.arange(d) * levels
    counts = torch.zeros(d * levels, dtype=torch.int64)
    for block in train.flatten(1).split(BLOCK):
        counts += torch.bincount((block.long() + first_bin).flatten(), minlength=d * levels)
    return torch.log((counts.double().view(d, levels) + smoothing) / (len(train) + smoothing * levels))


def _log_mass_of(pixels: Tensor, log_mass: Tensor) -> Tensor:
    """log P of each image, (n,), nats, from its pixels (n, d)."""
    return log_mass.gather(1, pixels.long().T).sum(0)


# ----------
# A full-covariance Gaussian as a distribution of grey levels: the product of conditional bin masses, pixel by pixel.

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


# ----------
# A mixture of independent pixel histograms, fitted by EM: the strongest simple model of grey levels.

MIXTURE_BLOCK = 2_048  # images whose levels are spread into indicators at once


@dataclass(frozen=True)
class CategoricalMixture:
    """P(k) = sum_c pi_c prod_i p_ci(k_i).

    Attributes:
        log_weight: log pi, (C,) float64.
        log_level: log p, (C, d, Q) float64.
        shape: shape of one image.
        trace: EM's objective (log-likelihood plus log-prior of the smoothing) after each iteration, nats per image.
    """

    log_weight: Tensor
    log_level: Tensor
    shape: tuple[int, ...]
    trace: tuple[float, ...] = ()

    def log_mass(self, images: Tensor) -> Tensor:
        """log P of each image, uint8 (m, ...), as float64 (m,), nats.

        Raises:
            UserError: images of another shape, or levels of Q or more.
        """
        check_images(images, self.shape, self.log_level.shape[2])
        return torch.cat([torch.logsumexp(self._joint(block), 1) for block in images.flatten(1).split(MIXTURE_BLOCK)])

    def bpd(self, images: Tensor) -> tuple[float, float]:
        """Mean bits per dimension of the images' mass, and its standard error over them."""
        mean, se = mean_and_se(-self.log_mass(images))
        d = self.log_level.shape[1]
        return nats_to_bpd(mean, d), nats_to_bpd(se, d)

    def _joint(self, pixels: Tensor) -> Tensor:
        """log pi_c + log p_c(k), (m, C), of pixels (m, d)."""
        return self.log_weight + _indicators(pixels, self.log_level.shape[2]) @ self.log_level.flatten(1).T


def fit_categorical_mixture(
    train: Tensor,
    levels: int,
    components: int = 50,
    *,
    smoothing: float = 1.0,
    iterations: int = 100,
    tolerance: float = 1e-5,
    seed: int = 0,
) -> CategoricalMixture:
    """Expectation-maximisation from responsibilities that start at random images, Laplace-smoothed.

    Each step sets pi_c = (n_c + 1) / (n + C) and p_ci(q) = (n_ciq + a) / (n_c + a Q), with n_c and n_ciq the expected
    counts: the maximum a posteriori under Dirichlet priors, whose density no step lowers.

    Args:
        train: uint8 (n, ...).
        levels: Q.
        components: C, at most n.
        smoothing: a > 0, the count added to every level of every pixel in every component.
        iterations: at most this many steps.
        tolerance: stop when the objective rises by less, in nats per image.
        seed: chooses the C images around which the components start.

    Raises:
        UserError: no smoothing, more components than images, or levels of Q or more.
    """
    if not smoothing > 0:
        raise UserError(f"smoothing = {smoothing}: expected a positive count, or unseen grey levels have probability 0")
    if not 1 <= components <= len(train):
        raise UserError(f"{components} components for {len(train)} images: choose 1 .. {len(train)}")
    check_images(train, tuple(train.shape[1:]), levels)
    pixels = train.flatten(1)
    responsibility = _start(pixels, components, seed)
    trace: list[float] = []
    for _ in range(iterations):
        model = _maximise(pixels, responsibility, levels, smoothing, tuple(train.shape[1:]))
        joint = torch.cat([model._joint(block) for block in pixels.split(MIXTURE_BLOCK)])
        log_mass = torch.logsumexp(joint, 1)
        responsibility = torch.exp(joint - log_mass[:, None])
        prior = smoothing * float(model.log_level.sum()) + float(model.log_weight.sum())
        trace.append((float(log_mass.sum()) + prior) / len(train))
        if len(trace) > 1 and trace[-1] - trace[-2] < tolerance:
            break
    return CategoricalMixture(model.log_weight, model.log_level, model.shape, tuple(trace))


def _start(pixels: Tensor, components: int, seed: int) -> Tensor:
    """Each image belongs to the nearest of `components` images drawn without replacement."""
    chosen = torch.randperm(len(pixels), generator=generator(seed, "categorical-mixture"))[:components]
    nearest = torch.cdist(pixels.double(), pixels[chosen].double()).argmin(1)
    return torch.nn.functional.one_hot(nearest, components).double()


def _maximise(
    pixels: Tensor, responsibility: Tensor, levels: int, smoothing: float, shape: tuple[int, ...]
) -> CategoricalMixture:
    components, d = responsibility.shape[1], pixels.shape[1]
    counts = torch.zeros(components, d * levels, dtype=torch.float64)
    for block, weight in zip(pixels.split(MIXTURE_BLOCK), responsibility.split(MIXTURE_BLOCK), strict=True):
        counts += weight.T @ _indicators(block, levels)
    total = responsibility.sum(0)
    log_level = torch.log(counts.view(components, d, levels) + smoothing)
    log_level -= torch.log(total + smoothing * levels)[:, None, None]
    log_weight = torch.log(total + 1) - math.log(len(pixels) + components)
    return CategoricalMixture(log_weight, log_level, shape)


def _indicators(pixels: Tensor, levels: int) -> Tensor:
    """1 where pixel i has level q, (m, d Q) float64."""
    return torch.nn.functional.one_hot(pixels.long(), levels).flatten(1).double()
