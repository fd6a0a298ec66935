"""The 1x1 convolution: the general one's numbers and derivatives, whatever the layout in memory."""

import pytest
import torch
import torch.nn.functional as F

from infolab.nn.blocks import PointwiseConv
from infolab.noise import generator


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_values_and_two_derivatives_are_those_of_the_general_convolution(memory_format):
    layer = PointwiseConv(5, 3).double()
    x = torch.randn(2, 5, 4, 7, generator=generator(0), dtype=torch.float64).contiguous(memory_format=memory_format)
    x.requires_grad_()
    inputs = (x, layer.weight, layer.bias)
    found = []
    for y in (layer(x), F.conv2d(x, layer.weight, layer.bias)):
        first = torch.autograd.grad(y.sin().sum(), inputs, create_graph=True)
        second = torch.autograd.grad(sum(item.square().sum() for item in first), inputs)
        found.append((y, *first, *second))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_it_has_the_tensors_of_a_convolution_and_runs_in_half_precision():
    layer = PointwiseConv(6, 4)
    assert {name: tuple(item.shape) for name, item in layer.state_dict().items()} == {
        "weight": (4, 6, 1, 1),
        "bias": (4,),
    }
    x = torch.randn(3, 6, 2, 2, generator=generator(1))
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
        torch.testing.assert_close(
            layer(x).float(), F.conv2d(x, layer.weight, layer.bias).float(), rtol=0.02, atol=0.02
        )
