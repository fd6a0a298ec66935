"""Files appear whole or not at all: written aside, flushed, renamed; and exclusive locks on them."""

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

# ----------
# Files appear whole or not at all: written aside, flushed to disk, then renamed.


def write_bytes(path: Path, content: bytes) -> None:
    """Replace `path` by `content` in one step; a reader sees the old file or the new one, never half of it.

    The temporary name carries the process id, so that two processes never write one temporary file.

    Raises:
        OSError: the folder cannot be written or the disk is full; the old file is untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with aside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
        raise
    _flush_folder(path.parent)


def write_text(path: Path, content: str) -> None:
    """Replace `path` by the UTF-8 text `content` in one step (see `write_bytes`)."""
    write_bytes(path, content.encode())


def _flush_folder(folder: Path) -> None:
    # Makes the rename itself survive a power cut; some systems (Windows) cannot open a folder, and lose nothing else.
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


# ----------
# Exclusive locks on files, which go with the process that holds them, however it ends.
#
# Some network file systems have no locks, and Windows none of this kind. That is said once and the work goes on: that
# two processes keep apart is then left to whoever starts them.

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
