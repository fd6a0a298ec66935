"""Decoder likelihoods log p(x | z): each is normalised, over pixel values (discrete) or over logits (Gaussian).

The Gaussian ones live in logit space; `to_mass` turns their density into a lower bound of the log mass of the pixels.
Decoder outputs and images carry a leading axis of k networks: (k, n, channels, h, w), or (k, n, d) for the MLP.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.transforms import LogitTransform, ScaleTransform

LOG_VARIANCE_FLOOR = -7.0
"""Least log-variance of the diagonal Gaussian decoder (van den Burg and Williams 2021)."""
LOG_VARIANCE_START = -2.0
"""Initial log-variance of the constant Gaussian decoder (the same)."""


class _BernoulliLogProb(torch.autograd.Function):
    """sum_i [x_i l_i - softplus(l_i)] over the last axis, with the gradient x - sigmoid(l), in few passes."""

    @staticmethod
    def forward(context: Any, logits: Tensor, x: Tensor) -> Tensor:
        context.save_for_backward(logits, x)
        return (x * logits).sum(-1) - F.softplus(logits).sum(-1)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        logits, x = context.saved_tensors
        return (x - torch.sigmoid(logits)).mul_(gradients[0][..., None]), None


class Likelihood(nn.Module):
    """What the decoder's output says of x.

    Attributes:
        channels_per_colour: output channels of the decoder for each channel of the image.
    """

    channels_per_colour = 1

    def log_prob(self, out: Tensor, x: Tensor) -> Tensor:
        """log p(x | z), summed over the pixels, (k, n), from outputs (k, n, ...) and images (k, n, ...)."""
        raise NotImplementedError

    def to_mass(self, x: Tensor) -> Tensor | float:
        """What is added to `log_prob` to make it the log mass of the pixels (a lower bound of it), (k, n) or 0."""
        return 0.0

    def mean(self, out: Tensor) -> Tensor:
        """The decoder's mean image in [0, 1], of the images' shape."""
        raise NotImplementedError


class Bernoulli(Likelihood):
    """Independent black and white pixels: P(x = 1) = sigmoid(logit)."""

    def log_prob(self, out: Tensor, x: Tensor) -> Tensor:
        """sum_i [x_i l_i - softplus(l_i)], l the decoder's logits, (k, n)."""
        return _BernoulliLogProb.apply(out.flatten(2), x.flatten(2))

    def mean(self, out: Tensor) -> Tensor:
        """The probabilities of white pixels."""
        return torch.sigmoid(out)


