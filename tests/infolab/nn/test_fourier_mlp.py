import math

import pytest
import torch
from torch.nn import functional as F

from infolab.nn.mlp import FourierMLPs, angular_frequencies, initial_layers


@pytest.fixture
def networks():
    return FourierMLPs([0, 1, 2], d=2, size=8, hidden=16, layers=3).double()


def points(k=3, n=5, seed=0):
    source = torch.Generator().manual_seed(seed)
    z = torch.randn(k, n, 2, generator=source, dtype=torch.float64)
    return z, 3 * torch.randn(k, n, generator=source, dtype=torch.float64)


def published(networks, member, z, logsnr):
    """The public network, written out for one point set (n, 2)."""

    def embed(v, scale):
        h = networks.size // 2
        frequency = torch.exp(-math.log(10_000) / (h - 1) * torch.arange(h)).double()
        angle = (v * scale)[:, None] * frequency
        return torch.cat([angle.sin(), angle.cos()], -1)

    x = torch.cat([embed(z[:, 0], 100.0), embed(z[:, 1], 100.0), embed(logsnr, 50.0)], -1)
    layers = list(zip(networks.weights, networks.biases, strict=True))
    for index, (weight, bias) in enumerate(layers):
        x = x @ weight[member] + bias[member, 0]
        x = F.relu(x) if index < len(layers) - 1 else x
    return x


def test_each_member_is_the_published_network(networks):
    z, logsnr = points()
    out = networks(z, logsnr)
    for i in range(3):
        torch.testing.assert_close(out[i], published(networks, i, z[i], logsnr[i]), rtol=0, atol=2e-5)


def test_a_member_is_a_function_of_its_own_seed(networks):
    alone = FourierMLPs([1], d=2, size=8, hidden=16, layers=3).double()
    for together, own in zip(networks.parameters(), alone.parameters(), strict=True):
        assert torch.equal(together[1:2], own)
    weight, bias = initial_layers(networks.sizes, 1)[0]
    assert torch.equal(networks.weights[0][1], weight.double())
    assert torch.equal(networks.biases[0][1, 0], bias.double())
    assert networks.parameters_each == sum(p.numel() for p in alone.parameters())


def test_on_a_grid_the_network_is_what_it_is_at_the_points(networks):
    axes = [torch.linspace(-1, 1, 4, dtype=torch.float64), torch.linspace(0, 2, 3, dtype=torch.float64)]
    logsnr = torch.tensor(1.5, dtype=torch.float64)
    at_points = torch.cartesian_prod(*axes).expand(3, 12, 2)
    expected = networks(at_points, logsnr.expand(3, 12)).view(3, 4, 3, 2)
    torch.testing.assert_close(networks.on_grid(axes, logsnr), expected)


def test_value_and_jacobian_agree_with_autograd(networks):
    z, logsnr = points(n=3)
    out, jacobian = networks.value_and_jacobian(z, logsnr)
    torch.testing.assert_close(out, networks(z, logsnr))
    for i in range(3):
        for j in range(3):
            truth = torch.autograd.functional.jacobian(
                lambda point, i=i, j=j: networks(
                    torch.cat([z[:, :j], point.expand(3, 1, 2), z[:, j + 1 :]], 1), logsnr
                )[i, j],
                z[i, j],
            )
            torch.testing.assert_close(jacobian[i, j], truth)


def test_gradients_of_a_member_do_not_see_the_others(networks):
    z, logsnr = points()
    networks(z, logsnr)[1].square().sum().backward()
    for parameter in networks.parameters():
        assert parameter.grad[1].abs().sum() > 0
        assert parameter.grad[[0, 2]].abs().sum() == 0


def test_frequencies_run_from_the_scale_to_a_ten_thousandth_of_it():
    frequencies, phase = angular_frequencies(128, 50.0)
    assert float(frequencies.max()) == pytest.approx(50.0)
    assert float(frequencies.min()) == pytest.approx(50.0 / 10_000, rel=1e-4)
    torch.testing.assert_close(torch.sin(frequencies * 0.3 + phase)[64:], torch.cos(frequencies[:64] * 0.3))
