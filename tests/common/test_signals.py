"""Stop signals are noted inside a training loop, raised around it, and left as they were afterwards."""

import signal

import pytest

from common.errors import InterruptedRunError
from common.signals import SIGNALS, StopWatch, stops_raise


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_noted_and_the_old_handler_comes_back(number):
    before = signal.getsignal(number)
    with StopWatch() as watch:
        assert not watch.wanted
        signal.raise_signal(number)
        assert watch.wanted
        error = watch.stop("step 3 of 9")
    assert signal.getsignal(number) is before
    assert error.exit_code == 75
    assert str(error) == f"stopped by {signal.Signals(number).name} at step 3 of 9; the same command goes on from there"


def test_the_time_limit(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("common.signals.time.monotonic", lambda: now[0])
    with StopWatch(max_minutes=2) as watch, StopWatch(max_minutes=0) as endless:
        now[0] = 219.0
        assert not watch.wanted
        now[0] = 221.0
        assert watch.wanted
        assert "the time limit" in str(watch.stop("step 1"))
        assert not endless.wanted


@pytest.mark.parametrize("number", SIGNALS)
def test_around_the_loop_a_signal_raises_at_once(number):
    before = signal.getsignal(number)
    with stops_raise():
        with StopWatch() as watch:
            signal.raise_signal(number)  # inside the loop it is only noted
            assert watch.wanted
        with pytest.raises(InterruptedRunError, match=signal.Signals(number).name):
            signal.raise_signal(number)
    assert signal.getsignal(number) is before
