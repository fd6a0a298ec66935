import dataclasses
import shutil
import sys

import numpy as np
import pandas as pd
import pytest
from synthetic_results import toy_rows, write_images, write_toy

from infolab import results as tables
from infolab.errors import UserError
from scripts import agreement, verify

TOY = tables.table_named("diffusion/toy_bound")
VALUES = TOY.names("value")
SETTINGS = [column.name for column in TOY.columns if column.kind == "setting" and column.name != "seed"]


def run(results, capsys, monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["verify", "--results-dir", str(results), *words])
    try:
        verify.main()
        code = 0
    except SystemExit as ended:
        code = ended.code
    return code, capsys.readouterr().out


def moments(values, e2=0.0):
    values = np.asarray(values, float)
    var = values.var(ddof=1) if len(values) > 1 else np.nan
    columns = {"mean": values.mean(), "var": var, "n": len(values), "low": values.min(), "high": values.max(), "e2": e2}
    return pd.DataFrame(columns, index=[0])


def test_results_agree_with_themselves(tmp_path, capsys, monkeypatch):
    path = write_toy(tmp_path)
    shutil.copytree(path.parent, tmp_path / "reference" / "diffusion" / "toy_bound")
    code, out = run(tmp_path, capsys, monkeypatch)
    assert code == 0
    assert "no value disagrees" in out
    assert " 0 disagree" in out


def test_other_seeds_of_the_same_law_agree(tmp_path, capsys, monkeypatch):
    write_toy(tmp_path, seeds=(10, 11, 12), stream=1)
    write_toy(tmp_path / "reference")
    code, out = run(tmp_path, capsys, monkeypatch)
    assert code == 0
    assert "not comparable" not in out


def test_values_that_one_side_does_not_have_are_said_and_count(tmp_path, capsys, monkeypatch):
    def diverge(row):
        return dataclasses.replace(row, kl_test_nats=None) if row.T == 0.2 else row

    def diverge_once(row):
        return dataclasses.replace(row, kl_test_nats=None) if row.T == 0.2 and row.seed == 0 else row

    write_toy(tmp_path / "reference")
    write_toy(tmp_path, change=diverge)
    code, out = run(tmp_path, capsys, monkeypatch)
    assert code == 1
    assert "kl_test_nats is empty in 100% of your rows and 0% of the reference's: " in out
    assert "that one side does not have in any seed" in out
    write_toy(tmp_path, change=diverge_once)
    code, out = run(tmp_path, capsys, monkeypatch)
    assert code == 0
    assert "kl_test_nats is empty in 33% of your rows" in out


def test_one_shifted_setting_is_found_and_named(tmp_path, capsys, monkeypatch):
    def shift(row):
        there = (row.T, row.m, row.variant, row.step_rule, row.epoch) == (0.2, 100, "published", "fixed_number", 2000)
        # The spread over seeds is at most about 0.02, so 10 standard errors of a mean over 3 are about 0.12.
        return dataclasses.replace(row, bound_nats=row.bound_nats + 0.15) if there else row

    write_toy(tmp_path, change=shift)
    write_toy(tmp_path / "reference")
    code, out = run(tmp_path, capsys, monkeypatch)
    assert code == 1
    bad = [line for line in out.splitlines() if line.endswith("  no")]
    assert len(bad) == 1
    assert "T=0.2" in bad[0]
    assert "bound_nats" in bad[0]


def test_a_whole_column_shifted_by_ten_errors_is_found_with_other_seeds(tmp_path, capsys, monkeypatch):
    # 0.01 sqrt(1/3 + 1/3) is the standard error of a difference: no single row of hundreds stands out, all together do.
    write_toy(
        tmp_path, seeds=(10, 11, 12), stream=1,
        change=lambda row: dataclasses.replace(row, score_loss_nats=row.score_loss_nats + 0.082),
    )  # fmt: skip
    write_toy(tmp_path / "reference")
    code, out = run(tmp_path, capsys, monkeypatch)
    assert code == 1
    assert "diffusion/toy_bound: score_loss_nats disagrees as a whole" in out
    assert out.count("as a whole") == 1


def test_one_seed_on_both_sides_is_not_comparable_unless_identical(tmp_path, capsys, monkeypatch):
    write_toy(tmp_path, seeds=(5,), stream=1)
    write_toy(tmp_path / "reference", seeds=(0,))
    code, out = run(tmp_path, capsys, monkeypatch)
    assert code == 0
    assert "one seed on both sides" in out


