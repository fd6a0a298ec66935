"""Files that a command is asked to write: refused before anything is computed where they cannot or must not be."""

import os
from collections.abc import Sequence
from pathlib import Path

from common.errors import UserError


def check_out(given: str, option: str, example: str, sources: Sequence[str] = ()) -> Path:
    """The file to write that `option` names, checked before any work: refused later, it would cost all of it.

    Args:
        given: what the user gave.
        option: the flag, as in --out.
        example: a name of the kind, as in STATS.npz; what is written must have its ending, or that and .gz for a .csv.
        sources: what is read, by path, and must not be written; names of data sets may be among them.

    Raises:
        UserError: no name, another ending, no such folder or no right to write there, or a file that is read.
    """
    if not given:
        raise UserError(f"{option} is missing: give the file to write, as in {option} {example}")
    path, ending = Path(given).expanduser(), Path(example).suffix
    endings = (ending, f"{ending}.gz") if ending == ".csv" else (ending,)
    if not path.name.endswith(endings):
        raise UserError(
            f"{option} {given}: expected a name that ends in {' or '.join(endings)}, as in {option} {example}"
        )
    if any(_same(path, Path(other).expanduser()) for other in sources if other):
        raise UserError(f"{option} {given} is what is read: give it another name")
    if not path.parent.is_dir():
        raise UserError(f"{option} {given}: there is no folder '{path.parent}'; make it first")
    if path.is_dir():
        raise UserError(f"{option} {given} is a folder: give the file to write, as in {option} {example}")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise UserError(f"{option} {given} cannot be written: give another name or folder")
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
