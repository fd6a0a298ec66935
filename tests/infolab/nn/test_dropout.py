"""Dropout drawn from an explicit generator."""

import copy

import pytest
import torch

from infolab.errors import UserError
from infolab.nn.blocks import LEVELS, Dropout, scaled_mask, set_dropout_generator
from infolab.noise import generator


def test_mask_has_the_right_rate_and_scale():
    layer, n, p = Dropout(0.3), 100_000, 0.3
    set_dropout_generator(layer, generator(0, "dropout"))
    y = layer(torch.ones(n, dtype=torch.float64))
    kept = (y > 0).double().mean().item()
    assert abs(kept - (1 - p)) < 5 * (p * (1 - p) / n) ** 0.5
    assert y[y > 0].unique().tolist() == pytest.approx([1 / (1 - p)], rel=2 / LEVELS)  # p is a multiple of 1 / LEVELS


@pytest.mark.parametrize("p", [1e-9, 0.1, 0.5, 1 - 1e-9])
def test_mask_of_the_processor_has_mean_one_and_bits_that_know_nothing_of_each_other(p):
    rows = 200_000
    mask = scaled_mask(torch.empty(rows, 4, dtype=torch.float64), p, generator(1, "dropout"))  # one draw a row
    kept = (mask > 0).double()
    rate = 1 - min(round(p * LEVELS), LEVELS - 1) / LEVELS
    assert abs(rate - (1 - p)) <= 1 / LEVELS
    assert mask.max() == 1 / rate or rate < 1e-4
    se = (rate * (1 - rate) / rows) ** 0.5
    assert (kept.mean(0) - rate).abs().max() <= 5 * se
    both = (kept.T @ kept / rows - rate**2).fill_diagonal_(0)  # both of two are kept with probability rate^2
    assert both.abs().max() <= 5 * rate * ((1 - rate**2) / rows) ** 0.5
    assert scaled_mask(torch.empty(3, 5), p, generator(1)).shape == (3, 5)


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
