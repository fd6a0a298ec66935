"""Stop signals and the time limit: what is measured is kept, the exit code is 75, the same command goes on.

A training loop notes a stop and ends after its step (`GracefulStop`); long evaluations and everything else end at once
(`stops_raise`), since what they have measured is on disk piece by piece (`common.pieces`).
"""

import contextlib
import signal
import time
from collections.abc import Iterator
from types import FrameType, TracebackType

from common.errors import InterruptedRunError

SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGUSR1") if hasattr(signal, name))

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


def stopped(by: int | None, where: str = "") -> InterruptedRunError:
    """The error that ends a run stopped by signal number `by` (None: by the time limit), with its place."""
    why = signal.Signals(by).name if by is not None else "the time limit"
    place = f" {where}; the same command goes on from there" if where else "; the same command goes on"
    return InterruptedRunError(f"stopped by {why}{place}", by)


@contextlib.contextmanager
def stops_raise(where: str = "") -> Iterator[None]:
    """Turn stop signals into `InterruptedRunError` at once, for work that keeps its results as it goes."""
    received: list[int] = []

    def raise_at_once(number: int, frame: FrameType | None) -> None:
        received.append(number)
        raise stopped(number, where)

    with _handling(raise_at_once):
        yield
    if received:
        # It was raised where Python ignores exceptions, as in a destructor.
        raise stopped(received[0], where)


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
