"""Stop signals are noted inside a training loop, raised around it, and left as they were afterwards."""

import signal
import subprocess
import sys

import pytest

from infolab.errors import InterruptedRunError
from infolab.signals import SIGNALS, GracefulStop, stops_raise, time_is_up, time_limit
from scripts.tables import papers


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
    monkeypatch.setattr("infolab.signals.time.monotonic", lambda: now[0])
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


@pytest.mark.parametrize(("argument", "code"), [("-m", 75), ("script.py", -signal.SIGUSR1)])
def test_while_python_imports_a_command_a_signal_ends_it_with_code_75(argument, code):
    """`python -m` says so in its arguments while it looks for the module, which is when packages are imported."""
    text = f"import os, signal, sys; sys.argv = [{argument!r}]; import infolab; os.kill(os.getpid(), signal.SIGUSR1)"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True)
    assert done.returncode == code
    assert done.stderr == ("error: stopped by SIGUSR1; run the same command again\n" if code == 75 else "")


def test_while_python_cleans_up_a_signal_changes_no_exit_code():
    """The object at the end is cleared after Python has taken its handlers off."""
    text = (
        "import os, signal, sys; sys.argv = ['-m']; import infolab\n"
        "class Last:\n"
        "    def __init__(self): self.kill = os.kill, os.getpid(), signal.SIGUSR1\n"
        "    def __del__(self): self.kill[0](*self.kill[1:])\n"
        "sys.last = Last(); sys.exit(3)"
    )
    assert subprocess.run([sys.executable, "-c", text]).returncode == 3


def test_every_package_with_commands_ends_so():
    for package in ("benchmarks", "infolab", "scripts", *papers()):
        text = f"import os, signal, sys; sys.argv = ['-m']; import {package}; os.kill(os.getpid(), signal.SIGTERM)"
        done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True)
        assert done.returncode == 75, package


@pytest.mark.parametrize("swallow", [False, True])
def test_a_library_does_not_take_a_stop_for_a_failure_of_its_own(swallow):
    # As torch's load_state_dict does, which turns an exception within it into another one.
    went_on = []

    def library():
        try:
            signal.raise_signal(signal.SIGUSR1)
        except Exception as error:
            if not swallow:
                raise RuntimeError("could not copy a parameter") from error
        went_on.append(True)

    with pytest.raises(InterruptedRunError, match="SIGUSR1") as stop, stops_raise():
        library()
    assert not went_on
    assert stop.value.signal == signal.SIGUSR1


def test_what_is_made_of_a_stop_is_one():
    def converting():
        try:
            signal.raise_signal(signal.SIGTERM)
        except BaseException as error:
            raise RuntimeError("something else") from error

    with pytest.raises(InterruptedRunError, match="SIGTERM"), stops_raise():
        converting()
