"""The five VAEs of van den Burg and Williams (2021): MLPs (several networks as one batch) or convolutions."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from common.networks.arithmetic import Network
from common.networks.initialise import initialise_
from common.networks.mlp import initial_layers
from common.seeds import derive
from vae.config import VAEConfig
from vae.likelihoods import Likelihood, MixLogistics, make_likelihood


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


@dataclass(frozen=True)
class Code:
    """q(z | x) = N(mu, diag(exp(log_variance))), both (k, n, L)."""

    mu: Tensor
    log_variance: Tensor

    def sample(self, eps: Tensor) -> Tensor:
        """z = mu + exp(log_variance / 2) eps."""
        return self.mu + torch.exp(0.5 * self.log_variance) * eps

    def kl(self) -> Tensor:
        """KL(q(z | x) || N(0, I)) in nats, (k, n)."""
        return 0.5 * (self.mu.square() + self.log_variance.exp() - 1 - self.log_variance).sum(-1)


class VAE(nn.Module):
    """k VAEs of one architecture: encoder (k, n, c, h, w) -> (k, n, 2L), decoder (k, n, L) -> outputs, likelihood."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module, likelihood: Likelihood):
        super().__init__()
        self.encoder, self.decoder, self.likelihood = encoder, decoder, likelihood

    def encode(self, x: Tensor) -> Code:
        """q(z | x) of images (k, n, c, h, w)."""
        return Code(*self.encoder(x).chunk(2, dim=-1))

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
