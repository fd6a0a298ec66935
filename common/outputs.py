"""Files that a command is asked to write: refused before anything is computed where they cannot or must not be."""

import os
from collections.abc import Sequence
from pathlib import Path

from common.errors import UserError


def check_output(flag: str, given: str, suffixes: Sequence[str], inputs: Sequence[str] = ()) -> Path:
    """The path of a file to write, after checking its name, its folder and that it is nothing that is read.

    Args:
        flag: the option, as in `--out`.
        given: what was given for it.
        suffixes: endings of which the name must have one, the first as the example.
        inputs: what the command reads, by path; names of data sets may be among them.

    Raises:
        UserError: no name, another ending, no such folder or no right to write there, or a file that is read.
    """
    example = f"{flag} OUT{suffixes[0]}"
    if not given:
        raise UserError(f"{flag} is missing: give the file to write, as in {example}")
    path = Path(given).expanduser()
    if not path.name.endswith(tuple(suffixes)):
        raise UserError(f"{flag} {given}: expected a name that ends in {' or '.join(suffixes)}, as in {example}")
    if any(_same(path, Path(other).expanduser()) for other in inputs if other):
        raise UserError(f"{flag} {given} is what is read: give it another name")
    if not path.parent.is_dir():
        raise UserError(f"{flag} {given}: there is no folder '{path.parent}'; make it first")
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise UserError(f"{flag} {given} cannot be written: give another name or folder")
    return path


def _same(one: Path, other: Path) -> bool:
    """Whether both are one file, links followed; a folder is read with all that lies in it."""
    try:
        if one.exists() and other.exists() and one.samefile(other):
            return True
        one, other = one.resolve(), other.resolve()
    except OSError:
        return False
    return one == other or (other.is_dir() and other in one.parents)
