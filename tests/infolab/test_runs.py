"""A run: folder, lock, provenance, --force, devices."""

import errno
import fcntl
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from infolab import atomic
from infolab.config import RunConfig, run_id
from infolab.device import pick_device, set_up
from infolab.errors import RunTakenError, UserError
from infolab.runs import Run
from infolab.storage import save_checkpoint

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Small(RunConfig):
    """A config of this test."""

    m: int = 1
    seed: int = 4


def make_run(tmp_path, **changes):
    return Run(
        "paper", "study", "smoke", Small(runs_dir=tmp_path / "runs", results_dir=tmp_path / "results", **changes)
    )


def test_the_folder_is_named_by_the_id_and_holds_the_config(tmp_path):
    run = make_run(tmp_path, m=3)
    with run.open():
        assert run.folder == tmp_path / "runs/paper/study" / run_id(run.config)
        assert json.loads((run.folder / "config.json").read_text()) == {"m": 3, "seed": 4}
        run.say("hello")
        assert (run.folder / "log.txt").read_text().endswith(" hello\n")


def test_provenance_says_what_made_a_number(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/x/toy.py", "smoke", "--data-dir", "my data"])
    run = make_run(tmp_path)
    run.seconds_before = 100.0
    record = run.provenance()
    assert record["config"] == {"m": 1, "seed": 4}
    assert record["command"].endswith("smoke --data-dir 'my data'")
    assert (record["paper"], record["experiment"], record["preset"], record["run_id"]) == (
        "paper", "study", "smoke", run.id,
    )  # fmt: skip
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=REPOSITORY, capture_output=True, text=True)
    assert record["git_commit"] == (commit.stdout.strip() if commit.returncode == 0 else None)
    assert record["git_clean"] in (True, False, None)
    assert {"python", "torch", "numpy", "pandas"} <= record["versions"].keys()
    assert record["device"] == str(pick_device("auto"))
    assert record["threads"] == torch.get_num_threads()
    assert 100 <= record["seconds"] < 110
    assert json.loads(json.dumps(record)) == record


def test_without_git_the_commit_is_unknown_and_nothing_breaks(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    record = make_run(tmp_path).provenance()
    assert (record["git_commit"], record["git_clean"]) == (None, None)


def test_the_commit_of_another_repository_around_this_one_is_not_taken(tmp_path, monkeypatch):
    inside = tmp_path / "unpacked" / "infolab"
    inside.mkdir(parents=True)
    for words in (
        ["init", "-q"],
        ["-c", "user.name=x", "-c", "user.email=x", "commit", "-q", "--allow-empty", "-m", "x"],
    ):
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True)
    monkeypatch.setattr("infolab.runs.__file__", str(inside / "runs.py"))
    record = make_run(tmp_path).provenance()
    assert (record["git_commit"], record["git_clean"]) == (None, None)
    monkeypatch.setattr("infolab.runs.__file__", str(tmp_path / "infolab" / "runs.py"))
    assert make_run(tmp_path).provenance()["git_commit"] is not None


def test_a_second_process_on_the_same_run_is_told_to_wait(tmp_path):
    hold = (
        "import fcntl, sys; lock = open(sys.argv[1], 'a'); fcntl.flock(lock, fcntl.LOCK_EX);"
        "print('held', flush=True); sys.stdin.read()"
    )
    run = make_run(tmp_path)
    run.folder.mkdir(parents=True)
    other = subprocess.Popen(
        [sys.executable, "-c", hold, str(run.folder / "lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout.readline() == "held\n"
    with pytest.raises(RunTakenError, match=f"another process works on run {run.id}") as error, run.open():
        pytest.fail("two processes on one run")
    assert error.value.exit_code == 2  # not 75: a queue that tries again would do so for ever
    assert not (run.folder / "config.json").exists()
    other.kill()  # the lock goes with the process, however it ends
    other.communicate()
    with run.open():
        assert (run.folder / "config.json").exists()


def test_a_run_needs_no_file_system_with_locks(tmp_path, monkeypatch):
    def unsupported(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with make_run(tmp_path).open() as run:
        assert (run.folder / "config.json").exists()


def test_two_different_runs_do_not_lock_each_other(tmp_path):
    with make_run(tmp_path, m=1).open(), make_run(tmp_path, m=2).open() as second:
        assert second.config.m == 2


@pytest.mark.parametrize("complete", [True, False])
def test_force_starts_a_complete_run_anew_and_goes_on_with_an_interrupted_one(tmp_path, complete):
    run = make_run(tmp_path)
    save_checkpoint(run.folder, 5, {"w": torch.zeros(1)}, {"complete": complete})
    with run.open():
        assert len(list(run.folder.glob("checkpoint-*"))) == 1  # without --force nothing is dropped
    with make_run(tmp_path, force=True).open():
        assert len(list(run.folder.glob("checkpoint-*"))) == (0 if complete else 1)


def test_what_a_killed_process_left_half_written_is_cleared(tmp_path):
    run = make_run(tmp_path)
    run.folder.mkdir(parents=True)
    (run.folder / ".checkpoint-000000001.safetensors.99999.tmp").write_bytes(b"half")
    with run.open():
        assert sorted(path.name for path in run.folder.iterdir()) == ["config.json", "lock", "log.txt"]


@pytest.mark.parametrize("which", ["runs_dir", "results_dir"])
def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path, which):
    (tmp_path / "file").write_text("")
    settings = {"runs_dir": tmp_path / "runs", "results_dir": tmp_path / "results", which: tmp_path / "file" / "below"}
    run = Run("paper", "study", "smoke", Small(**settings))
    with pytest.raises(UserError, match=r"cannot write to .*file/below.*choose another folder") as error, run.open():
        pytest.fail("opened")
    assert "\n" not in str(error.value)
    assert not list(tmp_path.rglob("*.json"))


def test_devices_and_threads():
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    for name in ("gpu", "cuda:99", ""):
        with pytest.raises(UserError, match="choose cpu, cuda, mps or auto"):
            pick_device(name)
    before = torch.get_num_threads()
    set_up(Small(threads=1))
    assert torch.get_num_threads() == 1
    set_up(Small())
    assert torch.get_num_threads() == 1
    torch.set_num_threads(before)
    with pytest.raises(UserError, match="--threads must be 0"):
        set_up(Small(threads=-2))


def test_a_full_disk_at_the_start_leaves_the_old_config_whole(tmp_path, monkeypatch):
    run = make_run(tmp_path)
    with run.open():
        before = (run.folder / "config.json").read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(atomic.os, "fsync", full)
    with pytest.raises(OSError, match="No space"), run.open():
        pytest.fail("opened")
    assert (run.folder / "config.json").read_bytes() == before
