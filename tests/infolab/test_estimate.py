"""Estimates: totals, validation, JSON, and the two small conversions."""

import json
import math

import pytest
import torch

from infolab.errors import RunFailedError, UserError
from infolab.estimate import Estimate, mean_and_se, nats_to_bpd


def test_total_error_is_root_sum_of_squares_and_json_carries_it():
    estimate = Estimate(2.0, se_data=3.0, se_quadrature=4.0, bias="upper", estimand="a density", n=7, d=2)
    assert estimate.se == 5.0
    fields = json.loads(json.dumps(estimate.as_dict()))
    assert fields["se"] == 5.0
    assert fields["bias"] == "upper"
    assert Estimate(**{k: v for k, v in fields.items() if k != "se"}) == estimate


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_non_finite_value_is_refused(value):
    with pytest.raises(RunFailedError, match="finite"):
        Estimate(value, se_data=0.0)


@pytest.mark.parametrize("wrong", [{"se_data": -1.0}, {"se_data": math.nan}, {"bias": "small"}, {"n": -1}])
def test_wrong_fields_are_refused(wrong):
    with pytest.raises(ValueError, match="expected"):
        Estimate(**{"value": 0.0, "se_data": 0.0, **wrong})


def test_mean_and_se_against_numpy_in_float64():
    values = torch.randn(3, 50, generator=torch.Generator().manual_seed(0)) + 1e6
    mean, se = mean_and_se(values)
    reference = values.double().numpy().ravel()
    assert mean == pytest.approx(reference.mean(), rel=1e-14)
    assert se == pytest.approx(reference.std(ddof=1) / math.sqrt(150), rel=1e-12)


def test_one_value_has_no_standard_error():
    with pytest.raises(UserError, match="at least two"):
        mean_and_se(torch.ones(1))


def test_nats_to_bpd():
    assert nats_to_bpd(3072 * 8 * math.log(2), 3072) == pytest.approx(8)
