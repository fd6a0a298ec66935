"""Dropout drawn from an explicit generator."""

import copy

import pytest
import torch

from common.errors import UserError
from common.networks.dropout import Dropout, set_dropout_generator
from common.seeds import generator


def test_mask_has_the_right_rate_and_scale():
    layer, n, p = Dropout(0.3), 100_000, 0.3
    set_dropout_generator(layer, generator(0, "dropout"))
    y = layer(torch.ones(n, dtype=torch.float64))
    kept = (y > 0).double().mean().item()
    assert abs(kept - (1 - p)) < 5 * (p * (1 - p) / n) ** 0.5
    assert y[y > 0].unique().tolist() == pytest.approx([1 / (1 - p)])


def test_mask_is_a_function_of_the_generator_and_not_of_the_global_state():
    x, layer = torch.ones(50), Dropout(0.5)
    masks = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        set_dropout_generator(layer, generator(0, "dropout", 7))
        masks.append(layer(x))
    assert torch.equal(*masks)
    assert not torch.equal(layer(x), masks[0])


def test_evaluation_and_zero_return_the_input_itself():
    x = torch.ones(3)
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0)(x) is x


def test_training_without_a_generator_is_refused():
    with pytest.raises(UserError, match="set_dropout_generator"):
        Dropout(0.5)(torch.ones(3))


def test_copies_leave_the_generator_behind():
    layer = Dropout(0.5)
    set_dropout_generator(layer, generator(0))
    assert copy.deepcopy(layer).generator is None
    assert layer.generator is not None


@pytest.mark.parametrize("p", [-0.1, 1.0])
def test_refuses_what_is_no_probability(p):
    with pytest.raises(UserError, match="probability"):
        Dropout(p)
