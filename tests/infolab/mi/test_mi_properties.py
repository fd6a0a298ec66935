"""What leaves mutual information alone leaves the estimate alone: unit, origin, order of the pairs, copies of them."""

import functools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infolab.mi import Settings, mutual_information

N = 500
QUICK = Settings(steps=20, batch=64, width=16, points=4)
few_examples = settings(max_examples=5, deadline=None, derandomize=True)


def drawn(seed=0, dx=2, n=N):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, dx))
    return x, 0.8 * x[:, :1] + 0.6 * rng.standard_normal((n, 1))


def value(x, y, seed=0):
    return mutual_information(x, y, Settings(**{**QUICK.__dict__, "seed": seed})).estimate


@functools.cache
def plain():
    """Of the pairs as they are; true: -1/2 log 0.36 = 0.511."""
    return value(*drawn())


RESOLVED = 2e-3
"""Rounding of the inputs moves weights by about as much in 20 steps; the standard error over pairs is 0.03."""


@few_examples
@given(power=st.integers(-12, 12), other=st.integers(-12, 12), sign=st.sampled_from([-1, 1]))
def test_the_unit_does_not_matter(power, other, sign):
    x, y = drawn()
    assert value(x * 10.0**power, y * 10.0**other).value == pytest.approx(plain().value, abs=RESOLVED)
    # A mirrored side is another one to the networks.
    assert value(sign * x, y).value == pytest.approx(plain().value, abs=plain().se)


@few_examples
@given(shift=st.floats(-1e6, 1e6), other=st.floats(-1e6, 1e6))
def test_the_origin_does_not_matter(shift, other):
    x, y = drawn()
    assert value(x + shift, y + other).value == pytest.approx(plain().value, abs=RESOLVED)


@few_examples
@given(seed=st.integers(0, 1000))
def test_the_order_of_the_pairs_does_not_matter(seed):
    x, y = drawn()
    order = np.random.default_rng(seed).permutation(N)
    found = value(x[order], y[order])  # other halves: the same up to the error
    assert abs(found.value - plain().value) < 3 * math.hypot(found.se, plain().se)


@few_examples
@given(times=st.integers(2, 5), seed=st.integers(0, 100))
def test_a_data_set_given_again_says_no_more(times, seed):
    x, y = drawn(seed)
    found = mutual_information(np.tile(x, (times, 1)), np.tile(y, (times, 1)), QUICK)
    assert abs(found.estimate.value + 0.5 * math.log(0.36)) < 4 * found.estimate.se
    assert found.estimate.se_data > 0.02  # over all rows as if they were draws it would be 0.03/sqrt(times)
    assert f"{(times - 1) * N} of {times * N} rows are copies of other pairs" in found.warnings[0]


@pytest.mark.parametrize("place", [0, 1])
def test_one_value_far_out(place):
    x, y = drawn()
    x[7, place] = 1e20
    assert value(x, y).value == pytest.approx(plain().value, abs=2 * plain().se)


def test_large_single_precision_numbers_are_no_whole_numbers():
    # All values of such an array are whole; copies are told from ties all the same.
    x, y = ((1e12 * side).astype(np.float32) for side in drawn())
    twice = mutual_information(np.tile(x, (2, 1)), np.tile(y, (2, 1)), QUICK)
    assert "500 of 1000 rows are copies" in twice.warnings[0]
    assert mutual_information(x, y, QUICK).warnings == ()
