"""A submission to a real SLURM controller, where one is installed (Debian: slurm-wlm and munge) and may be started."""

import os
import shutil
import subprocess
import time

import pytest
from data_files import write_idx
from launching import REPOSITORY, environment, ids, shell

from diffusion import mnist

HERE = REPOSITORY / "tests/slurm"
INSTALLED = all(map(shutil.which, ("munged", "slurmctld", "slurmd", "sbatch")))


@pytest.fixture
def controller(tmp_path):
    """The settings of a controller with one idle node."""
    folder = tmp_path / "slurm"
    started = subprocess.run(["sh", HERE / "start_controller.sh", folder], capture_output=True, text=True)
    try:
        assert started.returncode == 0, started.stderr
        yield str(folder / "slurm.conf")
    finally:
        subprocess.run(["sh", HERE / "stop_controller.sh", folder], capture_output=True)


@pytest.mark.slow
@pytest.mark.skipif(not INSTALLED or os.geteuid() != 0, reason="needs slurm-wlm and munge, and root")
def test_an_array_runs_to_its_end(tmp_path, controller):
    write_idx(tmp_path / "data/MNIST/raw", zipped=True, n_train=25)
    flags = ["--runs-dir", tmp_path / "runs", "--results-dir", tmp_path / "results", "--data-dir", tmp_path / "data"]
    site = {"SLURM_CONF": controller, "PARTITION": "lab", "GPUS": "", "DEVICE": "cpu"}
    flag = f"--output={tmp_path}/%a.log"
    done = shell("diffusion/submit_mnist.sh", "smoke", *flags, cwd=tmp_path, SBATCH_FLAGS=flag, **site)
    assert done.returncode == 0, done.stderr
    job = done.stdout.split()[-1]

    def asked(*command):
        return subprocess.run(command, env=environment(**site), capture_output=True, text=True, check=True).stdout

    deadline = time.monotonic() + 300
    while asked("squeue", "--noheader") and time.monotonic() < deadline:
        time.sleep(0.5)
    states = [word for word in asked("scontrol", "show", "job", job).split() if word.startswith("JobState=")]
    logs = "".join(path.read_text() for path in tmp_path.glob("*.log"))
    assert states == ["JobState=COMPLETED"] * 2, logs
    written = {path.stem.split("-")[0] for path in tmp_path.glob("results/diffusion/image_bound/*.csv")}
    assert len(written) == len(ids(mnist.SWEEPS["smoke"])) == 2
