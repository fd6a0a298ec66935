"""Files appear whole or not at all: written aside, flushed to disk, then renamed."""

import contextlib
import os
from pathlib import Path


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
