"""Starts that keep nothing: the second in a row is a failure, any progress starts the count anew."""

import signal

import pytest

from infolab.errors import InterruptedRunError, RunFailedError
from infolab.runs import progress_watched
from infolab.signals import stopped


def start(folder, keep="", by=signal.SIGUSR1):
    """One start of run `abc` that keeps the file `keep` and is stopped by a signal (0: not at all)."""
    with progress_watched(folder, "abc"):
        if keep:
            path = folder / "paper/study/abc" / keep
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        if by != 0:
            raise stopped(by)


def test_two_starts_without_progress_end_in_a_failure_and_then_the_count_is_new(tmp_path):
    with pytest.raises(InterruptedRunError):
        start(tmp_path, "checkpoint-000000005.safetensors")
    with pytest.raises(InterruptedRunError):
        start(tmp_path)
    with pytest.raises(RunFailedError, match="run abc was stopped 2 times in a row before it had anything new to keep"):
        start(tmp_path)
    with pytest.raises(InterruptedRunError):
        start(tmp_path)


@pytest.mark.parametrize("keep", ["checkpoint-000000009.safetensors", "pieces/elbo-003.safetensors", "codes.npy"])
def test_progress_starts_the_count_anew(tmp_path, keep):
    for file in ("", keep, ""):
        with pytest.raises(InterruptedRunError):
            start(tmp_path, file)
    start(tmp_path, by=0)
    with pytest.raises(InterruptedRunError):
        start(tmp_path)


@pytest.mark.parametrize("keep", ["log.txt", ".checkpoint-000000009.safetensors.77.tmp"])
def test_a_log_or_half_a_file_is_no_progress(tmp_path, keep):
    with pytest.raises(InterruptedRunError):
        start(tmp_path, keep)
    with pytest.raises(RunFailedError):
        start(tmp_path)


def test_a_persons_interruptions_do_not_count(tmp_path):
    for _ in range(5):
        with pytest.raises(InterruptedRunError):
            start(tmp_path, by=signal.SIGINT)
