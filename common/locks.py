"""Exclusive locks on files, which go with the process that holds them, however it ends.

Some network file systems have no locks, and Windows none of this kind. That is said once and the work goes on: that two
processes keep apart is then left to whoever starts them.
"""

import contextlib
import errno
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

UNSUPPORTED = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP}

_said = False


@contextlib.contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold the lock of the file `path`, which is made where it is missing and stays when the lock goes.

    Args:
        path: the file.
        wait: until another process gives the lock back.

    Raises:
        BlockingIOError: another process holds it, and `wait` is False.
        OSError: the file cannot be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        take(file, wait=wait)
        yield


def take(file: IO[Any], *, wait: bool) -> None:
    """Lock an open file until it is closed.

    Args:
        file: the file, open for writing.
        wait: until another process gives the lock back.

    Raises:
        BlockingIOError: another process holds it, and `wait` is False.
    """
    try:
        import fcntl
    except ImportError:
        _say_once("this system has no file locks")
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        _say_once(f"the file system of '{file.name}' has no file locks ({error.strerror})")


def _say_once(what: str) -> None:
    global _said
    if not _said:
        sys.stderr.write(f"{what}: going on without; do not start two processes on the same run or download\n")
    _said = True
