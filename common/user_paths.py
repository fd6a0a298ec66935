"""Paths as a user types them: from the folder where a launcher was called, and with ~ for the home folder.

Launchers go to the repository, where runs/ and results/ are, and say in INVOKED_FROM where they were called.
"""

import contextlib
import os
import re
from collections.abc import Sequence
from pathlib import Path

FOLDERS = frozenset({"runs_dir", "results_dir", "data_dir"})
WRITTEN = frozenset({"out", "store", "per_example"})
READ = frozenset(
    {
        "against", "checkpoint", "codes", "data", "factors", "features", "generated", "images", "inputs", "logpx",
        "members", "modes", "points_file", "real", "reference", "test_folder", "train_folder", "weights", "x", "y",
    }
)  # fmt: skip
"""Options whose values are paths, or names of data sets and networks beside which there may be paths."""
TUNED, MEMBER = "tuned:", re.compile(r"(.+)@\d+")
"""How itdiffusion's members name a fine-tuned network, and one network of a run."""


def user_path(given: str | Path) -> Path:
    """The path that was meant: absolute where it was typed in another folder than this one."""
    path = Path(given).expanduser()
    place = os.environ.get("INVOKED_FROM")
    return path if path.is_absolute() or not place or _is_here(place) else Path(place) / path


def _is_here(place: str) -> bool:
    with contextlib.suppress(OSError):
        return os.path.samefile(place, os.getcwd())
    return False


def as_typed(words: Sequence[str]) -> list[str]:
    """Command-line words with the values of path options as `user_path`s.

    A value of an option that may also be a name is left as it is unless there is such a file where it was typed.
    """
    found, name = [], ""
    for word in words:
        if word.startswith("--"):
            flag, equals, value = word.partition("=")
            name = flag.lstrip("-").replace("-", "_")
            found.append(f"{flag}={_resolved(name, value)}" if equals else word)
        else:
            found.append(_resolved(name, word))
    return found


def _resolved(name: str, value: str) -> str:
    if name not in FOLDERS | WRITTEN | READ or not value:
        return value
    if name == "members" and value.startswith(TUNED):
        return TUNED + _resolved(name, value.removeprefix(TUNED))
    path = user_path(value)
    if not path.exists() and (numbered := MEMBER.fullmatch(value)):
        path = user_path(numbered[1])  # the member of a run, RUN@1
    meant = name not in READ or value.startswith("~") or (path.exists() and not _is_a_name(value))
    return str(user_path(value)) if meant else value


def _is_a_name(value: str) -> bool:
    from common.data.registry import ALIASES, NAMES  # loads torch, which parsing alone does without

    return value.lower() in NAMES or value.lower() in ALIASES
