"""A run that is killed at a random moment and started again gives the CSV of an unbroken one, to the last bit."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
FLAGS = (
    "smoke --m 24 --T 0.4 1.0 --seeds 0 1 --epochs 900 --evaluate-every 300 --batch 10 --hidden 16 --sde-steps 10 "
    "--test-points 40 --mi-draws 2 --ode-tolerance 1e-3 --threads 1 --checkpoint-seconds 0.05"
).split()


def start(folder):
    command = [sys.executable, "-m", "diffusion.toy", *FLAGS, "--runs-dir", folder / "runs"]
    return subprocess.Popen(
        [*command, "--results-dir", folder / "results"], cwd=REPOSITORY, stderr=subprocess.PIPE, text=True
    )


def finish(process):
    _, errors = process.communicate(timeout=120)
    return process.returncode, errors


def table(folder):
    (path,) = (folder / "results/diffusion/toy_bound").glob("*.csv")
    return path.read_bytes()


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken")
    process = start(folder)
    wait_for_checkpoint(process, folder)
    began = time.monotonic()
    code, errors = finish(process)
    assert code == 0, errors
    return table(folder), time.monotonic() - began


def wait_for_checkpoint(process, folder):
    while process.poll() is None and not list(folder.glob("runs/*/*/*/checkpoint-*.safetensors")):
        time.sleep(0.005)


@pytest.mark.parametrize(("seed", "number"), [(0, signal.SIGKILL), (1, signal.SIGKILL), (2, signal.SIGKILL)])
def test_killed_at_a_random_moment_and_started_again(tmp_path, unbroken, seed, number):
    content, seconds = unbroken
    process = start(tmp_path)
    wait_for_checkpoint(process, tmp_path)
    time.sleep(random.Random(seed).uniform(0, 0.8) * seconds)
    os.kill(process.pid, number)
    code, errors = finish(process)
    assert code == -number, errors  # it was killed before it could end
    assert not list(tmp_path.glob("results/diffusion/toy_bound/*.csv"))

    code, errors = finish(start(tmp_path))
    assert code == 0, errors
    assert "resumed at step" in errors or "damaged" in errors
    assert table(tmp_path) == content
    assert not list(tmp_path.rglob("*.tmp"))
