"""Stop signals are noted inside a training loop, raised around it, and left as they were afterwards."""

import signal

import pytest

from common.errors import InterruptedRunError
from common.signals import SIGNALS, GracefulStop, stops_raise, time_is_up, time_limit


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_noted_and_the_old_handler_comes_back(number):
    before = signal.getsignal(number)
    with GracefulStop() as watch:
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
    with time_limit(2), GracefulStop() as watch:
        now[0] = 219.0
        assert not watch.wanted
        with time_limit(10):  # a longer limit inside does not move the end of the shorter one
            now[0] = 221.0
            assert watch.wanted
        assert "the time limit" in str(watch.stop("step 1"))
        assert watch.stop("step 1").signal is None
    with time_limit(0):
        now[0] = 1e9
        assert not time_is_up()


@pytest.mark.parametrize("number", SIGNALS)
def test_around_the_loop_a_signal_raises_at_once(number):
    before = signal.getsignal(number)
    with GracefulStop() as watch:
        signal.raise_signal(number)  # inside the loop it is only noted
        assert watch.wanted
        with pytest.raises(InterruptedRunError, match=signal.Signals(number).name), stops_raise():
            signal.raise_signal(number)
    assert signal.getsignal(number) is before


def test_a_signal_that_comes_where_exceptions_are_ignored_still_stops(monkeypatch):
    class Closing:
        def __del__(self):
            signal.raise_signal(signal.SIGTERM)

    ignored = []
    monkeypatch.setattr("sys.unraisablehook", ignored.append)
    with pytest.raises(InterruptedRunError, match="SIGTERM in an evaluation"), stops_raise("in an evaluation"):
        Closing()
    assert len(ignored) == 1
