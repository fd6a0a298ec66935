"""Where data files are looked for, and what is said when they are not there."""

import os
from collections.abc import Iterator
from pathlib import Path

from common.errors import UserError
from common.user_paths import user_path

DEPTH = 3  # levels of folders below the data folder that are searched
REPOSITORY = Path(__file__).resolve().parents[2]


class MissingFilesError(UserError):
    """A data set's files are not in the data folder. Exit code 2, as for any wrong path."""


def default_data_dir() -> Path:
    """The data folder where none is given: the environment's DATA_DIR, else `data/` in this repository."""
    given = os.environ.get("DATA_DIR")
    return user_path(given) if given else REPOSITORY / "data"


def resolve_data_dir(data_dir: str | Path | None) -> Path:
    """The folder that `data_dir` names, or the default one.

    Raises:
        UserError: if it is something else than a folder.
    """
    folder = default_data_dir() if data_dir is None else Path(data_dir).expanduser()
    if folder.exists() and not folder.is_dir():
        raise UserError(f"data folder '{folder}' is a file: give the folder that holds the data")
    return folder


def folders_below(top: Path, depth: int = DEPTH) -> Iterator[Path]:
    """`top` and the folders below it, level by level in the order of their names; unreadable ones are left out."""
    level = [top] if top.is_dir() else []
    for remaining in range(depth, -1, -1):
        yield from level
        if remaining:
            level = [child for folder in level for child in _children(folder)]


def _children(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:  # knows folders without asking the disk for each of 200,000 images
            return sorted(Path(entry) for entry in entries if entry.is_dir() and not entry.name.startswith("."))
    except OSError:
        return []


def missing(name: str, split: str, what: str, data_dir: Path, ways: str) -> MissingFilesError:
    """The one sentence for files that are not there: what was sought, where it goes and how to get it."""
    return MissingFilesError(f"{name} ({split}) is not in '{data_dir}': expected {what}; {ways}")
