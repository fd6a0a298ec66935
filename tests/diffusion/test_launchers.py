"""The launchers of the paper: each runs its own sweep from any folder, shared between jobs; clean shell."""

import subprocess
import sys
from pathlib import Path

import pytest
from image_studies import STUDIES
from launching import REPOSITORY, SCRIPTS, call, ids, ids_in, recorded, recording_python, shell

from diffusion import choose_T, penalty_digits, penalty_toy, toy
from infolab.results import read

PENALTIES = {"penalty_toy": penalty_toy, "penalty_digits": penalty_digits}
SCRIPTS_OF = {"toy": toy, "choose_T": choose_T, **PENALTIES, **STUDIES}
LAUNCHERS = sorted(path.stem.removeprefix("run_") for path in (REPOSITORY / "diffusion").glob("run_*.sh"))


def test_shell_scripts_are_clean():
    checker = Path(sys.executable).with_name("shellcheck")
    strict = [*(REPOSITORY / "diffusion").glob("*.sh"), *SCRIPTS.glob("slurm*.sh")]
    for severity, files in (("style", strict), ("warning", SCRIPTS.glob("*.sh"))):
        command = [str(checker), "-s", "sh", "-x", f"--severity={severity}", *map(str, files)]
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("name", LAUNCHERS)
def test_a_launcher_runs_its_sweep_from_any_folder(name, tmp_path, monkeypatch, capsys):
    python = recording_python(tmp_path / "python", 0)
    done = shell(f"diffusion/run_{name}.sh", "smoke", "--dry-run", cwd=tmp_path, PY=python)
    assert done.returncode == 0, done.stderr
    (words,) = recorded(python)
    assert words == ["-m", f"diffusion.{name}", "smoke", "--dry-run"]
    code, text, _ = call(SCRIPTS_OF[name].main, monkeypatch, capsys, *words[2:])
    assert code == 0
    assert ids_in(text) == ids(SCRIPTS_OF[name].SWEEPS["smoke"])
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []


@pytest.mark.parametrize("name", LAUNCHERS)
def test_a_launcher_shares_its_sweep_between_jobs(name, tmp_path):
    python = recording_python(tmp_path / "python", 0)
    done = shell(f"diffusion/run_{name}.sh", "paper", "--R", "5", cwd=tmp_path, PY=python, JOBS=3)
    assert done.returncode == 0, done.stderr
    tasks = [["-m", f"diffusion.{name}", "paper", "--R", "5", "--threads", "1", "--task", f"{i}/3"] for i in range(3)]
    assert sorted(recorded(python)) == tasks


@pytest.mark.parametrize(
    ("launcher", "words", "told"),
    [
        ("diffusion/run_digits.sh", ["quik"], "unknown preset 'quik'"),
        ("infodiffusion/run_sprites.sh", ["smoke", "--lr", "x"], "--lr"),
        ("infodiffusion/run_train.sh", ["smoke", "--mode", "sing"], "unknown mode 'sing'"),
    ],
)
def test_what_all_processes_of_a_launcher_refuse_is_said_once(launcher, words, told, tmp_path):
    done = shell(launcher, *words, cwd=tmp_path, JOBS=3)
    assert done.returncode == 2
    assert told in done.stderr
    assert done.stderr.count("\n") == 1


def test_run_digits_for_real_from_another_folder(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    flags = ["--runs-dir", tmp_path / "runs", "--results-dir", tmp_path / "results"]
    done = shell("diffusion/run_digits.sh", "smoke", *flags, cwd=tmp_path / "elsewhere", JOBS=2)
    assert done.returncode == 0, done.stderr
    rows = read(tmp_path / "results", "diffusion/image_bound")
    assert set(rows.split) == {"few_shot", "full"}
    assert len(rows) == 8
    assert list((tmp_path / "elsewhere").iterdir()) == []
