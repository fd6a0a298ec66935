"""SLURM arrays: options that sbatch takes, one run a task, the launchers' sweep, and a task that is put back."""

import json
import re
import signal
import subprocess
import sys
import time

import pytest
from image_studies import STUDIES, write_images
from image_studies import ran_images as ran
from launching import PATH, REPOSITORY, SCRIPTS, environment, ids, program, recorded, recording_python, shell

from diffusion import mnist

SUBMITTED = sorted(path.stem.removeprefix("submit_") for path in (REPOSITORY / "diffusion").glob("submit_*.sh"))
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


def submit(tmp_path, name, *words, **variables):
    """Run submit_<name>.sh with a fake sbatch; returns the process, sbatch's options and the batch script's words."""
    program(tmp_path / "bin/sbatch", FAKE_SBATCH.format(python=sys.executable))
    (tmp_path / "elsewhere").mkdir()
    done = shell(
        f"diffusion/submit_{name}.sh",
        *words,
        cwd=tmp_path / "elsewhere",
        PATH=f"{tmp_path / 'bin'}:{PATH}",
        **variables,
    )
    assert list((tmp_path / "elsewhere").iterdir()) == []
    submitted = tmp_path / "bin/submitted.json"
    options, batch = json.loads(submitted.read_text()) if submitted.exists() else ([], [])
    return done, options, batch


@pytest.mark.parametrize("name", SUBMITTED)
@pytest.mark.parametrize("site", [{}, {"ACCOUNT": "mine", "PARTITION": "long", "TIME_LIMIT": "1-00:00:00", "GPUS": ""}])
def test_a_submission_has_options_that_sbatch_takes(tmp_path, name, site):
    python = recording_python(tmp_path / "python", 60)
    words = ["paper", "--R", "5"]
    done, options, batch = submit(tmp_path, name, *words, PY=python, SBATCH_FLAGS="--test-only --array=0-9%4", **site)
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
    assert batch == ["scripts/slurm_task.sh", "60", "1", f"diffusion.{name}", *words]
    assert recorded(python) == [["-m", f"diffusion.{name}", "paper", "--R", "5", "--count"]]


@pytest.mark.parametrize("name", SUBMITTED)
def test_a_task_of_an_array_asks_for_its_share_of_the_sweep(tmp_path, name):
    python = recording_python(tmp_path / "python", 60)
    done, *_ = submit(tmp_path, name, "paper", "--R", "5", PY=python, RUN_TASK=59)
    assert done.returncode == 0, done.stderr
    count, task = recorded(python)
    assert task == [*count[:-1], "--task", "59/60"] == ["-m", f"diffusion.{name}", "paper", "--R", "5", *task[-2:]]


@pytest.mark.slow
def test_a_task_of_an_array_for_real(tmp_path):
    write_images("mnist", tmp_path / "data")
    flags = ["--runs-dir", tmp_path / "runs", "--results-dir", tmp_path / "results", "--data-dir", tmp_path / "data"]
    done, options, batch = submit(tmp_path, "mnist", "smoke", *flags, RUN_TASK=1)
    assert done.returncode == 0, done.stderr
    assert "--array=0-1" in options
    assert batch[1] == "2"
    written = [path.stem for path in tmp_path.glob("results/diffusion/image_bound/*.csv")]
    assert len(written) == 1
    assert written[0] in ids(mnist.SWEEPS["smoke"])


@pytest.mark.parametrize("name", SUBMITTED)
def test_the_tasks_of_an_array_are_the_runs_of_the_launchers_sweep(name, tmp_path):
    whole = ids(STUDIES[name].SWEEPS["paper"])
    tasks = [ran(STUDIES[name], tmp_path, "paper", "--task", f"{task}/{len(whole)}") for task in range(len(whole))]
    assert [len(task) for task in tasks] == [1] * len(whole)
    assert sorted(task[0] for task in tasks) == sorted(whole)


def test_a_bad_submission_queues_nothing(tmp_path):
    refused = program(tmp_path / "python", "#!/bin/sh\necho 'error: unknown preset' >&2\nexit 2\n")
    done, options, _ = submit(tmp_path, "mnist", "papr", PY=refused)
    assert (done.returncode, done.stderr, options) == (2, "error: unknown preset\n", [])


def test_a_submission_refuses_a_share_of_its_own(tmp_path):
    done, options, _ = submit(
        tmp_path, "cifar10", "paper", "--task", "0/2", PY=recording_python(tmp_path / "python", 60)
    )
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
    ("name", "refused"), [("diffusion/submit_mnist.sh", True), ("itdiffusion/submit_cifar10.sh", False)]
)
def test_gpus_that_a_run_cannot_share_are_refused_at_submission(tmp_path, name, refused):
    program(tmp_path / "bin/sbatch", FAKE_SBATCH.format(python=sys.executable))
    done = shell(name, "smoke", cwd=tmp_path, PATH=f"{tmp_path / 'bin'}:{PATH}", GPUS="4", PY=sys.executable)
    if refused:
        assert done.returncode == 2
        assert (
            "one run is one process here, not the 4 that torchrun (or GPUS of a submit script) asks for" in done.stderr
        )
        assert done.stderr.count("\n") == 1
        assert not (tmp_path / "bin/submitted.json").exists()
    else:
        assert done.returncode == 0, done.stderr
        options, batch = json.loads((tmp_path / "bin/submitted.json").read_text())
        assert "--gres=gpu:4" in options
        assert batch[2] == "4"
