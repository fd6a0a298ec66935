"""Starts of a run that kept nothing: a queue that tries again and again is told to stop."""

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common import atomic
from common.errors import InterruptedRunError, RunFailedError

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
