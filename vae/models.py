"""The five VAEs of van den Burg and Williams (2021), their decoder likelihoods, several networks as one batch."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from infolab.data.images import LogitTransform, ScaleTransform
from infolab.device import Network
from infolab.nn.mlp import GaussianCode, initial_layers
from infolab.noise import derive, initialise_
from vae.config import VAEConfig

# ----------
# Decoder likelihoods log p(x | z): each is normalised, over pixel values (discrete) or over logits (Gaussian).
#
# The Gaussian ones live in logit space; `log_det_correction` turns their density into a lower bound of the log mass of
# the pixels. Decoder outputs and images carry a leading axis of k networks: (k, n, channels, h, w), or (k, n, d) for
# the MLP.

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

    def log_det_correction(self, x: Tensor) -> Tensor | float:
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

    def log_det_correction(self, x: Tensor) -> Tensor:
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


# ----------
# The five VAEs of van den Burg and Williams (2021): MLPs (several networks as one batch) or convolutions.


class StackedMLP(nn.Module):
    """k independent MLPs of the same sizes with ReLU between their layers; a layer of all is one batched product.

    Member j starts where it would start alone, and the gradient of the sum of the members' losses is each one's own.

    Args:
        sizes: layer sizes.
        seeds: one seed of the initial weights per member (k,).
    """

    def __init__(self, sizes: tuple[int, ...], seeds: Sequence[int]):
        super().__init__()
        members = [initial_layers(sizes, seed) for seed in seeds]
        layers = list(zip(*members, strict=True))
        self.weights = nn.ParameterList([torch.stack([weight for weight, _ in layer]) for layer in layers])
        self.biases = nn.ParameterList([torch.stack([bias for _, bias in layer])[:, None] for layer in layers])

    def forward(self, x: Tensor) -> Tensor:
        """Outputs (k, n, out) at points x (k, n, in)."""
        h = x
        last = len(self.weights) - 1
        for index, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            if len(weight) == 1:  # one network: a plain product is faster than a batch of one
                # (flatten, not [0], whose gradient would be a copy.)
                h = torch.addmm(bias.flatten(), h.flatten(0, 1), weight.flatten(0, 1)).view(*h.shape[:2], -1)
            else:
                h = torch.baddbmm(bias, h, weight)
            if index < last:
                h = h.relu_()
        return h

    def member(self, index: int) -> list[tuple[Tensor, Tensor]]:
        """Weight (in, out) and bias (out,) of each layer of one member, views of the present ones."""
        pairs = zip(self.weights, self.biases, strict=True)
        return [(weight[index].detach(), bias[index, 0].detach()) for weight, bias in pairs]


class Flat(Network):
    """A StackedMLP over images: flattens them on the way in, or gives the output their shape."""

    def __init__(self, mlp: StackedMLP, shape: tuple[int, ...] | None = None):
        super().__init__()
        self.mlp, self.shape = mlp, shape

    def forward(self, x: Tensor) -> Tensor:
        """Outputs (k, n, out), or (k, n, *shape)."""
        out = self.mlp(x.flatten(2))
        return out if self.shape is None else out.view(*out.shape[:2], *self.shape)


class Convolutions(Network):
    """One convolutional network as a batch of one: (1, n, ...) in and out."""

    def __init__(self, *layers: nn.Module):
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs (1, n, ...)."""
        return self.layers(x[0])[None]


class VAE(nn.Module):
    """k VAEs of one architecture: encoder (k, n, c, h, w) -> (k, n, 2L), decoder (k, n, L) -> outputs, likelihood."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module, likelihood: Likelihood):
        super().__init__()
        self.encoder, self.decoder, self.likelihood = encoder, decoder, likelihood

    def encode(self, x: Tensor) -> GaussianCode:
        """q(z | x) of images (k, n, c, h, w)."""
        return GaussianCode(*self.encoder(x).chunk(2, dim=-1))

    def log_p_x_given_z(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x | z) in the space of the decoder, (k, n), one code z (k, n, L) per image."""
        return self.likelihood.log_prob(self.decoder(z), x)

    def negative_elbo(self, x: Tensor, eps: Tensor) -> Tensor:
        """-log p(x | z) + KL(q || prior) with one z per image, in the space of the decoder, nats, (k, n)."""
        code = self.encode(x)
        return code.kl() - self.log_p_x_given_z(x, code.sample(eps))


def build_vae(config: VAEConfig, seeds: Sequence[int], shape: tuple[int, ...], levels: int) -> VAE:
    """VAEs for images of `shape` (c, h, w), one per seed, with initial weights that are functions of their seeds."""
    if config.model == "bernoulli-mlp":
        sizes = (math.prod(shape), *config.hidden, 2 * config.latent)
        encoder: nn.Module = Flat(StackedMLP(sizes, [derive(seed, "encoder") for seed in seeds]))
    else:
        (seed,) = seeds
        encoder = _convolutional_encoder(config.features, config.latent, shape[0])
        initialise_(encoder, derive(seed, "encoder"))
    likelihood = make_likelihood(config.model, levels)
    return VAE(encoder, build_decoder(config, [derive(seed, "decoder") for seed in seeds], shape), likelihood)


def build_decoder(config: VAEConfig, seeds: Sequence[int], shape: tuple[int, ...]) -> nn.Module:
    """Decoders for images of `shape` (c, h, w), one per seed."""
    if config.model == "bernoulli-mlp":
        sizes = (config.latent, *reversed(config.hidden), math.prod(shape))
        return Flat(StackedMLP(sizes, seeds), shape)
    (seed,) = seeds
    likelihood = make_likelihood(config.model, levels=256)
    if isinstance(likelihood, MixLogistics):
        channels = likelihood.output_channels
    else:
        channels = likelihood.channels_per_colour * shape[0]
    decoder = _convolutional_decoder(config.features, config.latent, channels)
    initialise_(decoder, seed)
    return decoder


def _convolutional_encoder(features: int, latent: int, channels: int) -> Convolutions:
    """Four 4x4 convolutions of stride 2, 32x32 to 2x2, without norm on the first; then a linear map to 2L."""
    layers: list[nn.Module] = [nn.Conv2d(channels, features, 4, 2, 1, bias=False), nn.LeakyReLU(0.2)]
    for c_in, c_out in itertools.pairwise([features, 2 * features, 4 * features, 8 * features]):
        layers += [nn.Conv2d(c_in, c_out, 4, 2, 1, bias=False), nn.BatchNorm2d(c_out), nn.LeakyReLU(0.2)]
    return Convolutions(*layers, nn.Flatten(), nn.Linear(8 * features * 4, 2 * latent))


def _convolutional_decoder(features: int, latent: int, channels: int) -> Convolutions:
    """The mirror: L to 2x2, then four 4x4 transposed convolutions of stride 2 up to 32x32."""
    layers: list[nn.Module] = [
        nn.Unflatten(1, (latent, 1, 1)),
        nn.ConvTranspose2d(latent, 8 * features, 2, 1, 0, bias=False),
        nn.BatchNorm2d(8 * features),
        nn.ReLU(),
    ]
    for c_in, c_out in itertools.pairwise([8 * features, 4 * features, 2 * features, features]):
        layers += [nn.ConvTranspose2d(c_in, c_out, 4, 2, 1, bias=False), nn.BatchNorm2d(c_out), nn.ReLU()]
    return Convolutions(*layers, nn.ConvTranspose2d(features, channels, 4, 2, 1, bias=False))
