"""SLURM arrays: options that sbatch takes, one run a task, the launchers' sweep, and a task that is put back."""

import json
import re
import signal
import subprocess
import sys
import time

import pytest
from data_files import write_idx
from launching import PATH, REPOSITORY, SCRIPTS, environment, ids, program, recorded, recording_python, shell

from diffusion import mnist

# The module of every submit script, and the flags that the script adds.
SUBMITTED = {
    "diffusion/submit_cifar10.sh": ["diffusion.cifar10"],
    "diffusion/submit_mnist.sh": ["diffusion.mnist"],
    "infodiffusion/submit_celeba.sh": ["infodiffusion.run", "--dataset", "celeba", "--mode", "train"],
    "itdiffusion/submit_cifar10.sh": ["itdiffusion.cifar10"],
    "scoregen/submit_clusters.sh": ["scoregen.clusters"],
    "vae/submit_memorization.sh": ["vae.cv", "--together", "1"],
    "vae/submit_vae.sh": ["vae.full"],
}
# What sbatch knows of the options that are used here, with the values that it would take.
SBATCH_OPTIONS = {
    "account": r"\w+",
    "partition": r"\w+",
    "gres": r"gpu:\d+",
    "cpus-per-task": r"\d+",
    "mem": r"\d+[KMG]",
    "time": r"(\d+-)?\d+:\d\d:\d\d",
    "array": r"\d+-\d+(%\d+)?",
    "requeue": None,
    "test-only": None,
    "signal": r"B:USR1@\d+",
    "open-mode": "append",
    "output": r"runs/slurm/%x-%A_%a\.log",
    "job-name": r"\w+",
    "chdir": r"/.+",
}
FAKE_SBATCH = """#!{python}
import json, os, pathlib, shutil, subprocess, sys
options, words = [], sys.argv[1:]
while words and words[0].startswith("-"):
    options.append(words.pop(0))
here = pathlib.Path(__file__).parent
(here / "submitted.json").write_text(json.dumps([options, words]))
if "RUN_TASK" in os.environ:
    # As SLURM does: a copy of the script, in the folder of --chdir, with the numbers of the array in the environment.
    spooled = shutil.copy(words[0], here / "slurm_script")
    chdir = next(option.split("=", 1)[1] for option in options if option.startswith("--chdir="))
    numbers = {{"SLURM_ARRAY_JOB_ID": "100", "SLURM_ARRAY_TASK_ID": os.environ["RUN_TASK"]}}
    sys.exit(subprocess.run(["sh", spooled, *words[1:]], cwd=chdir, env={{**os.environ, **numbers}}).returncode)
"""


def submit(tmp_path, script, *words, **variables):
    """Run a submit script with a fake sbatch; returns the process, sbatch's options and the batch script's words."""
    program(tmp_path / "bin/sbatch", FAKE_SBATCH.format(python=sys.executable))
    (tmp_path / "elsewhere").mkdir()
    done = shell(
        script,
        *words,
        cwd=tmp_path / "elsewhere",
        PATH=f"{tmp_path / 'bin'}:{PATH}",
        **variables,
    )
    assert list((tmp_path / "elsewhere").iterdir()) == []
    submitted = tmp_path / "bin/submitted.json"
    options, batch = json.loads(submitted.read_text()) if submitted.exists() else ([], [])
    return done, options, batch


def test_every_submit_script_is_here():
    assert sorted(SUBMITTED) == sorted(str(path.relative_to(REPOSITORY)) for path in REPOSITORY.glob("*/submit_*.sh"))


@pytest.mark.parametrize("script", SUBMITTED)
@pytest.mark.parametrize("site", [{}, {"ACCOUNT": "mine", "PARTITION": "long", "TIME_LIMIT": "1-00:00:00", "GPUS": ""}])
def test_a_submission_has_options_that_sbatch_takes(tmp_path, script, site):
    python = recording_python(tmp_path / "python", 60)
    words = ["paper", "--R", "5"]
    module, *added = SUBMITTED[script]
    done, options, batch = submit(tmp_path, script, *words, PY=python, SBATCH_FLAGS="--test-only --array=0-9%4", **site)
    assert done.returncode == 0, done.stderr
    given = dict(option.removeprefix("--").partition("=")[::2] for option in options)
    for option, value in given.items():
        assert option in SBATCH_OPTIONS
        assert re.fullmatch(SBATCH_OPTIONS[option] or "", value)
    assert {"requeue", "signal", "open-mode", "chdir", "time", "cpus-per-task", "mem"} <= set(given)
    assert given["chdir"] == str(REPOSITORY)
    assert given.get("account", "") == site.get("ACCOUNT", "")
    assert given.get("partition", "") == site.get("PARTITION", "")
    assert given.get("gres", "") == ("" if "GPUS" in site else "gpu:1")
    assert given["time"] == site.get("TIME_LIMIT", given["time"])
    # The user's flags come last: of two --array sbatch takes the last one.
    assert [option for option in options if "array" in option] == ["--array=0-59", "--array=0-9%4"]
    assert options[-2:] == ["--test-only", "--array=0-9%4"]
    assert batch == ["scripts/slurm_task.sh", "60", "1", module, *words, *added]
    assert recorded(python) == [["-m", module, *words, *added, "--count"]]


def test_flags_of_ones_own_replace_those_that_a_script_adds(tmp_path):
    python = recording_python(tmp_path / "python", 60)
    done, _, batch = submit(tmp_path, "vae/submit_memorization.sh", "paper", "--together", "10", PY=python, CPUS="")
    assert done.returncode == 0, done.stderr
    assert batch[3:] == ["vae.cv", "paper", "--together", "10"]


