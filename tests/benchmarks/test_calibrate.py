"""The calibration command: all estimators meet their truths, and a wrong truth is caught."""

import json
import sys

import pytest

from benchmarks import calibrate
from infolab import known
from infolab.calibrate import Case, Outcome, passes
from infolab.errors import LabError, UserError
from infolab.results import read


def test_quick_passes_and_writes_its_table(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["calibrate", "--quick", "--results-dir", str(tmp_path)])
    calibrate.main()
    frame = read(tmp_path, "calibration/estimators")
    assert len(frame) == len(calibrate.CASES)
    assert not frame.duplicated(["estimator", "case", "d", "snr", "seed"]).any()
    meta = json.loads((tmp_path / "calibration" / "estimators" / "calibration.json").read_text())
    assert meta["config"]["quick"] is True
    assert meta["experiment"] == "estimators"
    assert "FAIL" not in capsys.readouterr().out


def shifted(case, by):
    """The same case with a truth that is wrong by `by`."""

    def measure(size, seed):
        found = case.measure(size, seed)
        return Outcome(
            found.truth + by * (4.5 * found.se + found.bias_bound) * 2, found.estimate, found.se, found.n,
            found.evaluations, found.bias_bound,
        )  # fmt: skip

    return Case(case.estimator, case.case, case.d, measure, case.snr)


@pytest.mark.parametrize("sign", [-1, 1])
def test_a_planted_wrong_truth_fails_with_exit_code_1(sign, capsys):
    good, wrong = known.INFORMATION[0], shifted(known.LIKELIHOOD[0], sign)
    rows = calibrate.calibrate([good, wrong], [0], 1)
    assert [passes(row) for row in rows] == [True, False]
    assert capsys.readouterr().out.count("FAIL") == 1
    with pytest.raises(LabError, match=r"1 of 2 .*NLL by the ODE") as caught:
        calibrate.verdict(rows)
    assert caught.value.exit_code == 1


def test_a_failing_command_still_writes_its_table(tmp_path, monkeypatch):
    monkeypatch.setattr(calibrate, "CASES", [shifted(known.LIKELIHOOD[0], 1)])
    monkeypatch.setattr(sys, "argv", ["calibrate", "--quick", "--results-dir", str(tmp_path)])
    with pytest.raises(LabError):
        calibrate.main()
    assert len(read(tmp_path, "calibration/estimators")) == 1


def test_a_standard_error_does_not_excuse_a_bias_twice():
    found = Outcome(truth=1.0, estimate=1.5, se=0.1, n=2, bias_bound=0.05)
    assert not passes(Case("e", "c", 1, lambda size, seed: found).row(1, 0))


def test_an_unknown_option_is_one_sentence(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["calibrate", "--fast"])
    with pytest.raises(UserError, match="--fast"):
        calibrate.main()


def test_larger_runs_have_smaller_errors():
    case = known.INFORMATION[1]
    assert case.row(4, 0).se < 0.7 * case.row(1, 0).se
