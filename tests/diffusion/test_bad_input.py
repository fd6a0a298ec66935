"""Bad input and bad luck, as the user meets them: one sentence, the right exit code, nothing half-written."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from diffusion import digits, toy

REPOSITORY = Path(__file__).resolve().parents[2]
TINY = ["smoke", "--m", "6", "--T", "1.0", "--epochs", "60", "--evaluate-every", "30", "--hidden", "8"]
TINY += ["--sde-steps", "5", "--test-points", "20", "--ode-tolerance", "1e-3"]


@pytest.fixture
def call(tmp_path, monkeypatch, capsys, no_tensorboard):
    """Run `main` with these words in an empty folder; returns exit code and standard error."""
    monkeypatch.chdir(tmp_path)

    def run(*words, main=toy.main):
        monkeypatch.setattr(sys, "argv", ["toy.py", *map(str, words)])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code
        return code, capsys.readouterr().err

    return run


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def one_sentence(message):
    """The error, which is all that is said but for the device of a run that had begun."""
    (told,) = (line for line in message.splitlines(keepends=True) if ": device: " not in line)
    assert told.startswith("error: ")
    return told


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--dataset", "swissroll"], "unknown data set 'swissroll': choose one of"),
        (["fast"], "unknown preset 'fast': choose one of"),
        (["--epoch", "3"], "unknown option '--epoch': did you mean --epochs?"),
        (["--m", "many"], "--m"),
        (["--m", "1"], "--m must be at least 2, not 1"),
        (["--epochs", "0"], "--epochs must be at least 1"),
        (["--lr", "-1"], "--lr must be positive and finite, not -1.0"),
        (["--lr", "nan"], "--lr must be positive and finite"),
        (["--R", "inf"], "--R must be positive and finite"),
        (["--T", "nan"], "every T must exceed --t-eps"),
        (["--T", "0.5", "inf"], "every T must exceed --t-eps"),
        (["--T", "0.5", "0.5"], "must not name a value twice"),
        (["--T"], "need at least one value each"),
        (["--t-eps", "0"], "--t-eps must be positive"),
        (["--t-eps", "0.9"], "every T must exceed --t-eps"),
        (["--beta-max", "0.01"], "expected 0 < beta_min <= beta_max"),
        (["paper", "--epochs", "1500"], "--evaluate-every must divide --epochs (1500)"),
        (["--device", "abacus"], "device 'abacus' is not available here"),
        (["--task", "3/2"], "--task must be i/n with 0 <= i < n"),
        (["--threads", "-4"], "--threads must be 0"),
    ],
)
def test_a_bad_setting_is_one_sentence_exit_code_2_and_nothing_written(call, tmp_path, words, expected):
    code, message = call(*words)
    assert code == 2
    assert expected in one_sentence(message)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("which", ["--runs-dir", "--results-dir"])
def test_a_folder_that_cannot_be_written(call, tmp_path, which):
    (tmp_path / "file").touch()
    code, message = call(*TINY, which, tmp_path / "file" / "below")
    assert code == 2
    assert f"cannot write to '{tmp_path / 'file' / 'below'}" in one_sentence(message)
    assert files(tmp_path) == ["file"]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a read-only file system")
def test_a_read_only_file_system(call, tmp_path):
    code, message = call(*TINY, "--results-dir", "/proc/results")
    assert code == 2
    assert "cannot write to '/proc/results" in one_sentence(message)
    assert files(tmp_path) == []


def test_a_learning_rate_that_blows_up_names_the_step(call, tmp_path):
    code, message = call(*TINY, "--lr", "1e30")
    assert code == 3
    assert "the loss of step 2 is not finite: lower --lr" in one_sentence(message)
    assert not (tmp_path / "results/diffusion/toy_bound").exists()
    assert all(name.startswith("runs/") and not name.endswith(".tmp") for name in files(tmp_path))


def test_a_last_step_that_blows_up_is_found_by_the_evaluation(call, tmp_path):
    # The only loss is finite: it was computed before the update.
    code, message = call(*TINY, "--epochs", "1", "--evaluate-every", "0", "--lr", "1e30")
    assert code == 3
    one_sentence(message)
    assert not list(tmp_path.rglob("*.csv"))


@pytest.mark.bits
def test_a_corrupt_checkpoint_is_named_and_the_run_goes_on(call, tmp_path):
    assert call(*TINY)[0] == 0
    (table,) = tmp_path.glob("results/diffusion/toy_bound/*.csv")
    content = table.read_bytes()
    table.unlink()
    newest = max(tmp_path.glob("runs/*/*/*/checkpoint-*"))
    newest.write_bytes(newest.read_bytes()[:1000])
    code, message = call(*TINY)
    assert code == 0
    # A finished run has no other.
    assert f"checkpoint {newest.name} is damaged and was set aside; going on from step 0" in message
    assert table.read_bytes() == content
    assert (newest.parent / f"{newest.name}.corrupt").exists()


def test_a_full_disk_leaves_no_result_and_the_same_command_goes_on(call, tmp_path, monkeypatch):
    fsync, calls = os.fsync, []

    def full_after_a_while(descriptor):
        calls.append(descriptor)
        if len(calls) > 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full_after_a_while)
        code, message = call(*TINY)
    assert code == 2
    assert "No space left on device" in one_sentence(message)
    assert not list(tmp_path.rglob("*.csv"))
    assert not list(tmp_path.rglob("*.tmp"))
    code, message = call(*TINY)
    assert code == 0
    assert len(list(tmp_path.glob("results/diffusion/toy_bound/*.csv"))) == 1


def test_missing_data_says_what_to_do(call, tmp_path):
    code, message = call("smoke", "--dataset", "mnist", "--network", "mnist", "--data-dir", "nowhere", main=digits.main)
    assert code == 2
    assert "nowhere" in one_sentence(message)
    assert not list(tmp_path.rglob("*.csv"))


def test_the_command_itself_returns_the_code_and_the_sentence(tmp_path):
    command = [sys.executable, "-m", "diffusion.toy", "smoke", "--dataset", "rolls"]
    flags = ["--runs-dir", tmp_path / "runs", "--results-dir", tmp_path / "results"]
    done = subprocess.run([*command, *flags], cwd=REPOSITORY, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert "unknown data set 'rolls'" in one_sentence(done.stderr)
    assert list(tmp_path.iterdir()) == []