def test_the_mode_of_a_submission_is_a_variable(tmp_path):
    python = recording_python(tmp_path / "python", 60)
    done, _, batch = submit(tmp_path, "infodiffusion/submit_celeba.sh", "paper", PY=python, MODE="eval_fid,calc_fid")
    assert done.returncode == 0, done.stderr
    assert batch[-2:] == ["--mode", "eval_fid,calc_fid"]


def test_a_task_of_an_array_asks_for_its_share_of_the_sweep(tmp_path):
    python = recording_python(tmp_path / "python", 60)
    done, *_ = submit(tmp_path, "diffusion/submit_mnist.sh", "paper", "--R", "5", PY=python, RUN_TASK=59)
    assert done.returncode == 0, done.stderr
    count, task = recorded(python)
    assert task == [*count[:-1], "--task", "59/60"] == ["-m", "diffusion.mnist", "paper", "--R", "5", *task[-2:]]


@pytest.mark.slow
def test_a_task_of_an_array_for_real(tmp_path):
    write_idx(tmp_path / "data/MNIST/raw", zipped=True, n_train=25)
    flags = ["--runs-dir", tmp_path / "runs", "--results-dir", tmp_path / "results", "--data-dir", tmp_path / "data"]
    done, options, batch = submit(tmp_path, "diffusion/submit_mnist.sh", "smoke", *flags, RUN_TASK=1)
    assert done.returncode == 0, done.stderr
    assert "--array=0-1" in options
    assert batch[1] == "2"
    written = [path.stem for path in tmp_path.glob("results/diffusion/image_bound/*.csv")]
    assert len(written) == 1
    assert written[0] in ids(mnist.SWEEPS["smoke"])


def test_a_bad_submission_queues_nothing(tmp_path):
    refused = program(tmp_path / "python", "#!/bin/sh\necho 'error: unknown preset' >&2\nexit 2\n")
    done, options, _ = submit(tmp_path, "diffusion/submit_mnist.sh", "papr", PY=refused)
    assert (done.returncode, done.stderr, options) == (2, "error: unknown preset\n", [])


def test_a_submission_refuses_a_share_of_its_own(tmp_path):
    python = recording_python(tmp_path / "python", 60)
    done, options, _ = submit(tmp_path, "itdiffusion/submit_cifar10.sh", "paper", "--task", "0/2", PY=python)
    assert (done.returncode, options) == (2, [])
    assert done.stderr.startswith("error: --task is what the array's tasks are given")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("sent", "ends", "requeued"),
    [
        (signal.SIGUSR1, 75, True),  # two minutes before the time limit
        (None, 75, True),  # --max-minutes, or another process on the run
        (signal.SIGTERM, 75, False),  # preempted: SLURM requeues it; scancel: it stays cancelled
        (None, 0, False),
        (None, 3, False),
    ],
)
def test_a_task_that_says_try_again_is_requeued(tmp_path, sent, ends, requeued):
    waits = 'trap "exit 75" USR1 TERM\n: > "$0.ready"\nwhile :; do sleep 0.02; done\n' if sent else ""
    python = program(tmp_path / "python", f'#!/bin/sh\necho "$@" > "$0.words"\n{waits}exit {ends}\n')
    program(tmp_path / "bin/scontrol", f'#!/bin/sh\necho "$@" > {tmp_path}/requeued\n')
    numbers = {"SLURM_ARRAY_JOB_ID": 100, "SLURM_ARRAY_TASK_ID": 2}
    variables = environment(PY=python, PATH=f"{tmp_path / 'bin'}:{PATH}", **numbers)
    command = ["sh", str(SCRIPTS / "slurm_task.sh"), "60", "1", "diffusion.mnist", "--R", "5"]
    task = subprocess.Popen(command, env=variables, cwd=REPOSITORY)
    if sent:
        deadline = time.monotonic() + 30
        while not (tmp_path / "python.ready").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        task.send_signal(sent)
    assert task.wait(30) == ends
    assert (tmp_path / "python.words").read_text() == "-m diffusion.mnist --R 5 --task 2/60\n"
    assert (tmp_path / "requeued").exists() == requeued
    if requeued:
        assert (tmp_path / "requeued").read_text() == "requeue 100_2\n"


def test_several_gpus_share_a_run_between_as_many_processes(tmp_path):
    python = program(tmp_path / "python", '#!/bin/sh\necho "$@" > "$0.words"\n')
    variables = environment(PY=python, SLURM_ARRAY_JOB_ID=100, SLURM_ARRAY_TASK_ID=2)
    command = ["sh", str(SCRIPTS / "slurm_task.sh"), "60", "4", "itdiffusion.cifar10", "--R", "5"]
    assert subprocess.run(command, env=variables, cwd=REPOSITORY, timeout=60).returncode == 0
    words = "-m infolab.distributed 4 itdiffusion.cifar10 --R 5 --task 2/60\n"
    assert (tmp_path / "python.words").read_text() == words


@pytest.mark.parametrize(
    ("script", "refused"), [("diffusion/submit_mnist.sh", True), ("itdiffusion/submit_cifar10.sh", False)]
)
def test_gpus_that_a_run_cannot_share_are_refused_at_submission(tmp_path, script, refused):
    done, options, batch = submit(tmp_path, script, "smoke", GPUS="4", PY=sys.executable)
    if refused:
        assert (done.returncode, options) == (2, [])
        assert (
            "one run is one process here, not the 4 that torchrun (or GPUS of a submit script) asks for" in done.stderr
        )
        assert done.stderr.count("\n") == 1
    else:
        assert done.returncode == 0, done.stderr
        assert "--gres=gpu:4" in options
        assert batch[2] == "4"