def test_settings_without_counterpart_are_named_and_no_error(tmp_path, capsys, monkeypatch):
    write_toy(tmp_path, change=lambda row: dataclasses.replace(row, T=row.T + 0.05))
    write_toy(tmp_path / "reference")
    code, out = run(tmp_path, capsys, monkeypatch)
    assert code == 0
    assert "settings are only in yours" in out
    assert "T=0.25" in out
    assert "settings are only in the reference" in out


def test_the_last_line_says_how_much_was_compared(tmp_path, capsys, monkeypatch):
    write_toy(tmp_path)
    write_toy(tmp_path / "reference")
    write_images(tmp_path)
    frame = tables.read(tmp_path, "diffusion/toy_bound")
    compared = sum(len(frame.dropna(subset=[name]).drop(columns="seed")[SETTINGS].drop_duplicates()) for name in VALUES)
    code, out = run(tmp_path, capsys, monkeypatch)
    last = out.splitlines()[-1]
    assert code == 0
    assert last.startswith("no value disagrees")
    assert f": {compared:,} values compared in 1 of 2 tables; nothing was compared in diffusion/image_bound" in last


def test_settings_without_counterpart_are_three_lines_and_a_count(tmp_path, capsys, monkeypatch):
    write_toy(tmp_path, change=lambda row: dataclasses.replace(row, T=row.T + 0.05))
    write_toy(tmp_path / "reference")
    _, out = run(tmp_path, capsys, monkeypatch)
    assert len([line for line in out.splitlines() if "T=" in line]) == 3
    assert out.splitlines()[5].endswith(" more")
    assert "0 values compared in 0 of 1 tables; nothing was compared in diffusion/toy_bound" in out.splitlines()[-1]


def test_settings_match_within_rounding(tmp_path):
    frame = pd.DataFrame([dataclasses.asdict(row) for row in toy_rows()])
    matched = agreement.compare(TOY, frame.assign(T=frame["T"] * (1 + 1e-12)), frame)
    assert matched.only_yours.empty
    assert set(matched.tests["verdict"]) == {"same"}


def test_nothing_of_the_users_says_what_to_run(tmp_path, capsys, monkeypatch):
    write_toy(tmp_path / "reference")
    code, out = run(tmp_path, capsys, monkeypatch, "--paper", "diffusion")
    assert code == 0
    assert "run make reproduce PAPER=diffusion first" in out


def test_no_reference_is_said(tmp_path, capsys, monkeypatch):
    write_toy(tmp_path)
    code, out = run(tmp_path, capsys, monkeypatch)
    assert code == 0
    assert "the reference has no rows" in out


@pytest.mark.parametrize(("n_a", "n_b"), [(3, 4), (1, 3), (2, 5), (3, 3)])
@pytest.mark.parametrize("level", [0.05, 1e-3])
def test_false_alarms_keep_to_the_level(n_a, n_b, level):
    rng = np.random.default_rng(0)
    trials = 100_000

    def side(n):
        values = rng.standard_normal((trials, n))
        variance = values.var(1, ddof=1) if n > 1 else np.full(trials, np.nan)
        columns = {"mean": values.mean(1), "var": variance, "low": values.min(1), "high": values.max(1)}
        return pd.DataFrame({**columns, "n": n, "e2": 0.0})

    alarms = np.mean(agreement.pooled_test(side(n_a), side(n_b))["p"] < level)
    assert abs(alarms - level) < 4 * np.sqrt(level / trials)


def test_pooled_test_against_scipy():
    from scipy import stats

    a, b = np.array([1.0, 2.0, 3.0]), np.array([2.0, 3.0, 4.5, 7.0])
    row = agreement.pooled_test(moments(a), moments(b)).iloc[0]
    assert row["p"] == pytest.approx(stats.ttest_ind(a, b, equal_var=True).pvalue, rel=1e-12)
    assert row["z"] == pytest.approx(stats.ttest_ind(a, b, equal_var=True).statistic, rel=1e-12)


def test_measurement_error_widens_and_one_seed_borrows_the_spread():
    plain = agreement.pooled_test(moments([1.0, 2.0, 3.0]), moments([5.0])).iloc[0]
    assert plain["verdict"] == "tested"
    assert plain["se"] == pytest.approx(np.sqrt(1 / 3 + 1))
    measured = agreement.pooled_test(moments([1.0, 2.0, 3.0], e2=3.0), moments([5.0], e2=2.0)).iloc[0]
    assert measured["se"] == pytest.approx(np.sqrt(1 / 3 + 1 + 1 + 2))


def test_unknown_paper_is_refused(tmp_path, capsys, monkeypatch):
    with pytest.raises(UserError, match="choose one of"):
        run(tmp_path, capsys, monkeypatch, "--paper", "cooking")
