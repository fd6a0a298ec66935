"""Multilayer perceptrons: of the 2-D studies, of codes, and many of one size as one batch."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from infolab.nn.blocks import Dropout, sinusoidal_embedding
from infolab.noise import generator, initialise_

# ----------
# The small multilayer perceptron of the 2-D studies, Swish between its layers.


def initial_layers(sizes: tuple[int, ...], seed: int) -> list[tuple[Tensor, Tensor]]:
    """Initial weights (in, out) and biases (out,) of each layer, uniform in +-1/sqrt(in) (torch's own law for Linear).

    A function of `sizes` and `seed` only, so that a network in a batch starts where it would start alone.
    """
    layers = []
    for index, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
        draw = torch.rand(fan_in + 1, fan_out, generator=generator(seed, "init", index))
        layer = (2 * draw - 1) / math.sqrt(fan_in)
        layers.append((layer[:-1].clone(), layer[-1].clone()))
    return layers


class MLP(nn.Module):
    """Plain network of layers `sizes` with Swish between them: the reference for `infolab.nn.mlp.EnsembleMLP`."""

    def __init__(self, sizes: tuple[int, ...], seed: int):
        super().__init__()
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        for weight, bias in initial_layers(sizes, seed):
            self.weights.append(nn.Parameter(weight))
            self.biases.append(nn.Parameter(bias))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Output (n, d) at points x (n, d) and times t (n,)."""
        h = torch.cat([x, t[..., None]], dim=-1)
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            h = F.silu(h @ weight + bias)
        return h @ self.weights[-1] + self.biases[-1]


# ----------
# A batch of small denoisers that see sines and cosines of coordinates and log-SNR (Kong et al. 2023, 2-D study).

LONGEST_PERIOD = 10_000.0
"""Ratio of the lowest to the highest angular frequency of an embedding is one over this."""


def angular_frequencies(size: int, scale: float) -> tuple[Tensor, Tensor]:
    """Frequencies and phases (size,) of the features sin(frequency v + phase): size/2 sines, then as many cosines.

    The frequencies are scale 10000^(-k/(h-1)), k = 0..h-1, h = size/2 (the public code's; h - 1, where Vaswani et al.
    2017 divide by h).
    """
    half = size // 2
    falling = scale * torch.exp(-math.log(LONGEST_PERIOD) / (half - 1) * torch.arange(half))
    phase = torch.cat([torch.zeros(half), torch.full((half,), math.pi / 2)])
    return falling.repeat(2), phase


class FourierMLPs(nn.Module):
    """k independent networks eps_hat(z, logsnr) of one size; member i is a function of seeds[i] and of nothing else.

    Each of the d coordinates and the log-SNR is embedded by `size` sines and cosines; their concatenation goes through
    linear layers with ReLU between them. Weights are (k, in, out), so that a layer of all members is one batched
    matrix product (`infolab.nn.mlp` says what that means for gradients and optimisers).

    Args:
        seeds: one seed of the initial weights per member (k,).
        d: dimensions of the data.
        size: features per embedded number, even.
        hidden: width of the hidden layers.
        layers: number of linear layers, at least 2.
        input_scale: multiplier of the coordinates before their embedding, radians per data unit; 100 as published.
        logsnr_scale: the same of the log-SNR; 50 as published.
    """

    def __init__(
        self,
        seeds: Sequence[int],
        d: int = 2,
        size: int = 128,
        hidden: int = 128,
        layers: int = 3,
        *,
        input_scale: float = 100.0,
        logsnr_scale: float = 50.0,
    ):
        super().__init__()
        self.d, self.size = d, size
        self.sizes = ((d + 1) * size, *[hidden] * (layers - 1), d)
        members = [initial_layers(self.sizes, seed) for seed in seeds]
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        for layer in zip(*members, strict=True):
            self.weights.append(nn.Parameter(torch.stack([weight for weight, _ in layer])))
            self.biases.append(nn.Parameter(torch.stack([bias for _, bias in layer])[:, None]))
        of_input, phase = angular_frequencies(size, input_scale)
        of_logsnr, _ = angular_frequencies(size, logsnr_scale)
        self.register_buffer("frequencies", torch.stack([of_input] * d + [of_logsnr]), persistent=False)
        self.register_buffer("phase", phase, persistent=False)

    frequencies: Tensor
    phase: Tensor

    def __len__(self) -> int:
        return self.weights[0].shape[0]

    @property
    def parameters_each(self) -> int:
        """Number of parameters of one member."""
        return sum((fan_in + 1) * fan_out for fan_in, fan_out in itertools.pairwise(self.sizes))

    def forward(self, z: Tensor, logsnr: Tensor) -> Tensor:
        """eps_hat (k, n, d) at points z (k, n, d) and log-SNRs (k, n), member by member."""
        features = torch.sin(torch.addcmul(self.phase, self._numbers(z, logsnr)[..., None], self.frequencies))
        return self._after_first(torch.baddbmm(self.biases[0], features.flatten(-2), self.weights[0]))

    @torch.no_grad()
    def value_and_jacobian(self, z: Tensor, logsnr: Tensor) -> tuple[Tensor, Tensor]:
        """eps_hat (k, n, d) and d eps_hat_i / d z_j (k, n, d, d), by forward differentiation.

        A coordinate moves its own features only, so the d tangents cost about one more forward pass together.
        """
        k, n, d = z.shape
        blocks = self.weights[0].unflatten(1, (d + 1, self.size))
        angles = torch.addcmul(self.phase, self._numbers(z, logsnr)[..., None], self.frequencies)
        h = torch.baddbmm(self.biases[0], torch.sin(angles).flatten(-2), self.weights[0])
        moved = torch.cos(angles[..., :d, :]) * self.frequencies[:d]
        tangents = torch.stack([torch.bmm(moved[..., j, :], blocks[:, j]) for j in range(d)], dim=1)  # (k, d, n, h)
        for weight, bias in zip(self.weights[1:], self.biases[1:], strict=True):
            tangents = torch.bmm((tangents * (h > 0)[:, None]).reshape(k, d * n, -1), weight).view(k, d, n, -1)
            h = torch.baddbmm(bias, F.relu(h), weight)
        return h, tangents.permute(0, 2, 3, 1)

    def on_grid(self, axes: Sequence[Tensor], logsnr: Tensor) -> Tensor:
        """eps_hat (k, n_1, ..., n_d, d) on the product of `axes` (n_i,), one for each coordinate, at one log-SNR ().

        The first layer is a sum over the embedded numbers: on a grid it costs a row for each axis value, not for each
        point. `forward` on the grid's points gives the same.
        """
        blocks = self.weights[0].unflatten(1, (self.d + 1, self.size))
        first = (self.biases[0] + self._features(logsnr[None], self.d) @ blocks[:, self.d]).squeeze(1)
        for i, axis in enumerate(axes):
            part = self._features(axis, i) @ blocks[:, i]
            first = first.unsqueeze(-2) + part.view(len(self), *[1] * i, len(axis), -1)
        return self._after_first(first.flatten(1, -2)).view(len(self), *map(len, axes), self.d)

    def _numbers(self, z: Tensor, logsnr: Tensor) -> Tensor:
        return torch.cat([z, logsnr.expand(z.shape[:-1])[..., None]], dim=-1)

    def _features(self, values: Tensor, index: int) -> Tensor:
        """Features (n, size) of values (n,) of coordinate `index` (d: the log-SNR)."""
        return torch.sin(torch.addcmul(self.phase, values[:, None], self.frequencies[index]))

    def _after_first(self, h: Tensor) -> Tensor:
        for weight, bias in zip(self.weights[1:], self.biases[1:], strict=True):
            h = torch.baddbmm(bias, F.relu(h), weight)
        return h


# ----------
# A denoiser of codes: an MLP that sees its input again at every layer, scaled by time (Preechakul et al. 2022).

TIME_CHANNELS = 64


class LatentLayer(nn.Module):
    """drop(silu(LayerNorm(W h (1 + scale(time)))).

    Args:
        size: length of the input.
        width: length of the output.
        time_size: length of the embedding of time.
        dropout: probability, see `Dropout`.
    """

    def __init__(self, size: int, width: int, time_size: int, dropout: float):
        super().__init__()
        self.linear = nn.Linear(size, width)
        self.scale = nn.Linear(time_size, width)
        self.norm = nn.LayerNorm(width)
        self.dropout = Dropout(dropout)

    def forward(self, h: Tensor, emb: Tensor) -> Tensor:
        """Return (n, width) for h (n, size) and the embedding of time (n, time_size)."""
        scaled = self.linear(h) * (1 + self.scale(nn.functional.silu(emb)))
        return self.dropout(nn.functional.silu(self.norm(scaled)))


class LatentMLP(nn.Module):
    """eps_hat(a_t, step) for codes a_t: `layers` layers of width 4 d, every one after the first given a_t again.

    Source: Preechakul et al. 2022 (DiffAE), table 8, as taken over by Wang et al. 2023.

    Args:
        d: length of a code.
        seed: initial weights are a function of it alone.
        layers: number of layers, the last of which is linear.
        dropout: of every layer but the last.
    """

    def __init__(self, d: int, seed: int, layers: int = 10, dropout: float = 0.1):
        super().__init__()
        width = 4 * d
        self.time_embed = nn.Sequential(nn.Linear(TIME_CHANNELS, d), nn.SiLU(), nn.Linear(d, d))
        sizes = [d, *[width + d] * (layers - 2)]
        self.hidden = nn.ModuleList([LatentLayer(size, width, d, dropout) for size in sizes])
        self.out = nn.Linear(width + d, d)
        initialise_(self, seed)

    def forward(self, a_t: Tensor, step: Tensor) -> Tensor:
        """eps_hat (n, d) at noised codes a_t (n, d) and steps (n,), whole or fractional."""
        emb = self.time_embed(sinusoidal_embedding(step.float(), TIME_CHANNELS).to(a_t))
        h = self.hidden[0](a_t, emb)
        for layer in self.hidden[1:]:
            h = layer(torch.cat([h, a_t], dim=1), emb)
        out: Tensor = self.out(torch.cat([h, a_t], dim=1))
        return out


# ----------
# Many small networks of one size, trained and evaluated as one batch of matrix products.


class EnsembleMLP(nn.Module):
    """k independent MLPs of the same layer sizes; member i computes what `MLP(sizes, seeds[i])` computes.

    Weights are (k, in, out), so a layer of all members is one batched matrix product. The members share nothing:
    the gradient of the sum of their losses is each one's own gradient, and elementwise optimisers (Adam, SGD without
    clipping) treat them as if alone.

    Args:
        sizes: layer sizes, d + 1 first (point and time), d last.
        seeds: one seed of the initial weights per member (k,).
    """

    def __init__(self, sizes: tuple[int, ...], seeds: Sequence[int]):
        super().__init__()
        self.sizes = tuple(sizes)
        members = [initial_layers(self.sizes, seed) for seed in seeds]
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        for layer in zip(*members, strict=True):
            self.weights.append(nn.Parameter(torch.stack([weight for weight, _ in layer])))
            self.biases.append(nn.Parameter(torch.stack([bias for _, bias in layer])[:, None]))

    def __len__(self) -> int:
        return self.weights[0].shape[0]

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Outputs (k, n, d) at points x (k, n, d) and times t (k, n), member by member."""
        h = torch.cat([x, t[..., None]], dim=-1)
        last = len(self.weights) - 1
        for index, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            h = torch.baddbmm(bias, h, weight)
            if index < last:
                h = F.silu(h)
        return h

    @torch.no_grad()
    def value_and_divergence(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs (k, n, d) and their exact divergence sum_j d out_j / d x_j (k, n), by forward differentiation.

        The d tangents ride through the hidden layers as d more batches of rows: about 1 + d forward passes, and no
        graph is kept.
        """
        k, n, d = x.shape
        h = torch.cat([x, t[..., None]], dim=-1)
        tangent = None
        for weight, bias in list(zip(self.weights, self.biases, strict=True))[:-1]:
            z = torch.baddbmm(bias, h, weight)
            if tangent is None:
                # d z / d x_j is row j of the first weight, the same at every point.
                moved = weight[:, :d, None, :].expand(k, d, n, weight.shape[-1])
            else:
                moved = torch.bmm(tangent.reshape(k, d * n, -1), weight).view(k, d, n, -1)
            gate = torch.sigmoid(z)
            slope = torch.addcmul(gate, z, gate * (1 - gate))
            h, tangent = z * gate, moved * slope[:, None]
        out = torch.baddbmm(self.biases[-1], h, self.weights[-1])
        assert tangent is not None  # there is at least one hidden layer
        divergence = torch.einsum("kjnh,khj->kn", tangent, self.weights[-1])
        return out, divergence

    def select(self, members: Sequence[int]) -> "EnsembleMLP":
        """A new batch of the named members, with copies of their present weights."""
        chosen = EnsembleMLP(self.sizes, [0] * len(members))
        index = torch.as_tensor(list(members), device=self.weights[0].device)
        chosen.to(self.weights[0])  # its device and type
        with torch.no_grad():
            for ours, theirs in zip(chosen.parameters(), self.parameters(), strict=True):
                ours.copy_(theirs[index])
        return chosen

    def member(self, index: int) -> MLP:
        """Member `index` as a plain MLP with copies of its present weights."""
        alone = MLP(self.sizes, 0).to(self.weights[0])
        with torch.no_grad():
            for ours, theirs in zip(alone.parameters(), self.parameters(), strict=True):
                ours.copy_(theirs[index].reshape(ours.shape))
        return alone


# ----------
# Codes of an encoder.


@dataclass(frozen=True)
class GaussianCode:
    """q(z | x) = N(mu, diag(exp(log_variance))), both (..., L)."""

    mu: Tensor
    log_variance: Tensor

    def sample(self, eps: Tensor) -> Tensor:
        """z = mu + exp(log_variance / 2) eps."""
        return self.mu + torch.exp(0.5 * self.log_variance) * eps

    def kl(self) -> Tensor:
        """KL(q(z | x) || N(0, I)) in nats, (...)."""
        return 0.5 * (self.mu.square() + self.log_variance.exp() - 1 - self.log_variance).sum(-1)
