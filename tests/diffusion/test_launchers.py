"""Launchers and SLURM arrays: the same sweep from any folder, one run a task, the image sets read from real formats."""

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from unittest.mock import MagicMock

import pytest
import torch

import common.training as training_module
from common.config import run_id
from common.data import registry
from common.errors import UserError
from common.networks.unet_configs import cifar10_config, mnist_config
from common.results import read, read_arrays
from common.sweep import run_sweep
from diffusion import cifar10, digits, fashion_mnist, mnist, toy
from diffusion.image import experiment
from diffusion.image_data import load_images

sys.path.append(str(Path(__file__).resolve().parents[1] / "common"))
from data_files import cifar_batches, write_cifar_folder, write_idx

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPTS = REPOSITORY / "scripts"
STUDIES = {"digits": digits, "mnist": mnist, "fashion_mnist": fashion_mnist, "cifar10": cifar10}
SETS = {"mnist": "mnist", "fashion_mnist": "fashion-mnist", "cifar10": "cifar10"}
SCRIPTS_OF = {"toy": toy, **STUDIES}
LAUNCHERS = sorted(path.stem.removeprefix("run_") for path in (REPOSITORY / "diffusion").glob("run_*.sh"))
SUBMITTED = sorted(path.stem.removeprefix("submit_") for path in (REPOSITORY / "diffusion").glob("submit_*.sh"))
PATH = os.environ["PATH"]
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


def environment(**variables):
    """The environment of a launcher under test: this Python, one thread, none of the caller's own settings."""
    names = ("ACCOUNT", "PARTITION", "GPUS", "CPUS", "MEMORY", "TIME_LIMIT", "SBATCH_FLAGS", "JOBS", "DATA_DIR")
    kept = {name: value for name, value in os.environ.items() if name not in names}
    return {**kept, "PY": sys.executable, "OMP_NUM_THREADS": "1", **{key: str(item) for key, item in variables.items()}}


def program(path, text):
    """An executable file."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def shell(script, *words, cwd, **variables):
    """Run one of the repository's scripts from the folder `cwd`."""
    return subprocess.run(
        ["sh", str(REPOSITORY / script), *map(str, words)],
        cwd=cwd, env=environment(**variables), capture_output=True, text=True,
    )  # fmt: skip


def call(main, monkeypatch, capsys, *words):
    """Exit code, standard output and standard error of a script's `main`."""
    monkeypatch.setattr(training_module, "_Board", MagicMock())  # TensorBoard takes longer to import than a smoke run
    monkeypatch.setattr(sys, "argv", ["script.py", *map(str, words)])
    code = 0
    try:
        main()
    except SystemExit as stop:
        code = stop.code
    return code, *capsys.readouterr()


def recording_python(path, runs):
    """Stands in for Python: notes what it is asked, from the repository's folder only, and counts `runs` runs."""
    return program(
        path,
        f'#!/bin/sh\n[ "$PWD" = "{REPOSITORY}" ] || exit 9\necho "$@" >> "$0.asked"\n'
        f'case " $* " in *" --count "*) echo {runs} ;; esac\n',
    )


def recorded(python):
    """The words of each call of `recording_python`."""
    return [line.split() for line in Path(f"{python}.asked").read_text().splitlines()]


def ids(configs):
    return [run_id(config) for config in configs]


def ids_in(dry_run):
    return re.findall(r"^run ([0-9a-f]{12}) ", dry_run, flags=re.MULTILINE)


def test_shell_scripts_are_clean():
    checker = Path(sys.executable).with_name("shellcheck")
    strict = [*(REPOSITORY / "diffusion").glob("*.sh"), *SCRIPTS.glob("slurm*.sh")]
    for severity, files in (("style", strict), ("warning", SCRIPTS.glob("*.sh"))):
        command = [str(checker), "-s", "sh", "-x", f"--severity={severity}", *map(str, files)]
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (0, "")


# ---- the launchers


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


