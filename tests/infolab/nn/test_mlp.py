"""The plain network: its law of initial weights, its formula, its seed."""

import math

import torch
from torch.nn import functional as F

from infolab.nn.mlp import MLP, initial_layers

SIZES = (3, 128, 64, 2)


def test_initial_weights_follow_the_uniform_law():
    for fan_in, (weight, bias) in zip(SIZES[:-1], initial_layers(SIZES, seed=1), strict=True):
        values = torch.cat([weight.flatten(), bias]) * math.sqrt(fan_in)
        n = len(values)
        assert float(values.abs().max()) <= 1
        # U(-1, 1): mean 0, variance 1/3, fourth moment 1/5; 4 standard errors.
        assert abs(float(values.mean())) < 4 * math.sqrt(1 / 3 / n)
        assert abs(float(values.square().mean()) - 1 / 3) < 4 * math.sqrt((1 / 5 - 1 / 9) / n)


def test_initial_weights_are_a_function_of_the_seed_and_not_of_the_global_generator():
    torch.manual_seed(0)
    first = MLP(SIZES, seed=5)
    torch.manual_seed(1)
    again, other = MLP(SIZES, seed=5), MLP(SIZES, seed=6)
    for a, b, c in zip(first.parameters(), again.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
        assert not torch.equal(a, c)


def test_forward_is_the_textbook_network():
    network = MLP(SIZES, seed=0).double()
    x = torch.linspace(-2, 2, 20, dtype=torch.float64).view(10, 2)
    t = torch.linspace(0.1, 1.0, 10, dtype=torch.float64)
    h = torch.stack([x[:, 0], x[:, 1], t], dim=1)
    for layer, (weight, bias) in enumerate(zip(network.weights, network.biases, strict=True)):
        h = torch.einsum("nh,hk->nk", h, weight) + bias
        h = h / (1 + torch.exp(-h)) if layer < 2 else h
    torch.testing.assert_close(network(x, t), h, rtol=1e-12, atol=1e-12)
    assert not torch.equal(F.relu(h), h)  # a linear last layer: both signs occur
