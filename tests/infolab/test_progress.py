"""Progress on a terminal and in a log."""

import io

import pytest

import infolab.progress as progress
from infolab.progress import Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_log_gets_at_most_one_line_a_minute_with_rate_and_time_left(clock):
    log = io.StringIO()
    with Progress("toy", total=1000, start=100, stream=log) as bar:
        for second in range(1, 121):
            clock[0] = float(second)
            bar.update(100 + 5 * second, f"loss {second}")
    assert log.getvalue().splitlines() == [
        "toy: 400/1,000 (5.0/s, 2.0 min left, loss 60)",
        "toy: 700/1,000 (5.0/s, 1.0 min left, loss 120)",
    ]


def test_no_progress_is_no_division_by_zero(clock):
    log = io.StringIO()
    with Progress("toy", total=10, stream=log) as bar:
        clock[0] = 61.0
        bar.update(0)
    assert log.getvalue() == "toy: 0/10 (0.0/s, inf min left)\n"


def test_a_terminal_gets_a_bar_that_starts_where_the_run_resumed():
    terminal = Terminal()
    with Progress("toy", total=10, start=4, stream=terminal) as bar:
        bar.update(7, "loss 1")
        assert bar.bar is not None
        assert (bar.bar.n, bar.bar.initial) == (7, 4)
    assert "toy" in terminal.getvalue()