def test_run_digits_for_real_from_another_folder(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    flags = ["--runs-dir", tmp_path / "runs", "--results-dir", tmp_path / "results"]
    done = shell("diffusion/run_digits.sh", "smoke", *flags, cwd=tmp_path / "elsewhere", JOBS=2)
    assert done.returncode == 0, done.stderr
    rows = read(tmp_path / "results", "diffusion/image_bound")
    assert set(rows.split) == {"few_shot", "full"}
    assert len(rows) == 8
    assert list((tmp_path / "elsewhere").iterdir()) == []


# ---- the sweeps


@pytest.mark.parametrize(("study", "network"), [(mnist, mnist_config), (cifar10, cifar10_config)])
def test_paper_sweeps_are_the_published_ones(study, network):
    configs = study.SWEEPS["paper"]
    grid = {(m, round(0.2 * k, 1), seed) for m in (16, 0) for k in range(1, 11) for seed in (0, 1, 2)}
    assert len(configs) == len(grid)
    assert {(c.m, c.T, c.seed) for c in configs} == grid
    for c in configs:
        assert (c.R, c.iterations, c.lr, c.batch, c.sde_steps, c.dropout) == (4000, 10_000, 1e-4, 128, 1000, 0)
        assert (c.logit_A, c.test_images, c.parametrization, c.time_sampler) == (0.05, 100, "drift", "uniform")
        assert c.unet() == network()


def test_fashion_mnist_has_mnists_sweeps_under_its_own_name():
    for preset, configs in fashion_mnist.SWEEPS.items():
        assert [dataclasses.replace(c, dataset="mnist") for c in configs] == mnist.SWEEPS[preset]
        assert {c.dataset for c in configs} == {"fashion-mnist"}


def ran(study, tmp_path, *words):
    """Ids of the runs that these words would do, in order."""
    found = []
    noted = dataclasses.replace(
        experiment("python -m lab", study.SWEEPS), run=lambda preset, config: found.append(run_id(config))
    )
    run_sweep(noted, [*map(str, words), "--results-dir", str(tmp_path / "none")])
    return found


@pytest.mark.parametrize("study", STUDIES.values(), ids=STUDIES)
@pytest.mark.parametrize("m", [16, 0])
def test_m_takes_one_half_of_a_sweep_with_the_settings_of_that_half(study, m, tmp_path):
    for preset, configs in study.SWEEPS.items():
        half = [config for config in configs if config.m == m]
        if half:
            assert ran(study, tmp_path, preset, "--m", m) == ids(half)


def test_m_reaches_every_run_of_its_kind_and_keeps_the_settings_of_that_kind(tmp_path):
    few, full = ([c for c in digits.SWEEPS["quick"] if bool(c.m) == bool(m)] for m in (16, 0))
    assert ran(digits, tmp_path, "--m", 100) == ids(dataclasses.replace(c, m=100) for c in few)
    assert ran(digits, tmp_path, "--m", 0, "--T", 0.5) == ids(c for c in full if c.T == 0.5)
    # A sweep without full runs has no settings for them: its own are taken.
    assert ran(mnist, tmp_path, "--m", 0) == ids(dataclasses.replace(c, m=0) for c in mnist.SWEEPS["quick"])


def test_count_needs_no_device_and_does_nothing(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert call(mnist.main, monkeypatch, capsys, "paper", "--device", "cuda:7", "--count") == (0, "60\n", "")
    assert call(mnist.main, monkeypatch, capsys, "paper", "--m", "0", "--count") == (0, "30\n", "")
    assert list(tmp_path.iterdir()) == []


# ---- the image sets, in small files of the real formats


def write_images(name, folder):
    if name == "cifar10":
        write_cifar_folder(folder / "cifar-10-batches-py", cifar_batches(n=5))
    else:
        write_idx(folder / {"mnist": "MNIST/raw", "fashion_mnist": "FashionMNIST/raw"}[name], zipped=True, n_train=25)


@pytest.fixture
def unpackaged(monkeypatch):
    """No Debian package on this machine."""
    monkeypatch.setattr("common.data.idx.SYSTEM", {"mnist": (), "fashion-mnist": ()})


@pytest.mark.parametrize("name", SETS)
def test_smoke_run_from_files_to_tables(name, tmp_path, monkeypatch, capsys, unpackaged):
    write_images(name, tmp_path / "data")
    flags = ["--runs-dir", tmp_path / "runs", "--results-dir", tmp_path / "results", "--data-dir", tmp_path / "data"]
    code, _, said = call(STUDIES[name].main, monkeypatch, capsys, "smoke", *flags)
    assert code == 0, said
    rows = read(tmp_path / "results", "diffusion/image_bound")
    assert set(rows.dataset) == {SETS[name]}
    assert set(rows.d) == {3072 if name == "cifar10" else 784}
    assert {(split, m) for split, m in zip(rows.split, rows.m, strict=True)} == {("few_shot", 16), ("full", 25)}
    assert len(rows) == 8
    for _, arrays in read_arrays(tmp_path / "results", "diffusion", SETS[name]):
        assert arrays["samples"].shape == ((4, 32, 32, 3) if name == "cifar10" else (4, 28, 28))


@pytest.mark.parametrize("name", SETS)
def test_missing_data_is_one_sentence_and_exit_code_2(name, tmp_path, monkeypatch, capsys, unpackaged):
    flags = ["--runs-dir", tmp_path / "runs", "--results-dir", tmp_path / "results", "--data-dir", tmp_path / "nowhere"]
    code, _, said = call(STUDIES[name].main, monkeypatch, capsys, "smoke", *flags)
    assert code == 2
    assert said.startswith(f"error: {SETS[name]} (train) is not in '{tmp_path / 'nowhere'}': expected")
    assert "--download" in said
    assert said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_network_of_another_image_size_is_refused_before_anything_is_written(tmp_path, monkeypatch, capsys):
    flags = ["--runs-dir", tmp_path / "runs", "--results-dir", tmp_path / "results", "--network", "mnist-tiny"]
    code, _, said = call(digits.main, monkeypatch, capsys, "smoke", *flags)
    assert code == 2
    assert "--network mnist-tiny takes images of shape (1, 28, 28), digits's are (1, 8, 8)" in said
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_downloaded_unless_asked_and_then_once(tmp_path, monkeypatch, unpackaged):
    fetched = []

    def fetch(name, folder):
        fetched.append(name)
        time.sleep(0.2)  # the other tasks come meanwhile
        write_images("mnist", folder)

    monkeypatch.setattr(registry, "fetch", fetch)
    config = dataclasses.replace(mnist.SMOKE, data_dir=tmp_path / "data")
    with pytest.raises(UserError, match="is not in"):
        load_images(config, torch.device("cpu"))
    assert fetched == []
    assert not (tmp_path / "data").exists()
    asked, sizes = dataclasses.replace(config, download=True), []
    tasks = [
        threading.Thread(target=lambda: sizes.append(len(load_images(asked, torch.device("cpu"))[0]))) for _ in range(3)
    ]
    for task in tasks:
        task.start()
    for task in tasks:
        task.join()
    assert (fetched, sizes) == (["mnist"], [16, 16, 16])


def test_data_dir_of_the_environment_is_the_default(tmp_path, monkeypatch):
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    assert type(mnist.SMOKE)().data_dir == tmp_path
    monkeypatch.delenv("DATA_DIR")
    assert type(mnist.SMOKE)().data_dir == REPOSITORY / "data"


# ---- SLURM

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
    assert batch == ["scripts/slurm_task.sh", "60", f"diffusion.{name}", *words]
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
    task = subprocess.Popen(["sh", str(SCRIPTS / "slurm_task.sh"), "60", "diffusion.mnist", "--R", "5"], env=variables)
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
