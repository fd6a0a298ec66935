"""Stop signals: finish the step, checkpoint, exit with code 75, so that a preempted job goes on where it was."""

import contextlib
import signal
import time
from collections.abc import Iterator
from types import FrameType, TracebackType

from common.errors import InterruptedRunError

SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGUSR1") if hasattr(signal, name))


@contextlib.contextmanager
def stops_raise() -> Iterator[None]:
    """Turn stop signals into `InterruptedRunError` at once, for the work before and after a training loop."""

    def raise_at_once(number: int, frame: FrameType | None) -> None:
        raise InterruptedRunError(f"stopped by {signal.Signals(number).name}; the same command goes on")

    before = {number: signal.signal(number, raise_at_once) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class StopWatch:
    """Context manager that notes SIGTERM, SIGINT and SIGUSR1, and a time limit, instead of dying on the spot."""

    def __init__(self, max_minutes: float = 0.0):
        self.deadline = time.monotonic() + 60 * max_minutes if max_minutes > 0 else float("inf")
        self.received: int | None = None
        self._before: dict[int, object] = {}

    def __enter__(self) -> "StopWatch":
        self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = number

    @property
    def wanted(self) -> bool:
        """True once a signal came or the time is up."""
        return self.received is not None or time.monotonic() > self.deadline

    def stop(self, where: str) -> InterruptedRunError:
        """The error to raise after the checkpoint at `where` is written."""
        why = signal.Signals(self.received).name if self.received is not None else "the time limit"
        return InterruptedRunError(f"stopped by {why} at {where}; the same command goes on from there")
