"""Copies of pairs stay in one half; what coincides by itself does not count as copies."""

import math

import numpy as np
import pytest

from infolab.errors import UserError
from infolab.mi import Settings, mutual_information
from infolab.mi.pairs import copies, split

NUMBERS = (False, False)


def repeated(pairs, times, d=2, seed=0):
    """Independent Gaussian pairs, each so many times, in random order."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(pairs * times)
    return tuple(np.repeat(rng.standard_normal((pairs, d)), times, 0)[order] for _ in "xy")


@pytest.mark.parametrize("n", [40, 401, 2000])
def test_distinct_rows_are_split_as_ever(n):
    x = np.random.default_rng(1).standard_normal((n, 2))
    groups = copies(x, x[:, :1], NUMBERS)
    assert (groups == np.arange(n)).all()
    order = np.random.default_rng(7).permutation(n)
    one, other = split(groups, 7)
    assert (one == order[: n // 2]).all()
    assert (other == order[n // 2 : 2 * (n // 2)]).all()


@pytest.mark.parametrize("d", [1, 2])
def test_copies_lie_in_one_half_side_by_side(d):
    x, y = repeated(100, 20, d)
    groups = copies(x, y, NUMBERS)
    assert np.unique(groups, return_counts=True)[1].tolist() == [20] * 100
    one, other = split(groups, 0)
    assert len(one) == len(other) == 1000
    assert not set(groups[one]) & set(groups[other])
    assert (np.diff(groups[one]) != 0).sum() == 49  # so that training and validation share one pair at most
    assert len({*x[one, 0]} & {*x[other, 0]}) == 0


def test_a_few_copies_among_many_rows():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((500, 1)), rng.standard_normal((500, 3))
    some = np.concatenate([np.arange(500), [3, 3, 8]])
    groups = copies(x[some], y[some], NUMBERS)
    assert len(np.unique(groups)) == 500
    assert groups[3] == groups[500] == groups[501]
    one, other = split(groups, 1)
    assert len(one) == len(other)
    assert 248 <= len(one) <= 251
    assert not set(groups[one]) & set(groups[other])


def coincidences():
    rng = np.random.default_rng(0)
    n = 4000
    binary, grey = rng.integers(0, 2, (n, 2)), rng.integers(0, 256, (n, 1))
    clipped = np.maximum(rng.standard_normal((n, 2)), 0)
    missing = rng.random(n) < 0.3
    imputed = np.where(missing[:, None], 0.123, rng.standard_normal((n, 2)))
    return {
        "two binary columns": (binary[:, :1], binary[:, 1:], (True, True)),
        "labels under odd names": (np.sqrt(binary[:, :1] + 2), np.exp(binary[:, :1]), (True, True)),
        "a label of a grey level": (grey > 100, grey / 255, (True, False)),
        "single precision": ((grey / 255).astype(np.float32), grey > 9, (False, True)),
        "counts and their cells": (rng.poisson(3, (n, 2)), rng.poisson(1, (n, 2)), NUMBERS),
        "rounded numbers": (rng.standard_normal((n, 1)).round(1), rng.standard_normal((n, 1)).round(1), NUMBERS),
        "clipped on both sides": (clipped[:, :1], clipped[:, 1:], NUMBERS),
        "logarithms of counts": (np.log1p(rng.poisson(4, (n, 1))), np.log1p(rng.poisson(4, (n, 1))), NUMBERS),
        "both sides missing at once": (imputed[:, :1], imputed[:, 1:], NUMBERS),
    }


@pytest.mark.parametrize("name", coincidences())
def test_what_coincides_by_itself_is_no_copy(name):
    x, y, labels = coincidences()[name]
    x, y = x.astype(float), y.astype(float)
    assert len(np.unique(np.column_stack([x, y]), axis=0)) < len(x)
    assert len(np.unique(copies(x, y, labels))) == len(x)


def test_copies_do_not_tell_one_half_of_the_other():
    x, y = repeated(500, 4)
    found = mutual_information(x, y, Settings(steps=400, batch=128, width=32, points=12)).estimate
    assert abs(found.value) < 2 * found.se  # without the grouping 1.2 +- 0.2


def test_the_standard_error_is_over_distinct_pairs():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((500, 1))
    y = 0.8 * x + 0.6 * rng.standard_normal((500, 1))
    fast = Settings(steps=60, batch=128, width=24, points=12)
    once = mutual_information(x, y, fast).estimate
    often = mutual_information(np.repeat(x, 9, 0), np.repeat(y, 9, 0), fast).estimate
    assert often.se_data == pytest.approx(once.se_data, rel=0.25)  # over rows it would be a third
    assert abs(often.value + 0.5 * math.log(0.36)) < 3 * often.se + 0.02


def test_two_binary_columns_still_have_their_information():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2, 2000)
    y = np.where(rng.random(2000) < 0.2, 1 - x, x)
    truth = math.log(2) + 0.8 * math.log(0.8) + 0.2 * math.log(0.2)
    found = mutual_information(x, y, Settings(steps=150, batch=256)).estimate
    assert found.n == 2000
    assert abs(found.value - truth) < 3 * found.se + 0.01


def test_too_few_distinct_pairs_are_refused():
    x, y = repeated(30, 40)
    with pytest.raises(UserError, match="only 30 distinct pairs"):
        mutual_information(x, y)
