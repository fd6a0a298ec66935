"""How tests start the launchers and scripts of a paper: from any folder, with a Python that notes what it is asked."""

import dataclasses
import os
import re
import subprocess
import sys
from pathlib import Path

from infolab.config import run_id
from infolab.sweep import run_sweep

REPOSITORY = Path(__file__).resolve().parents[1]
SCRIPTS = REPOSITORY / "scripts"
PATH = os.environ["PATH"]


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


def ran(experiment, tmp_path, *words):
    """Ids of the runs that these words would do, in order."""
    found = []
    noted = dataclasses.replace(experiment, run=lambda preset, config: found.append(run_id(config)))
    run_sweep(noted, [*map(str, words), "--results-dir", str(tmp_path / "none")])
    return found
