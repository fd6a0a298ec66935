"""A mixture of independent pixel histograms, fitted by EM: the strongest simple law of grey levels."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from common.errors import UserError
from common.estimate import mean_and_se, nats_to_bpd
from common.gaussian_baseline import check_images
from common.seeds import generator

BLOCK = 2_048  # images whose levels are spread into indicators at once


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
        return torch.cat([torch.logsumexp(self._joint(block), 1) for block in images.flatten(1).split(BLOCK)])

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
        joint = torch.cat([model._joint(block) for block in pixels.split(BLOCK)])
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
    for block, weight in zip(pixels.split(BLOCK), responsibility.split(BLOCK), strict=True):
        counts += weight.T @ _indicators(block, levels)
    total = responsibility.sum(0)
    log_level = torch.log(counts.view(components, d, levels) + smoothing)
    log_level -= torch.log(total + smoothing * levels)[:, None, None]
    log_weight = torch.log(total + 1) - math.log(len(pixels) + components)
    return CategoricalMixture(log_weight, log_level, shape)


def _indicators(pixels: Tensor, levels: int) -> Tensor:
    """1 where pixel i has level q, (m, d Q) float64."""
    return torch.nn.functional.one_hot(pixels.long(), levels).flatten(1).double()
