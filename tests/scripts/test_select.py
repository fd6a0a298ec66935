import numpy as np
import pandas as pd
import pytest
from scipy import stats

from infolab import results as tables
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


def test_exact_interval_of_a_proportion_against_the_binomial_tails():
    n = 1437
    for k in (0, 1, 5, 700, n):
        low, high = (float(end) for end in select.share_interval(np.array(k), n))
        if k:
            assert stats.binom.sf(k - 1, n, low) == pytest.approx(0.025, rel=1e-6)  # P(X >= k) at the lower end
        if k < n:
            assert stats.binom.cdf(k, n, high) == pytest.approx(0.025, rel=1e-6)
    low, high = select.share_interval(np.array([0, 1, n]), n)
    assert (n * low[1], n * high[1]) == pytest.approx((0.0253, 5.56), abs=0.01)  # Wald's, cut: 0 to 2.96
    assert (low[0], high[2]) == (0, 1)


def test_a_band_without_some_seeds_says_so():
    frame = pd.DataFrame({"T": [1.0] * 3 + [2.0] * 3, "seed": [0, 1, 2] * 2, "y": [1.0, 2.0, np.nan, 1.0, 2.0, 3.0]})
    assert select.band_note(frame, "T") == "band: 95% interval of the mean over 3 seeds"
    found = select.band_note(frame, "T", "y")
    assert found == "band: 95% interval of the mean over 2 to 3 seeds; 1 of 6 without a value"


def test_pictures_are_the_users_own_or_the_references_and_said_to_be(tmp_path):
    def write(root, run_id, experiment):
        provenance = {"experiment": experiment, "run_id": run_id, "preset": "quick"}
        tables.write_arrays(root, "vae", run_id, {"a": np.zeros(1)}, provenance)

    def chosen(files):
        return [provenance["run_id"] for provenance, _ in select.some(files, "files")]

    wanted = ["vae/images:one", "vae/images:two"]
    with pytest.raises(select.NoRowsError, match="no arrays of one, two in vae/images"):
        select.arrays_or_reference(tmp_path, wanted, chosen)
    write(tmp_path / "reference", "r", "one")
    write(tmp_path, "other", "another")  # the user has a folder of pictures, with none of these
    assert select.arrays_or_reference(tmp_path, wanted, chosen) == (["r"], "reference")
    write(tmp_path, "own", "two")
    assert select.arrays_or_reference(tmp_path, wanted, chosen) == (["own"], "yours")
