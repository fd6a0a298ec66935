"""A run: its folder, its lock, its provenance, and the count of its starts that kept nothing."""

import contextlib
import importlib.metadata
import json
import os
import platform
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from infolab import atomic, device, distributed
from infolab.atomic import take
from infolab.config import RunConfig, as_typed, identity, run_id
from infolab.errors import InterruptedRunError, RunFailedError, RunTakenError, UserError
from infolab.signals import time_limit
from infolab.storage import drop_pieces, is_complete

# ----------
# A run: its folder, its lock and its provenance.

VERSIONS_OF = ("torch", "numpy", "scipy", "pandas", "scikit-learn", "torchdiffeq")


@dataclass
class Run:
    """One run of an experiment; `runs/<paper>/<experiment>/<id>/` is its folder."""

    paper: str
    experiment: str
    preset: str
    config: RunConfig
    started: float = field(default_factory=time.time)
    seconds_before: float = 0.0
    anew: bool = False
    """Begin from the start, whatever checkpoints there are."""

    @property
    def id(self) -> str:
        """The hash of the config, see `infolab.config.run_id`."""
        return run_id(self.config)

    @property
    def folder(self) -> Path:
        """Where checkpoints, TensorBoard events and the log of this run lie."""
        return self.config.runs_dir / self.paper / self.experiment / self.id

    @property
    def seconds(self) -> float:
        """Wall time of this run, all its parts taken together when it was resumed."""
        return self.seconds_before + time.time() - self.started

    def provenance(self) -> dict[str, Any]:
        """What rides along with every result: command, config, commit, versions, device, threads, wall time."""
        return {
            "paper": self.paper,
            "experiment": self.experiment,
            "run_id": self.id,
            "preset": self.preset,
            "command": shlex.join(["python", "-m", _module_name(), *as_typed(sys.argv[1:])]),
            "config": identity(self.config),
            **_git_state(),
            "versions": {"python": platform.python_version(), **_versions()},
            "machine": {"system": platform.platform(), "processor": device.processor()},
            **device.provenance(self.config),
            "processes": distributed.world_size(),
            "seconds": round(self.seconds, 2),
            "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }

    def say(self, text: str) -> None:
        """Tell the user, and the run's log."""
        if not distributed.is_first():
            return
        sys.stderr.write(f"{self.paper}/{self.experiment} {self.id}: {text}\n")
        with contextlib.suppress(OSError), (self.folder / "log.txt").open("a") as log:
            log.write(f"{time.strftime('%Y-%m-%dT%H:%M:%S')} {text}\n")

    @contextlib.contextmanager
    def open(self) -> Iterator["Run"]:
        """Create the folder, take its lock and save the config; the lock goes with the process, however it ends.

        With `--force` the checkpoints of a run that reached its end are dropped, so that it starts anew; its results
        stay until the new ones replace them. A forced run that was interrupted goes on, as any other. At the end of the
        block the pieces of its evaluations are dropped: its results are written. Of the processes that torchrun
        started the first one does all this; the others wait for it, here and at the end.

        Raises:
            UserError: the runs or the results folder cannot be written.
            RunTakenError: another process works on this run.
        """
        distributed.join()
        if not distributed.is_first():
            distributed.wait()
            with time_limit(self.config.max_minutes):
                yield self
            distributed.wait()
            return
        for folder in (self.folder, self.config.results_dir / self.paper):
            _check_writable(folder)
        with (self.folder / "lock").open("a") as lock:
            _take(lock, self)
            for left_over in self.folder.glob(".*.tmp"):  # of a process that was killed while it wrote
                left_over.unlink()
            if self.anew or (self.config.force and is_complete(self.folder)):
                for checkpoint in self.folder.glob("checkpoint-*"):
                    checkpoint.unlink()
                drop_pieces(self.folder)
            atomic.write_text(self.folder / "config.json", json.dumps(identity(self.config), indent=1) + "\n")
            self.say(device.describe(self.config))
            distributed.wait()
            with time_limit(self.config.max_minutes):
                yield self
            distributed.wait()
            drop_pieces(self.folder)


def _check_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe.{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(
            f"cannot write to '{folder}' ({error.strerror}): choose another folder with --runs-dir or --results-dir"
        ) from error


def _take(lock: IO[str], run: Run) -> None:
    try:
        take(lock, wait=False)
    except BlockingIOError as error:
        raise RunTakenError(f"another process works on run {run.id} in '{run.folder}': wait for it") from error


def _module_name() -> str:
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    return spec.name.removesuffix(".__main__") if spec else Path(sys.argv[0]).name


def _git_state() -> dict[str, Any]:
    root = Path(__file__).resolve().parent.parent

    def ask(*words: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, timeout=10)
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    top = ask("rev-parse", "--show-toplevel")
    if top is None or Path(top).resolve() != root:  # a copy that was unpacked inside another repository
        return {"git_commit": None, "git_clean": None}
    status = ask("status", "--porcelain", "--untracked-files=no")
    return {"git_commit": ask("rev-parse", "HEAD"), "git_clean": None if status is None else status == ""}


def _versions() -> dict[str, str]:
    found = {}
    for name in VERSIONS_OF:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


# ----------
# Starts of a run that kept nothing: a queue that tries again and again is told to stop.

PATIENCE = 2
"""Starts in a row that may be stopped by a signal before anything new is kept."""


@contextmanager
def progress_watched(runs_dir: Path, run_id: str) -> Iterator[None]:
    """Around one start of a run: an interruption that kept nothing new counts, and the second in a row is a failure.

    What is kept are the files of the run's folder by their names (checkpoints carry their step). A person's Ctrl-C does
    not count. After the failure the count starts anew, so that the same command may be tried again by hand.

    Raises:
        RunFailedError: `PATIENCE` starts in a row kept nothing.
        InterruptedRunError: stopped, otherwise.
    """
    record = runs_dir / ".stopped" / f"{run_id}.json"
    before = _kept(runs_dir, run_id)
    try:
        yield
    except InterruptedRunError as stop:
        if stop.signal == signal.SIGINT:
            raise
        starts = 0 if _kept(runs_dir, run_id) - before else _count(record) + 1
        if starts >= PATIENCE:
            record.unlink(missing_ok=True)
            raise RunFailedError(
                f"run {run_id} was stopped {starts} times in a row before it had anything new to keep ({stop}): "
                "give it more time (TIME_LIMIT of a submit script), or less to do at a time"
            ) from stop
        atomic.write_text(record, json.dumps({"starts_without_progress": starts}))
        raise
    record.unlink(missing_ok=True)


def _kept(runs_dir: Path, run_id: str) -> set[str]:
    """Names of the files in the run's folder that later starts go on from."""
    files = (path for path in runs_dir.glob(f"*/*/{run_id}/**/*") if path.suffix in (".safetensors", ".npy"))
    return {str(path.relative_to(runs_dir)) for path in files if not path.name.startswith(".")}


def _count(record: Path) -> int:
    try:
        return int(json.loads(record.read_text())["starts_without_progress"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0
