"""The image study's launchers, from any folder: the same command as the module's, one task per run on SLURM."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


def launch(script, *words, cwd, path=None):
    environment = {**os.environ, "PY": sys.executable, "JOBS": "1"}
    if path is not None:
        environment["PATH"] = f"{path}:{environment['PATH']}"
    command = ["sh", str(REPOSITORY / "itdiffusion" / script), *words]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("script", ["run_digits.sh", "run_patches.sh", "run_cifar10.sh"])
def test_launchers_print_the_resolved_config(tmp_path, script):
    done = launch(script, "smoke", "--dry-run", "--results-dir", str(tmp_path), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "1 runs" in done.stdout
    assert not list(tmp_path.iterdir())


def test_a_bad_flag_is_one_sentence_and_code_2(tmp_path):
    done = launch("run_patches.sh", "--epoch", "3", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "--epochs" in done.stderr


def test_submit_asks_for_one_task_per_run(tmp_path):
    sbatch = tmp_path / "sbatch"
    sbatch.write_text('#!/bin/sh\nfor word; do echo "$word"; done\n')
    sbatch.chmod(0o755)
    done = launch("submit_cifar10.sh", "quick", "--batch", "64", cwd=tmp_path, path=tmp_path)
    assert done.returncode == 0, done.stderr
    words = done.stdout.splitlines()
    assert "--array=0-0" in words
    assert "--gres=gpu:1" in words
    assert words[-5:] == ["1", "itdiffusion.cifar10", "quick", "--batch", "64"]
