"""`python -m itdiffusion.mi` on arrays, and the table's runs."""

import json
import math

import numpy as np
import pytest

from infolab import results as tables
from infolab.mi import command
from itdiffusion import mi_table
from itdiffusion.mi_table import COVERED, DIGITS, LAWS, SWEEPS, MiConfig


@pytest.fixture
def arrays(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((500, 2))
    np.save(tmp_path / "x.npy", x.reshape(500, 1, 2))
    np.save(tmp_path / "y.npy", 0.8 * x[:, 0] + 0.6 * rng.standard_normal(500))
    return ["--x", str(tmp_path / "x.npy"), "--y", str(tmp_path / "y.npy")]


def run(words, monkeypatch, capsys, main=command.main):
    monkeypatch.setattr("sys.argv", ["mi", *words])
    main()
    return capsys.readouterr()


def test_one_json_object_on_standard_output(arrays, monkeypatch, capsys):
    out = json.loads(run([*arrays, "--steps", "30", "--json"], monkeypatch, capsys).out)
    assert {"mi_nats", "method", "warnings", "evaluations", "seconds", "steps", "n"} <= out.keys()
    assert (out["n"], out["steps"]) == (500, 30)
    assert out["method"] == "difference, y noised"
    assert abs(out["mi_nats"]["value"] + 0.5 * math.log(0.36)) < 4 * out["mi_nats"]["se"] + 0.02
    assert out["mi_nats"]["se"] == pytest.approx(math.hypot(out["mi_nats"]["se_data"], out["mi_nats"]["se_training"]))


def test_lines_for_people(arrays, monkeypatch, capsys):
    text = run([*arrays, "--steps", "5"], monkeypatch, capsys).out
    assert text.startswith("mutual information ")
    assert "steps               5" in text


def test_settings_from_minutes_and_steps():
    assert (command.MiOptions().settings().steps, command.MiOptions(minutes=0.5).settings().steps) == (2000, 0)
    assert command.MiOptions(steps=7).settings().steps == 7


@pytest.mark.parametrize(
    "change",
    [
        ["--minutes", "-1"],
        ["--steps", "50", "--minutes", "1"],
        ["--steps", "x"],
        ["--form", "product"],
        ["--y", "no.npy"],
        ["--threads", "-1"],
        ["--blocks", "-1"],
        ["--blocks", "3"],
    ],
)
def test_bad_options_exit_with_2(arrays, change, monkeypatch, capsys):
    with pytest.raises(SystemExit) as stop:
        run([*arrays, *change], monkeypatch, capsys)
    assert stop.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize("scale", [1e200, 1e-200, 1.7e308])
def test_sizes_that_leave_double_precision_are_refused(arrays, scale, tmp_path, monkeypatch, capsys):
    x = np.random.default_rng(0).uniform(-1, 1, (500, 2))
    np.save(tmp_path / "x.npy", x * scale)
    with pytest.raises(SystemExit) as stop:
        run([*arrays, "--steps", "5"], monkeypatch, capsys)
    assert stop.value.code == 2
    assert "rescale them" in capsys.readouterr().err


@pytest.mark.parametrize("scale", [9e99, 1e-98])
def test_sizes_within_the_limits_change_nothing(arrays, scale, tmp_path, monkeypatch, capsys):
    plain = json.loads(run([*arrays, "--steps", "5", "--json"], monkeypatch, capsys).out)["mi_nats"]["value"]
    x = np.load(tmp_path / "x.npy")
    np.save(tmp_path / "x.npy", x * scale / np.abs(x).max())
    scaled = json.loads(run([*arrays, "--steps", "5", "--json"], monkeypatch, capsys).out)["mi_nats"]["value"]
    assert scaled == pytest.approx(plain, abs=1e-3)


def test_a_side_that_is_the_other_is_told_apart_from_bad_training(arrays, monkeypatch, capsys):
    with pytest.raises(SystemExit) as stop:
        run(["--x", arrays[3], "--y", arrays[3], "--steps", "30"], monkeypatch, capsys)
    assert stop.value.code == 3
    said = capsys.readouterr().err
    assert "one side determines the other it is infinite" in said
    assert "--lr" not in said


def test_what_to_know_of_a_value_is_said_on_standard_error(tmp_path, monkeypatch, capsys):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 100)).cumsum(1)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", y)
    ran = run(["--x", str(tmp_path / "x.npy"), "--y", str(tmp_path / "y.npy"), "--json"], monkeypatch, capsys)
    record = json.loads(ran.out)
    assert ran.err.splitlines() == [f"warning: {sentence}" for sentence in record["warnings"]]
    assert "are alike" in ran.err
    assert "only the Gaussian part" in ran.err
    assert (record["method"].split(",")[0], record["steps"]) == ("Gaussian part alone (few pairs)", 0)


