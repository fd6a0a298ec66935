"""A user's 2-D points with jitter as a law of exact density: the dino and its like, which no package ships."""

import csv
from pathlib import Path

import numpy as np
import torch

from common.errors import UserError
from common.mixture import GaussianMixture
from common.toy import MixtureToy

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
    try:
        points = np.load(path, allow_pickle=False) if path.suffix == ".npy" else _read_text(path)
    except (OSError, ValueError) as error:
        raise UserError(
            f"cannot read points from '{path}' ({error}): expected .npy or text with two columns"
        ) from error
    if points.ndim != 2 or points.shape[1] != 2 or len(points) < 2 or not np.isfinite(points).all():
        raise UserError(f"'{path}' holds an array of shape {points.shape}: expected finite points (n, 2), n >= 2")
    return np.ascontiguousarray(points, dtype=np.float64)


def _read_text(path: Path) -> np.ndarray:
    rows = [_cells(line) for line in path.read_text().splitlines() if line.strip()]
    named = [row for row in rows if len(row) == 3 and row[0] == "dino"]
    numbers = [row[1:] for row in named] if named else [row for row in rows if _is_number(row[0])]
    return np.array([[float(cell) for cell in row] for row in numbers])


def _cells(line: str) -> list[str]:
    separated = next((mark for mark in ("\t", ",") if mark in line), None)
    return [cell.strip() for cell in next(csv.reader([line], delimiter=separated))] if separated else line.split()


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
