"""A batch of small denoisers that see sines and cosines of coordinates and log-SNR (Kong et al. 2023, 2-D study)."""

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.networks.mlp import initial_layers

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
    matrix product (`common.ensemble` says what that means for gradients and optimisers).

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
