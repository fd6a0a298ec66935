"""A run that is killed at a random moment and started again gives the CSV of an unbroken one, to the last bit."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from diffusion.toy import EXPERIMENT
from infolab.sweep import run_sweep

REPOSITORY = Path(__file__).resolve().parents[2]
STEPS = 900 * 3  # epochs, batches of 10 in 24 points
FLAGS = {
    "--m": [24], "--T": [0.4, 1.0], "--seeds": [0, 1], "--epochs": [900], "--evaluate-every": [300], "--batch": [10],
    "--hidden": [16], "--sde-steps": [10], "--test-points": [40], "--mi-draws": [2], "--ode-tolerance": [1e-3],
    "--threads": [1], "--checkpoint-seconds": [0.05],
}  # fmt: skip


def words(folder):
    flags = [text for name, values in FLAGS.items() for text in (name, *map(str, values))]
    return ["smoke", *flags, "--runs-dir", str(folder / "runs"), "--results-dir", str(folder / "results")]


def run_here(folder):
    threads = torch.get_num_threads()
    run_sweep(EXPERIMENT, words(folder))
    torch.set_num_threads(threads)
    (path,) = (folder / "results/diffusion/toy_bound").glob("*.csv")
    return path.read_bytes()


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    return run_here(tmp_path_factory.mktemp("unbroken"))


def newest_step(folder):
    names = [path.stem for path in folder.glob("runs/*/*/*/checkpoint-*.safetensors")]
    return max((int(name.split("-")[1]) for name in names), default=-1)


def killed(folder, chance):
    """Begin a run and kill it anywhere between two checkpoints, or in the middle of writing one."""
    first = chance.uniform(0, 0.8) * STEPS
    command = [sys.executable, "-m", "diffusion.toy", *words(folder)]
    process = subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and newest_step(folder) < first:
        time.sleep(0.002)
    time.sleep(chance.uniform(0, 0.1))
    process.kill()
    _, errors = process.communicate()
    assert process.returncode in (0, -signal.SIGKILL), errors


@pytest.mark.parametrize("seed", [pytest.param(0, marks=pytest.mark.bits), 1, 2])
def test_killed_at_a_random_moment_and_started_again(tmp_path, unbroken, seed, capsys):
    chance = random.Random(seed)
    folder = next(tmp_path / str(attempt) for attempt in range(10) if _interrupted(tmp_path / str(attempt), chance))
    assert 0 < newest_step(folder) < STEPS

    assert run_here(folder) == unbroken
    assert "resumed at step" in capsys.readouterr().err
    assert not list(folder.rglob("*.tmp"))


def _interrupted(folder, chance):
    """Whether the kill came before the results: on a busy machine this process may sleep beyond the run's end."""
    killed(folder, chance)
    return not list(folder.glob("results/**/*.csv"))
