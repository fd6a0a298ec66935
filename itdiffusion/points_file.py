"""A user's 2-D points with jitter as a law of exact density: the dino and its like, which no package ships."""

import csv
from pathlib import Path

import numpy as np
import torch

from common.errors import UserError
from common.files import load_npy, read_text, reading
from common.mixture import GaussianMixture
from common.toy import MixtureToy

WHAT, REMEDY = "a set of points", "expected .npy or text with two columns of numbers, below one line of names at most"
JITTER = 0.15
"""Standard deviation of the noise on each point, in the file's units, as published for the dino."""


def points_law(path: Path, jitter: float = JITTER) -> MixtureToy:
    """n equally likely points plus jitter N(0, I), standardised per coordinate by the law's exact moments.

    Args:
        path: .npy (n, 2), or a table of text with commas, tabs or blanks between columns: two columns of numbers, or
            the Datasaurus file (columns dataset, x, y), of which the rows called dino are taken.
        jitter: standard deviation of the noise, in the file's units.

    Raises:
        UserError: the file cannot be read as points, or the jitter is not positive.
    """
    if not jitter > 0:
        raise UserError(f"--jitter must be positive, not {jitter}")
    points = torch.from_numpy(_read(path)).double()
    scale = torch.sqrt(points.var(0, correction=0) + jitter**2)
    covariance = torch.diag((jitter / scale) ** 2).expand(len(points), 2, 2)
    return MixtureToy(GaussianMixture(torch.ones(len(points)), (points - points.mean(0)) / scale, covariance))


def _read(path: Path) -> np.ndarray:
    points = load_npy(path, WHAT) if path.suffix == ".npy" else _read_text(path)
    plain = points.dtype.kind in "fiu" and points.ndim == 2 and points.shape[1] == 2 and len(points) >= 2
    if not plain or not np.isfinite(points).all():
        raise UserError(
            f"'{path}' holds an array of shape {points.shape} and type {points.dtype}: expected finite points (n, 2), "
            "n >= 2"
        )
    return np.ascontiguousarray(points, dtype=np.float64)


def _read_text(path: Path) -> np.ndarray:
    lines = read_text(path, WHAT, REMEDY).splitlines()
    with reading(path, WHAT, REMEDY):
        rows = [_cells(line) for line in lines if line.strip() and not line.lstrip().startswith("#")]
        named = [row[1:] for row in rows if len(row) == 3 and row[0] == "dino"]
        headed = bool(rows) and not _is_number(rows[0][0])
        return np.array([[float(cell) for cell in row] for row in named or rows[headed:]])


def _cells(line: str) -> list[str]:
    separated = next((mark for mark in ("\t", ",") if mark in line), None)
    return [cell.strip() for cell in next(csv.reader([line], delimiter=separated))] if separated else line.split()


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
