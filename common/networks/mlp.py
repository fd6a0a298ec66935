"""The small multilayer perceptron of the 2-D studies, Swish between its layers."""

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.seeds import generator


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
    """Plain network of layers `sizes` with Swish between them: the reference for `common.ensemble.EnsembleMLP`."""

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
