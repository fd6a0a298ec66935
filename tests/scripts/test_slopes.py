import numpy as np
import pytest
from scipy import stats

from scripts import slopes


def test_slope_recovers_a_planted_one():
    x = np.array([10.0, 100.0, 200.0, 600.0, 1000.0, 2000.0])
    noise = np.exp(0.05 * np.random.default_rng(1).standard_normal(len(x)))
    slope = slopes.fit_slope(x, 7.0 * x**-0.4 * noise)
    assert slope.low < -0.4 < slope.high
    assert slope.high - slope.low < 0.15
    exact = slopes.fit_slope(x, 7.0 * x**-0.4)
    assert exact.value == pytest.approx(-0.4, abs=1e-12)
    np.testing.assert_allclose(exact.at(x), 7.0 * x**-0.4, rtol=1e-12)


def test_slope_interval_holds_the_truth_at_its_level():
    rng = np.random.default_rng(2)
    x = np.geomspace(10, 1000, 7)
    found = [slopes.fit_slope(x, x**-0.5 * np.exp(0.3 * rng.standard_normal(7))) for _ in range(1000)]
    covered = np.mean([slope.low < -0.5 < slope.high for slope in found])
    assert covered == pytest.approx(0.95, abs=4 * np.sqrt(0.95 * 0.05 / 1000))


def test_slope_of_two_points_has_no_interval_and_bad_input_is_refused():
    assert str(slopes.fit_slope(np.array([1.0, 10.0]), np.array([1.0, 0.1]))) == "-1.00"
    with pytest.raises(ValueError, match="positive"):
        slopes.fit_slope(np.array([1.0, 10.0]), np.array([1.0, -0.1]))


def test_lack_of_fit_sees_a_bend_and_not_a_line():
    rng, x = np.random.default_rng(0), np.repeat([10.0, 100.0, 1000.0, 1e4], 3)
    found = {
        bend: [
            slopes.lack_of_fit(x, np.exp(-0.5 * np.log(x) + bend * np.log(x) ** 2 + 0.2 * rng.standard_normal(12)))
            for _ in range(400)
        ]
        for bend in (0.0, 0.1)
    }
    # p is uniform for a line: 1% of 400 with an error of 2.
    assert np.mean(np.array(found[0.0]) < 0.01) < 0.03
    assert stats.kstest(found[0.0], "uniform").pvalue > 1e-3
    assert np.mean(np.array(found[0.1]) < 0.01) > 0.8
    assert np.isnan(slopes.lack_of_fit(np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 3.0])))


def test_points_without_repetitions_are_held_against_a_bend():
    rng, x = np.random.default_rng(3), np.geomspace(10, 1e4, 8)
    line = [slopes.lack_of_fit(x, x**-0.5 * np.exp(0.1 * rng.standard_normal(8))) for _ in range(400)]
    assert stats.kstest(line, "uniform").pvalue > 1e-3
    bent = x**-0.5 * np.exp(0.1 * np.log(x) ** 2 + 0.05 * rng.standard_normal(8))
    assert slopes.power_law(x, bent).slope is None
    assert str(slopes.power_law(x, bent)).startswith("no power law (p = ")


def test_a_line_keeps_its_slope_and_two_places_cannot_be_held_against_one():
    rng, x = np.random.default_rng(4), np.repeat([100.0, 300.0, 1000.0], 4)
    law = slopes.power_law(x, x**-0.3 * np.exp(0.02 * rng.standard_normal(12)))
    assert law.p > 0.01
    assert str(law) == f"slope {law.slope}"
    two = slopes.power_law(np.array([1.0, 10.0]), np.array([1.0, 0.1]))
    assert np.isnan(two.p)
    assert str(two) == "slope -1.00"
