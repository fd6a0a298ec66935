"""Rows that depend on each other are noticed, and blocks of them give an interval that covers."""

import math

import numpy as np
import pytest
from scipy.signal import lfilter

from infolab.errors import UserError
from infolab.mi import Settings, mutual_information
from infolab.mi.sides import block_halves, block_numbers, dependence_warning, lag_correlation

FAST = Settings(steps=60, batch=128, width=24, points=12)


def series(rng, n, phi, d=1):
    """AR(1) series (n, d) of unit variance."""
    noise = rng.standard_normal((n, d)) * math.sqrt(1 - phi * phi)
    noise[0] /= math.sqrt(1 - phi * phi)
    return lfilter([1.0], [1.0, -phi], noise, axis=0)


def test_lag_correlations():
    x = series(np.random.default_rng(0), 20_000, 0.8, 2)
    assert lag_correlation(x)[0] == pytest.approx(0.8, abs=0.03)  # 4 sqrt((1 - phi^2)/n), and ranks
    assert lag_correlation(x)[1] == 1
    weekly = np.tile(np.random.default_rng(0).standard_normal((7, 1)), (100, 1))
    assert lag_correlation(weekly + 0.1 * series(np.random.default_rng(1), 700, 0.0))[1] == 7
    assert lag_correlation(np.ones((100, 2))) == (0.0, 0)


@pytest.mark.parametrize("phi", [0.99, 0.999])
def test_dependent_rows_are_noticed(phi):
    rng = np.random.default_rng(0)
    x, y = series(rng, 2000, phi), series(rng, 2000, phi)
    found = mutual_information(x, y, FAST)
    assert "rows that are close to each other are alike" in found.warnings[0]
    assert "--blocks" in found.warnings[0]
    order = rng.permutation(2000)
    assert dependence_warning(x[order], y[order]) == ""
    assert dependence_warning(x, y[order]) == ""  # one side that is a series does no harm


def test_independent_rows_are_not_noticed():
    rng = np.random.default_rng(0)
    assert [dependence_warning(*rng.standard_normal((2, n, 20))) for n in (40, 400, 1000, 5000)] == [""] * 4


def test_blocks_lie_in_one_half():
    numbers = block_numbers(1003, 20)
    counts = np.bincount(numbers)
    assert len(counts) == 20
    assert counts.max() - counts.min() <= 1
    first, second = block_halves(numbers)
    assert len(first) == len(second)
    assert not set(numbers[first]) & set(numbers[second])
    for blocks in (9, 502):
        with pytest.raises(UserError, match=f"--blocks {blocks} of 1003 rows: expected from 10 to 501"):
            block_numbers(1003, blocks)


def in_blocks(phi, n, blocks, seed, rho=0.0):
    rng = np.random.default_rng(seed)
    x = series(rng, n, phi)
    y = rho * x + math.sqrt(1 - rho * rho) * series(rng, n, phi)
    settings = Settings(steps=100, batch=128, width=24, points=12, seed=seed, blocks=blocks)
    found = mutual_information(x, y, settings)
    assert found.warnings == ()
    return found.estimate


@pytest.mark.slow
def test_the_interval_over_blocks_covers():
    found = [in_blocks(0.99, 2000, 20, seed) for seed in range(20)]
    assert sum(abs(one.value) < 1.96 * one.se for one in found) >= 16  # of 20 at 95%: fewer in 1 of 400 draws
    assert np.mean([one.se for one in found]) < 0.2


def test_blocks_find_what_is_there():
    found = in_blocks(0.9, 4000, 20, 0, rho=0.8)
    assert abs(found.value + 0.5 * math.log(1 - 0.64)) < 3 * found.se < 0.5
