"""Stop signals and the time limit: what is measured is kept, the exit code is 75, the same command goes on.

A training loop notes a stop and ends after its step (`GracefulStop`); long evaluations and everything else end at once
(`stops_raise`), since what they have measured is on disk piece by piece (`infolab.storage`). While Python imports,
there is nothing to keep (`stops_end_start`).
"""

import atexit
import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from types import FrameType, TracebackType

from infolab.errors import InterruptedRunError

SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGUSR1") if hasattr(signal, name))

GOES_ON = "the same command goes on"
AGAIN = "run the same command again"
"""What the user of a stopped run is told, and of a command that keeps nothing, or has not begun."""

_deadline = float("inf")  # of the process, in the time of time.monotonic


@contextlib.contextmanager
def time_limit(minutes: float) -> Iterator[None]:
    """Within the block `time_is_up` once `minutes` have passed; 0: no limit. A limit from outside is not moved out."""
    global _deadline
    before = _deadline
    if minutes > 0:
        _deadline = min(before, time.monotonic() + 60 * minutes)
    try:
        yield
    finally:
        _deadline = before


def time_is_up() -> bool:
    """True once the time limit has passed; asked after each training step and each piece of an evaluation."""
    return time.monotonic() > _deadline


def stopped(by: int | None, where: str = "", then: str = GOES_ON) -> InterruptedRunError:
    """The error that ends a run stopped by signal number `by` (None: by the time limit), with its place and what helps.

    >>> print(stopped(None, "at step 3"))
    stopped by the time limit at step 3; the same command goes on from there
    """
    why = signal.Signals(by).name if by is not None else "the time limit"
    place = f" {where}; {then} from there" if where else f"; {then}"
    return InterruptedRunError(f"stopped by {why}{place}", by)


def stops_end_start() -> None:
    """In a process that `python -m` has begun and that still looks for its module: a stop ends it at once, code 75.

    Importing torch takes seconds, in which Python would die of a signal with another code; so would it while it cleans
    up after its last line, where a stop is now ignored. Each package calls this as it is imported, which comes before
    its modules; imported by anything else than `python -m` it does nothing.
    """
    if sys.argv[:1] == ["-m"]:
        for number in SIGNALS:
            signal.signal(number, _end_at_once)
        atexit.register(_ignore)


def _ignore() -> None:
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _end_at_once(number: int, frame: FrameType | None) -> None:
    stop = stopped(number, then=AGAIN)
    os.write(2, f"error: {stop}\n".encode())
    os._exit(stop.exit_code)  # an exception could be caught by what is being imported


class _Stop(BaseException):
    """What a signal raises inside `stops_raise`: no library's `except Exception` takes it for a failure of its own."""


@contextlib.contextmanager
def stops_raise(where: str = "", then: str = GOES_ON) -> Iterator[None]:
    """Turn stop signals into `InterruptedRunError` at once, for work that keeps its results as it goes.

    Within the block it is no `Exception` yet, so that nothing on the way takes it for a failure; it becomes one where
    the block ends, and so does whatever was made of it there.
    """
    received: list[int] = []

    def raise_at_once(number: int, frame: FrameType | None) -> None:
        received.append(number)
        raise _Stop

    try:
        with _handling(raise_at_once):
            yield
    except InterruptedRunError:
        raise
    except BaseException as error:
        if not received:
            raise
        raise stopped(received[0], where, then) from error
    if received:
        # It was raised where Python ignores exceptions, as in a destructor.
        raise stopped(received[0], where, then)


class GracefulStop:
    """Context manager that notes SIGTERM, SIGINT and SIGUSR1 instead of dying on the spot."""

    def __init__(self) -> None:
        self.received: int | None = None
        self._handlers = contextlib.ExitStack()

    def __enter__(self) -> "GracefulStop":
        self._handlers.enter_context(_handling(self._note))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._handlers.close()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = number

    @property
    def wanted(self) -> bool:
        """True once a signal came or the time is up."""
        return self.received is not None or time_is_up()

    def stop(self, where: str) -> InterruptedRunError:
        """The error to raise after the checkpoint at `where` is written."""
        return stopped(self.received, f"at {where}")


@contextlib.contextmanager
def _handling(handler: object) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in SIGNALS}  # type: ignore[arg-type]
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
