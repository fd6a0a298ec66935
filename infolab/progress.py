"""Progress with rate and time left: a bar on a terminal, one line a minute where there is none."""

import sys
import time
from types import TracebackType
from typing import TextIO

from tqdm import tqdm


class Progress:
    """Counts `total` units of work of the task `name`; use as a context manager and call `update(done, note)`.

    On a terminal this is a tqdm bar. Elsewhere (a SLURM log, a file) it prints at most one line every
    `every_seconds`, with the rate and the time left.
    """

    def __init__(self, name: str, total: int, start: int = 0, stream: TextIO | None = None, every_seconds: float = 60):
        self.name, self.total, self.start = name, total, start
        self.stream = stream or sys.stderr
        self.every_seconds = every_seconds
        self.began = self.spoke = time.monotonic()
        self.bar = (
            tqdm(total=total, initial=start, desc=name, file=self.stream, leave=False, mininterval=0.5)
            if self.stream.isatty()
            else None
        )

    def __enter__(self) -> "Progress":
        return self

    def update(self, done: int, note: str = "") -> None:
        """Say that `done` of the `total` units are finished."""
        if self.bar is not None:
            self.bar.update(done - self.bar.n)
            if note:
                self.bar.set_postfix_str(note, refresh=False)
            return
        now = time.monotonic()
        if now - self.spoke >= self.every_seconds:
            self.spoke = now
            self.stream.write(self._line(done, now, note))
            self.stream.flush()

    def _line(self, done: int, now: float, note: str) -> str:
        rate = (done - self.start) / max(now - self.began, 1e-9)
        left = (self.total - done) / rate if rate > 0 else float("inf")
        tail = f", {note}" if note else ""
        return f"{self.name}: {done:,}/{self.total:,} ({rate:,.1f}/s, {left / 60:.1f} min left{tail})\n"

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.close()
