"""One digest of many files: their names and what is in them, kept beside large sets so that it is made once."""

import contextlib
import hashlib
import json
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from common import atomic
from common.data.checksums import file_md5

KEPT = ".contents.json"
"""Kept beside large sets: digests of the files' names, sizes and times, each with the digest of what is in them."""
MOST_KEPT = 16
LARGE = 1 << 26  # bytes that are worth keeping a digest for: below, reading them again takes no time


def of_files(root: Path, paths: Iterable[Path]) -> str:
    """Digest of the names below `root` and the contents of `paths`; empty where one is not there.

    Of a large set it is kept beside the files with their sizes and times, and computed again where these differ.
    """
    try:
        listed = [(str(path.relative_to(root)), path.stat()) for path in sorted(paths) if path.name != KEPT]
    except OSError:
        return ""
    sizes = tuple((name, found.st_size, found.st_mtime_ns) for name, found in listed)
    return _digest(root, sizes)


@lru_cache(maxsize=64)
def _digest(root: Path, sizes: tuple[tuple[str, int, int], ...]) -> str:
    signature, kept = of_values(sizes), _kept(root)
    if signature in kept:
        return kept[signature]
    try:
        found = of_values([(name, file_md5(root / name)) for name, _, _ in sizes])
    except OSError:
        return ""
    if sum(size for _, size, _ in sizes) >= LARGE:
        newest = dict(list(kept.items())[1 - MOST_KEPT :]) | {signature: found}
        with contextlib.suppress(OSError):  # a folder that cannot be written costs time at the next start, no more
            atomic.write_text(root / KEPT, json.dumps(newest) + "\n")
    return found


def _kept(root: Path) -> dict[str, str]:
    with contextlib.suppress(OSError, ValueError):
        found = json.loads((root / KEPT).read_text())
        if isinstance(found, dict) and all(isinstance(item, str) for item in found.values()):
            return found
    return {}


def of_values(value: object) -> str:
    """12 digits of SHA-256 of plain values."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]
