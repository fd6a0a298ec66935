"""Monotone maps: the target law is reached, the slope is the derivative, nothing folds."""

import numpy as np
import pytest
from scipy.stats import chi, kstest, norm

from infolab.mi.sides import fit_map, log_radius_map, normal_map


def samples():
    rng = np.random.default_rng(0)
    return {
        "normal": rng.standard_normal(4000),
        "cube": rng.standard_normal(4000) ** 3,
        "student": rng.standard_t(3, 4000),
        "uniform": rng.random(4000),
        "two modes": np.concatenate([rng.normal(-5, 0.1, 2000), rng.normal(5, 0.1, 2000)]),
    }


@pytest.mark.parametrize("name", samples())
def test_new_points_of_the_same_law_become_normal(name):
    values = np.random.default_rng(1).permutation(samples()[name])
    mapped, _ = normal_map(values[:2000])(values[2000:])
    # Both halves have sampling error: twice the 0.1% point of one.
    assert kstest(mapped, norm.cdf).statistic < 2 * 1.95 / np.sqrt(2000)


@pytest.mark.parametrize("name", samples())
def test_increasing_with_the_slope_it_says(name):
    values = samples()[name]
    f = normal_map(values)
    places = np.linspace(values.min() - 3 * np.ptp(values), values.max() + 3 * np.ptp(values), 20_001)
    mapped, log_slope = f(places)
    assert (np.diff(mapped) > 0).all()
    assert np.abs(mapped).max() < 40, "an outlier is not sent far away"
    h = 1e-7 * np.ptp(values)
    found = (f(places + h)[0] - f(places - h)[0]) / (2 * h)
    away = np.min(np.abs(places[:, None] - f.places), axis=1) > 2 * h
    assert np.allclose(np.exp(log_slope[away]), found[away], rtol=1e-3, atol=1e-6 / np.ptp(values))


def test_knots_merge_where_the_sample_has_ties():
    values = np.random.default_rng(0).integers(0, 3, 500).astype(float)
    mapped, _ = normal_map(values)(np.array([0.0, 1.0, 2.0]))
    assert (np.diff(mapped) > 0).all()
    assert np.isfinite(mapped).all()


def test_radius_takes_the_law_of_a_gaussian():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((6000, 5)) * np.sqrt(3 / rng.chisquare(3, (6000, 1)))
    log_r = np.log(np.linalg.norm(x, axis=1))
    mapped, _ = log_radius_map(log_r[:3000], 5)(log_r[3000:])
    assert kstest(np.exp(mapped), chi(5).cdf).statistic < 2 * 1.95 / np.sqrt(3000)


def test_other_targets():
    sample = np.random.default_rng(0).standard_normal(2000)
    mapped, _ = fit_map(sample, lambda p: p)(np.array([0.0]))
    assert mapped[0] == pytest.approx(0.5, abs=3 * 0.5 / np.sqrt(2000))
