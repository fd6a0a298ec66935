import numpy as np
import pandas as pd
import pytest
from scipy import stats

from scripts import select


def _rows(**columns):
    base = {"step_rule": "fixed_number", "variant": "published", "sde_steps": 100, "model": "mlp", "seed": 0}
    return pd.DataFrame({**base, **columns})


def test_sweep_takes_the_largest_epoch_at_which_x_varies():
    frame = _rows(T=[1.0, 2.0, 1.0, 2.0, 1.0], epoch=[10, 10, 20, 20, 30])
    assert sorted(select.sweep(frame, "T", ["model"])["epoch"].unique()) == [20]


def test_sweep_drops_the_setting_that_two_sweeps_share_and_other_grids():
    frame = _rows(T=[1.0, 1.0, 2.0, 2.0], epoch=5, sde_steps=[100, 100, 100, 7])
    picked = select.sweep(frame, "T", ["model"])
    assert picked["T"].tolist() == [1.0, 2.0]
    assert picked["sde_steps"].tolist() == [100, 100]


def test_sweep_without_variation_is_named():
    with pytest.raises(select.NoRowsError, match="no sweep over T"):
        select.sweep(_rows(T=[1.0, 1.0], epoch=[1, 2]), "T", ["model"])


def test_interval_over_seeds_covers_the_mean_at_its_level():
    rng = np.random.default_rng(0)
    trials = 2000
    frame = pd.DataFrame({"T": np.repeat(np.arange(trials), 3), "y": rng.standard_normal(3 * trials)})
    summary = select.over_seeds(frame, "T", "y")
    covered = (summary["mean"].abs() <= summary["half"]).mean()
    # Four standard errors of a proportion of 0.95 in 2,000 trials.
    assert covered == pytest.approx(0.95, abs=4 * np.sqrt(0.95 * 0.05 / trials))


def test_one_seed_uses_the_measurement_error_and_empty_values_are_left_out():
    frame = pd.DataFrame({"T": [1.0, 2.0], "y": [3.0, np.nan], "e": [0.5, np.nan]})
    summary = select.over_seeds(frame, "T", "y", "e")
    assert summary["x"].tolist() == [1.0]
    assert summary["half"].tolist() == pytest.approx([1.96 * 0.5])


def test_slope_recovers_a_planted_one():
    x = np.array([10.0, 100.0, 200.0, 600.0, 1000.0, 2000.0])
    noise = np.exp(0.05 * np.random.default_rng(1).standard_normal(len(x)))
    slope = select.fit_slope(x, 7.0 * x**-0.4 * noise)
    assert slope.low < -0.4 < slope.high
    assert slope.high - slope.low < 0.15
    exact = select.fit_slope(x, 7.0 * x**-0.4)
    assert exact.value == pytest.approx(-0.4, abs=1e-12)
    np.testing.assert_allclose(exact.at(x), 7.0 * x**-0.4, rtol=1e-12)


def test_slope_interval_holds_the_truth_at_its_level():
    rng = np.random.default_rng(2)
    x = np.geomspace(10, 1000, 7)
    slopes = [select.fit_slope(x, x**-0.5 * np.exp(0.3 * rng.standard_normal(7))) for _ in range(1000)]
    covered = np.mean([slope.low < -0.5 < slope.high for slope in slopes])
    assert covered == pytest.approx(0.95, abs=4 * np.sqrt(0.95 * 0.05 / 1000))


def test_slope_of_two_points_has_no_interval_and_bad_input_is_refused():
    assert str(select.fit_slope(np.array([1.0, 10.0]), np.array([1.0, 0.1]))) == "-1.00"
    with pytest.raises(ValueError, match="positive"):
        select.fit_slope(np.array([1.0, 10.0]), np.array([1.0, -0.1]))


def test_lack_of_fit_sees_a_bend_and_not_a_line():
    rng, x = np.random.default_rng(0), np.repeat([10.0, 100.0, 1000.0, 1e4], 3)
    found = {
        bend: [
            select.lack_of_fit(x, np.exp(-0.5 * np.log(x) + bend * np.log(x) ** 2 + 0.2 * rng.standard_normal(12)))
            for _ in range(400)
        ]
        for bend in (0.0, 0.1)
    }
    # p is uniform for a line: 1% of 400 with an error of 2.
    assert np.mean(np.array(found[0.0]) < 0.01) < 0.03
    assert stats.kstest(found[0.0], "uniform").pvalue > 1e-3
    assert np.mean(np.array(found[0.1]) < 0.01) > 0.8
    assert np.isnan(select.lack_of_fit(np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 3.0])))


def test_a_band_without_some_seeds_says_so():
    frame = pd.DataFrame({"T": [1.0] * 3 + [2.0] * 3, "seed": [0, 1, 2] * 2, "y": [1.0, 2.0, np.nan, 1.0, 2.0, 3.0]})
    assert select.band_note(frame, "T") == "band: 95% interval of the mean over 3 seeds"
    found = select.band_note(frame, "T", "y")
    assert found == "band: 95% interval of the mean over 2 to 3 seeds; 1 of 6 without a value"