def test_rows_in_blocks(arrays, monkeypatch, capsys):
    found = [
        json.loads(run([*arrays, "--steps", "30", "--json", *more], monkeypatch, capsys).out)["mi_nats"]
        for more in ([], ["--blocks", "20"])
    ]
    assert found[1]["se"] > found[0]["se"]
    assert abs(found[1]["value"] + 0.5 * math.log(0.36)) < 3 * found[1]["se"]


def test_labels_keep_all_their_digits(tmp_path, monkeypatch, capsys):
    x = np.random.default_rng(0).integers(0, 2, 600)
    np.save(tmp_path / "x.npy", x + 2**53)
    np.save(tmp_path / "y.npy", x + 0.1 * np.random.default_rng(1).standard_normal(600))
    words = ["--x", str(tmp_path / "x.npy"), "--y", str(tmp_path / "y.npy"), "--steps", "100", "--json"]
    found = json.loads(run(words, monkeypatch, capsys).out)["mi_nats"]
    assert found["value"] == pytest.approx(math.log(2), abs=0.02)


def test_both_arrays_are_needed(arrays, monkeypatch, capsys):
    with pytest.raises(SystemExit) as stop:
        run(arrays[:2], monkeypatch, capsys)
    assert stop.value.code == 2
    assert "--y is missing" in capsys.readouterr().err


def test_a_run_writes_its_row_and_is_not_run_again(tmp_path, monkeypatch, capsys):
    words = ["smoke", "--case", "student-2+2", "--results-dir", str(tmp_path / "results"), "--runs-dir", str(tmp_path)]
    run(words, monkeypatch, capsys, mi_table.main)
    frame = tables.read(tmp_path / "results", "itdiffusion/mi")
    assert len(frame) == 1
    row = frame.iloc[0]
    assert (row["case"], row["n"], row["d_x"], row["d_y"], row["steps"]) == ("student-2+2", 500, 2, 2, 10)
    assert row["truth_nats"] == pytest.approx(LAWS["student-2+2"].truth_nats)
    assert "finished already" in run(words, monkeypatch, capsys, mi_table.main).err


def test_digits_as_pairs():
    kind, images, labels, truth = mi_table.pairs(MiConfig(case="digits-image-label"))
    assert (kind, images.shape, labels.shape, truth) == ("digits", (1797, 8, 8), (1797,), None)
    _, left, right, _ = mi_table.pairs(MiConfig(case="digits-left-right"))
    assert (np.concatenate([left, right], axis=2) == images).all()


def test_sweeps_are_valid_and_hold_every_law():
    for configs in SWEEPS.values():
        for config in configs:
            config.check()
            assert mi_table.cost(config).flops > 0
    assert {config.case for config in SWEEPS["paper"]} == {*LAWS, *DIGITS}
    covering = [config for config in SWEEPS["paper"] if config.n == 2000]
    assert len(covering) == 20 * len(COVERED)
    assert all(config.minutes == 0.5 and config.steps == 0 for config in covering)


@pytest.mark.parametrize("words", [["--case", "nowhere"], ["--n", "10"], ["--form", "x"], ["--lr", "0"]])
def test_bad_settings_of_the_table_exit_with_2(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        run(["smoke", *words], monkeypatch, capsys, mi_table.main)
    assert stop.value.code == 2
    assert list(tmp_path.iterdir()) == []


def test_labels_may_be_names(tmp_path, monkeypatch, capsys):
    rng = np.random.default_rng(1)
    label = rng.integers(0, 3, 600)
    np.save(tmp_path / "x.npy", rng.standard_normal((600, 1)) + 2 * label[:, None])
    np.save(tmp_path / "numbers.npy", label)
    np.save(tmp_path / "names.npy", np.array(["a", "ab", "b"])[label])
    words = ["--x", f"{tmp_path}/x.npy", "--steps", "20", "--json", "--y"]
    found = [
        json.loads(run([*words, f"{tmp_path}/{name}.npy"], monkeypatch, capsys).out) for name in ("numbers", "names")
    ]
    assert found[0]["mi_nats"] == found[1]["mi_nats"]
