"""What all shell scripts have in common: clean shell, one head, and the sweep of their module from any folder."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest
from launching import REPOSITORY, call, environment, recorded, recording_python, shell

HEAD = '. "$(dirname "$(readlink -f "$0")")/../scripts/launch.sh"\n'
SCRIPTS = sorted(str(path.relative_to(REPOSITORY)) for path in REPOSITORY.glob("*/*.sh"))
SUBMITS = [script for script in SCRIPTS if "/submit_" in script]
RUNS = [script for script in SCRIPTS if "/run_" in script]
SOURCED = ["infodiffusion/modes.sh", "scripts/launch.sh", "scripts/shards.sh", "scripts/slurm.sh"]
# Whose work is one process, or of several commands (see the tests of the paper).
NOT_SHARED = ["itdiffusion/run_cifar10.sh", "itdiffusion/run_patches.sh", "vae/run_memorization_diffusion.sh"]
IN_STEPS = ["infodiffusion/run_digits.sh", "infodiffusion/run_sprites.sh", "vae/run_memorization.sh"]


def test_shell_scripts_are_clean():
    checker = Path(sys.executable).with_name("shellcheck")
    if not checker.exists():
        pytest.skip("shellcheck is not installed")
    scripts = [str(path.relative_to(REPOSITORY)) for path in REPOSITORY.glob("tests/slurm/*.sh")] + SCRIPTS
    command = [str(checker), "--shell=sh", "--severity=style", *scripts]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_every_script_begins_with_the_same_line():
    """The other way to the repository's folder, a head of one's own, is nowhere: only launch.sh goes there."""
    started = [script for script in SCRIPTS if script not in [*SOURCED, "scripts/slurm_task.sh"]]
    text = {script: (REPOSITORY / script).read_text() for script in SCRIPTS}
    assert [script for script in started if text[script].count(HEAD) != 1] == []
    assert [script for script in SCRIPTS if 'cd "$(dirname' in text[script]] == ["scripts/launch.sh"]


@pytest.mark.parametrize("script", [*RUNS[::4], *SUBMITS[::4]])
def test_a_launcher_finds_the_repository(script, tmp_path):
    """Through a link, by a relative path, and with CDPATH set to where there is a folder of the same name."""
    python = recording_python(tmp_path / "python", 3)
    (tmp_path / "trap" / script.split("/")[0]).mkdir(parents=True)
    link = tmp_path / "launch.sh"
    link.symlink_to(REPOSITORY / script)
    for words, place in (([script], REPOSITORY), ([str(link)], tmp_path)):
        done = subprocess.run(
            ["sh", *words, "smoke", "--count"], cwd=place, capture_output=True, text=True,
            env=environment(PY=python, CDPATH=str(tmp_path / "trap")),
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert done.stdout == "3\n"


@pytest.mark.parametrize("script", RUNS)
def test_a_launcher_describes_its_sweep_from_any_folder(script, tmp_path, monkeypatch, capsys):
    python = recording_python(tmp_path / "python", 0)
    done = shell(script, "smoke", "--dry-run", cwd=tmp_path, PY=python, JOBS=1)
    assert done.returncode == 0, done.stderr
    ((_, module, *words),) = recorded(python)
    assert module.split(".")[0] == script.split("/")[0]
    assert words[:2] == ["smoke", "--dry-run"]
    where = ("--results-dir", tmp_path / "results", "--runs-dir", tmp_path / "runs")
    code, text, error = call(importlib.import_module(module).main, monkeypatch, capsys, *words, *where)
    assert code == 0, error
    assert "to do" in text
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == []


@pytest.mark.parametrize("script", [script for script in RUNS if script not in NOT_SHARED + IN_STEPS])
def test_a_launcher_shares_its_sweep_between_jobs(script, tmp_path):
    python = recording_python(tmp_path / "python", 0)
    done = shell(script, "paper", "--R", "5", cwd=tmp_path, PY=python, JOBS=3)
    assert done.returncode == 0, done.stderr
    tasks = sorted(recorded(python))
    (head,) = {tuple(task[:-2]) for task in tasks}
    assert head[2:5] == ("paper", "--R", "5")
    assert head[-2:] == ("--threads", "1")
    assert [task[-2:] for task in tasks] == [["--task", f"{i}/3"] for i in range(3)]