class DiagonalGaussian(Likelihood):
    """Each logit is N(mu, v), both from the decoder; log v has the floor -7.

    Args:
        levels: Q of the pixels.
    """

    channels_per_colour = 2

    def __init__(self, levels: int):
        super().__init__()
        self.transform = LogitTransform(levels)

    def moments(self, out: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of each logit."""
        mu, log_variance = out.chunk(2, dim=2)
        return mu, log_variance.clamp(min=LOG_VARIANCE_FLOOR)

    def log_prob(self, out: Tensor, x: Tensor) -> Tensor:
        """sum_i log N(x_i; mu_i, v_i) of logits x, a log density, (k, n)."""
        mu, log_variance = self.moments(out)
        each = math.log(2 * math.pi) + log_variance + (x - mu).square() * torch.exp(-log_variance)
        return -0.5 * each.flatten(2).sum(-1)

    def to_mass(self, x: Tensor) -> Tensor:
        """log |dx/dlogit| terms: sum_i [log(1 - 2A) - log q_i - log(1 - q_i)] - d log Q, q = sigmoid(logit)."""
        flat = x.flatten(2)
        constant = flat.shape[-1] * (math.log1p(-2 * self.transform.A) - math.log(self.transform.levels))
        return (2 * F.softplus(flat) - flat).sum(-1) + constant

    def mean(self, out: Tensor) -> Tensor:
        """The image of the mean logits."""
        return self.transform.inverse(self.moments(out)[0]).clamp(0, 1)


class ConstantGaussian(DiagonalGaussian):
    """Each logit is N(mu, v) with mu from the decoder and one learned v for all pixels."""

    channels_per_colour = 1

    def __init__(self, levels: int):
        super().__init__(levels)
        self.log_variance = nn.Parameter(torch.tensor(LOG_VARIANCE_START))

    def moments(self, out: Tensor) -> tuple[Tensor, Tensor]:
        """Mean of each logit, and the one log-variance."""
        return out, self.log_variance.expand_as(out)


class MixLogistics(Likelihood):
    """Mixture of discretised logistics for three colours (Salimans et al. 2017), x in [-1, 1] of Q levels.

    Each of the K components is a product over R, G, B; the means of G and B are shifted by tanh coefficients times the
    channels before. log p is a logsumexp over components at each pixel, then a sum over pixels (the public code sums
    probabilities over pixels). Outputs (k, n, 10 K, h, w): K mixture logits, 3K means, 3K log scales, 3K coefficients.

    Args:
        levels: Q.
        components: K.
    """

    def __init__(self, levels: int, components: int = 5):
        super().__init__()
        self.components = components
        self.transform = ScaleTransform(levels)
        # The edges e_k between levels k - 1 and k, k = 1 .. Q - 1, shared by the neighbours; the outermost stand in
        # for -inf and inf and are never used.
        edges = (2 * torch.arange(levels + 1, dtype=torch.float64) - 1) / (levels - 1) - 1
        self.register_buffer("edges", edges.float(), persistent=False)
        self.edges: Tensor

    @property
    def output_channels(self) -> int:
        """10 K channels of the decoder."""
        return 10 * self.components

    def log_prob(self, out: Tensor, x: Tensor) -> Tensor:
        """sum over pixels of log sum_k pi_k P_k(r) P_k(g | r) P_k(b | r, g), (k, n)."""
        mixture, means, log_scales = self.parameters_of(out, x)
        each = self.log_mass(x[:, :, None], means, log_scales).sum(3)  # (k, n, K, h, w)
        return torch.logsumexp(each + torch.log_softmax(mixture, dim=2), dim=2).flatten(2).sum(-1)

    def parameters_of(self, out: Tensor, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mixture logits (k, n, K, h, w), means and log scales (k, n, K, 3, h, w), given the colours of x."""
        k, n, _, h, w = out.shape
        mixture, rest = out[:, :, : self.components], out[:, :, self.components :]
        means, log_scales, coefficients = rest.view(k, n, 3, self.components, 3, h, w).unbind(2)
        a, b, c = torch.tanh(coefficients).unbind(3)
        red, green, _ = x[:, :, None].unbind(3)
        shifted = [means[:, :, :, 0], means[:, :, :, 1] + a * red, means[:, :, :, 2] + b * red + c * green]
        return mixture, torch.stack(shifted, dim=3), log_scales

    def log_mass(self, x: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
        """log P of the level of x under one discretised logistic, elementwise.

        With u = (e - mean) / s at the lower and upper edge of the level: -softplus(-u_upper) for the lowest level,
        -softplus(u_lower) for the highest, else -softplus(-u_upper) - softplus(u_lower) + log(1 - exp(u_lower -
        u_upper)). No thresholds and no clamps: the levels' probabilities sum to 1.
        """
        level = self.transform.to_pixels(x).long()
        rate = torch.exp(-log_scale)
        lower, upper = self.edges[level], self.edges[level + 1]
        log_below = -F.softplus(-(upper - mean) * rate)
        log_above = -F.softplus((lower - mean) * rate)
        between = torch.log(-torch.expm1(-(upper - lower) * rate))
        lowest, highest = level == 0, level == self.transform.levels - 1
        inner = ~(lowest | highest)
        return (
            torch.where(lowest, 0.0, log_above)
            + torch.where(highest, 0.0, log_below)
            + torch.where(inner, between, 0.0)
        )

    def mean(self, out: Tensor) -> Tensor:
        """The mean of the mixture, colour after colour, each given the means of those before."""
        weights = torch.softmax(out[:, :, : self.components], dim=2)
        x = out.new_zeros(*out.shape[:2], 3, *out.shape[3:])
        for colour in range(3):
            means = self.parameters_of(out, x)[1]
            x[:, :, colour] = (weights * means[:, :, :, colour]).sum(2).clamp(-1, 1)
        return (x + 1) / 2


def make_likelihood(model: str, levels: int) -> Likelihood:
    """The likelihood of the model called `model` (see `vae.config.MODELS`)."""
    if model.startswith("bernoulli"):
        return Bernoulli()
    if model == "mix-logistics-dc":
        return MixLogistics(levels)
    return DiagonalGaussian(levels) if model == "diagonal-gaussian-dc" else ConstantGaussian(levels)
