"""Processes that share a run: their ranks, signals to all of them, the code of the first that fails."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
MODULE = """
import os, pathlib, signal, sys, time
here = pathlib.Path(__file__).parent
rank, fails = int(os.environ["RANK"]), sys.argv[1]
signal.signal(signal.SIGUSR1, lambda *_: sys.exit(75))
names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR")
(here / f"rank{rank}.tmp").write_text(" ".join(os.environ[name] for name in names))
(here / f"rank{rank}.tmp").rename(here / f"rank{rank}")
if fails == "1" and rank == 1:
    sys.exit(3)
deadline = time.monotonic() + (0 if fails == "0" else 60)
while time.monotonic() < deadline:
    time.sleep(0.02)
"""


def start(folder, fails):
    (folder / "shared_work.py").write_text(MODULE)
    environment = {**os.environ, "PYTHONPATH": f"{folder}:{REPOSITORY}"}
    return subprocess.Popen(
        [sys.executable, "-m", "infolab.distributed", "2", "shared_work", fails],
        cwd=REPOSITORY, env=environment, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_each_process_has_its_rank(tmp_path):
    process = start(tmp_path, "0")
    assert process.wait(60) == 0
    assert [(tmp_path / f"rank{rank}").read_text() for rank in (0, 1)] == ["0 0 2 127.0.0.1", "1 1 2 127.0.0.1"]


def test_the_first_failure_ends_the_others_and_gives_the_code(tmp_path):
    began = time.monotonic()
    process = start(tmp_path, "1")
    _, errors = process.communicate(timeout=50)
    assert process.returncode == 3
    assert errors == "process 1 of 2 ended with code 3: the others are stopped\n"
    assert time.monotonic() - began < 50


def test_a_signal_reaches_every_process_and_the_code_is_theirs(tmp_path):
    process = start(tmp_path, "never")
    deadline = time.monotonic() + 50
    while not all((tmp_path / f"rank{rank}").exists() for rank in (0, 1)) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGUSR1)
    process.communicate(timeout=50)
    assert process.returncode == 75
