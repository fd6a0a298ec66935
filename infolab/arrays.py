"""A user's own arrays, functions by `module:name`, and the files that a command is asked to write."""

import importlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from infolab.config import user_path
from infolab.errors import UserError, in_a_line
from infolab.files import load_npy

# ----------
# A user's own arrays and functions: `.npy` files, examples first, and `module:function` names.


def read_array(path: Path, least: int = 2, whole: bool = False) -> Tensor:
    """The numbers of a .npy file, (n, ...): float64 and float32 as they are, others as the smaller that holds them all.

    Args:
        path: the file; pickles are not read.
        least: fewest examples.
        whole: keep whole numbers as they are, for what only compares them (labels) or takes their differences.

    Raises:
        UserError: no such file, not an array of finite numbers, too few examples, or numbers that float64 does not hold
            (whole ones beyond 2^53).
    """
    array = load_npy(path, "a readable .npy file of numbers, examples first")
    if array.ndim < 1 or array.dtype.kind not in "fiub" or array.size == 0:
        described = f"shape {array.shape} and type {array.dtype}"
        raise UserError(f"'{path}' has {described}: expected one array of numbers (examples, ...)")
    if len(array) < least:
        raise UserError(f"'{path}' has {len(array)} examples: expected at least {least}, along the first dimension")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise UserError(f"'{path}' has values that are not finite: remove them first")
    if array.dtype not in (np.float32, np.float64) and not (whole and array.dtype.kind in "iu"):
        array = _as_float(path, array)
    if not np.isfinite(array).all():
        raise UserError(f"'{path}' has values that are not finite: remove them first")
    return torch.from_numpy(np.ascontiguousarray(array))  # one layout for equal numbers, whoever saved them


def read_labels(path: Path) -> np.ndarray:
    """Class labels, factors or other numbers of a .npy file, (n, ...): whole numbers and names of classes as they are.

    Raises:
        UserError: no such file, neither numbers nor names, or fewer than two examples.
    """
    array = load_npy(path, "a readable .npy file of numbers or names of classes")
    if array.dtype.kind in "US" and array.ndim >= 1 and len(array) >= 2:
        return array
    return read_array(path, whole=True).numpy()


def _as_float(path: Path, array: np.ndarray) -> np.ndarray:
    """The same numbers in float32, which holds whole ones up to 2^24, or in float64."""
    with np.errstate(over="ignore"):  # longdouble beyond float64, said below
        held = array.astype(np.float32 if array.dtype.itemsize <= 2 else np.float64)
    # Above 2^53 numpy compares whole numbers with floats as floats, so both ways are taken: the way back wraps at 2^63.
    if array.dtype.kind in "iu" and array.dtype.itemsize == 8:
        exact = np.abs(held) < 2.0**53
        if not exact.all() and any(int(number) != int(float(number)) for number in array[~exact]):
            raise UserError(
                f"'{path}' has whole numbers beyond 2^53 that float64 does not hold: subtract a constant, or divide "
                "first"
            )
    if not np.isfinite(held).all():
        raise UserError(f"'{path}' has values beyond the range of float64: rescale them first")
    return held


def load_function(name: str, option: str) -> Callable[..., Any]:
    """The function that `module:function` names; the current folder is searched first.

    Args:
        name: `module:function`, `package.module:object.method`.
        option: the flag it came from, for the message.

    Raises:
        UserError: not of that form, no such module or function, or an error while the module is imported.
    """
    module_name, _, path = name.partition(":")
    if not module_name or not path:
        raise UserError(f"{option} {name}: expected module:function, as in my_model:denoise")
    for place in (str(Path.cwd()), str(user_path("."))):  # the folder of the user's last: it is searched first
        if place not in sys.path:
            sys.path.insert(0, place)
    try:
        found: Any = importlib.import_module(module_name)
        for part in path.split("."):
            found = getattr(found, part)
    except Exception as error:  # a user's module may fail in any way
        raise UserError(
            f"{option} {name}: cannot be imported ({in_a_line(error)}); expected module:function, with the module in "
            "this folder, on PYTHONPATH or installed"
        ) from error
    if not callable(found):
        raise UserError(f"{option} {name}: {path} is not a function")
    return found


def tensor_of(function: Callable[..., Any], arguments: tuple[Tensor, ...], called: str, expected: str) -> Tensor:
    """What a user's function returns for `arguments`; what goes wrong inside it is one sentence.

    Args:
        function: the user's.
        arguments: what it is called with.
        called: what messages call it, as in `--denoiser my_model:denoise`.
        expected: what it should be, for the message.

    Raises:
        UserError: it failed, or returned no tensor.
    """
    try:
        found = function(*(argument.clone() for argument in arguments))  # it may write into what it is given
    except Exception as error:  # a user's function may fail in any way
        raise UserError(f"{called} failed ({in_a_line(error)}): expected {expected}") from error
    if not isinstance(found, Tensor):
        raise UserError(f"{called} returned {type(found).__name__}, no torch tensor: expected {expected}")
    return found


# ----------
# Files that a command is asked to write: refused before anything is computed where they cannot or must not be.


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
