"""Canonical coordinates of a pair, and the two halves of a data set in them, ready for training as one batch."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from infolab.device import staged
from infolab.errors import RunFailedError
from infolab.mi.sides import Gaussianiser, fit_gaussianiser

# ----------
# Canonical coordinates of a pair: both sides white, and correlated coordinate by coordinate.

Array = np.ndarray
LARGEST_RHO2 = 1 - 1e-12
"""Squared correlations from here on (13.8 nats a coordinate) cannot be told from 1 in double precision."""
DETERMINED = (
    "the estimate of the mutual information is not finite: where one side determines the other it is infinite; "
    "check the data for coordinates that x and y share"
)


@dataclass(frozen=True)
class Canonical:
    """Maps of both sides, fitted on one half of the data.

    Attributes:
        x_side: the invertible map of x to white coordinates.
        y_side: the same of y.
        x_rotation: orthogonal (dx, dx).
        y_rotation: orthogonal (dy, dy).
        rho: (dx,) correlations of the first min(dx, dy) coordinates, shrunk; 0 for the others.
    """

    x_side: Gaussianiser
    y_side: Gaussianiser
    x_rotation: Array
    y_rotation: Array
    rho: Array

    def __call__(self, x: Array, y: Array) -> tuple[Array, Array]:
        """Canonical coordinates (n, dx') and (n, dy') of pairs x, y."""
        return self.x_side(x) @ self.x_rotation, self.y_side(y) @ self.y_rotation


def fit_canonical(x: Array, y: Array, draws: int | None = None) -> Canonical:
    """Canonical correlation analysis of the Gaussianised sides of pairs x (n, dx), y (n, dy).

    Args:
        x: one side.
        y: the other.
        draws: how many independent draws the n pairs are worth; None: n.

    Raises:
        RunFailedError: one side determines a coordinate of the other.
    """
    x_side, y_side = fit_gaussianiser(x), fit_gaussianiser(y)
    u, v = x_side(x), y_side(y)
    u, v = u - u.mean(0), v - v.mean(0)
    # Radial maps leave the sides white up to sampling error: the cross-covariance is taken between whitened ones.
    left, found, right = np.linalg.svd(_inverse_root(u) @ (u.T @ v / len(u)) @ _inverse_root(v), full_matrices=True)
    rho = np.zeros(u.shape[1])
    rho[: len(found)] = shrink(found, draws or len(u), u.shape[1], v.shape[1])
    return Canonical(x_side, y_side, left, right.T, rho)


def null_edge(n: int, dx: int, dy: int) -> float:
    """The largest squared sample canonical correlation of n pairs of independent sides (Wachter 1980).

    (sqrt(c1 (1 - c2)) + sqrt(c2 (1 - c1)))^2 with c1 = dx/n, c2 = dy/n; 1 where c1 + c2 >= 1.

    >>> round(null_edge(200, 10, 150), 3), null_edge(100, 90, 10)
    (0.914, 1.0)
    """
    c1, c2 = dx / n, dy / n
    if c1 + c2 >= 1:
        return 1.0
    return float((np.sqrt(c1 * (1 - c2)) + np.sqrt(c2 * (1 - c1))) ** 2)


def shrink(rho: Array, n: int, dx: int, dy: int) -> Array:
    """Canonical correlations without what n independent pairs would show: rho^2 -> (rho^2 - c)/(1 - c), at least 0.

    c is `null_edge`: correlations below it are no evidence of any.

    >>> shrink(np.array([0.05, 0.9]), 1000, 2, 2).round(3).tolist()
    [0.0, 0.899]

    Raises:
        RunFailedError: a correlation cannot be told from 1, which n independent pairs would not show.
    """
    c = null_edge(n, dx, dy)
    if c >= 1:
        return np.zeros_like(rho)
    if np.square(rho).max(initial=0.0) >= LARGEST_RHO2:
        raise RunFailedError(DETERMINED)
    return np.sqrt(np.clip((np.square(rho) - c) / (1 - c), 0, 1))


def _inverse_root(u: Array) -> Array:
    variances, directions = np.linalg.eigh(u.T @ u / len(u))
    return (directions / np.sqrt(np.maximum(variances, 1e-12))) @ directions.T


# ----------
# The two halves of a data set in canonical coordinates, one network for each, ready for training as one batch.

VALIDATION = 6
"""One part in this many of a training half is kept from training, to choose how far to trust what was learned."""

ATOM = 20
"""A pair that one row in this many has, or more, is an atom of the distribution and not a copied example."""
GRID = 0.01
"""Share of a step by which a value may be off the grid: levels over 255 in single precision are off by 0.002."""
MISSING = 30
"""A grid has at most so many steps for each value that lies on it."""


@dataclass(frozen=True)
class Pairs:
    """Pairs of k members: x (k, n, dx), y (k, n, dy), float32, on one device."""

    x: Tensor
    y: Tensor

    def draw(self, batch: int, source: torch.Generator) -> "Pairs":
        """A random batch of pairs of each member."""
        return self.take(*staged(self.x.device, self.draw_rows(batch, source)))

    def draw_rows(self, batch: int, source: torch.Generator) -> Tensor:
        """Rows (k, batch) of a random batch of each member, on the CPU."""
        k, n = self.x.shape[:2]
        return torch.randint(n, (k, batch), generator=source)

    def take(self, rows: Tensor) -> "Pairs":
        """The pairs in these rows (k, b) of each member."""
        return Pairs(rows_of(self.x, rows), rows_of(self.y, rows))

    def repeated(self, times: int) -> "Pairs":
        """The members over again: (times k, n, .)."""
        return Pairs(self.x.repeat(times, 1, 1), self.y.repeat(times, 1, 1))

    def to(self, device: torch.device | str) -> "Pairs":
        """The pairs on a device."""
        return Pairs(self.x.to(device), self.y.to(device))

    def __getitem__(self, part: slice) -> "Pairs":
        return Pairs(self.x[:, part], self.y[:, part])

    def __len__(self) -> int:
        return self.x.shape[1]


@dataclass(frozen=True)
class Halves:
    """Member j trains and validates on one half and is tested on the other, in coordinates fitted on its own half.

    Attributes:
        train: pairs to train on.
        validation: pairs of the same half that choose the stopping point.
        test: pairs of the other half.
        rho: (k, 1, dx) canonical correlations, in double precision and on the CPU.
        maps: names of the maps of x and y in each member.
    """

    train: Pairs
    validation: Pairs
    test: Pairs
    rho: Tensor
    maps: tuple[str, ...]

    def to(self, device: torch.device | str) -> "Halves":
        """The halves on a device."""
        train, validation, test = (part.to(device) for part in (self.train, self.validation, self.test))
        return Halves(train, validation, test, self.rho, self.maps)


def rows_of(values: Tensor, rows: Tensor) -> Tensor:
    """values (k, n, d) at rows (k, b): (k, b, d)."""
    return torch.gather(values, 1, rows[..., None].expand(-1, -1, values.shape[-1]))


def copies(x: np.ndarray, y: np.ndarray, labels: tuple[bool, bool]) -> np.ndarray:
    """Which rows are copies of one pair: the same number for all copies, (n,) from 0 on.

    Rows that agree need not be copies: labels, counts and grey levels coincide by themselves, and so do clipped values.
    Equal rows count as copies where one of their coordinates is continuous: its values do not lie on a grid, the one in
    this row stands in no other pair, and fewer than one row in `ATOM` has it. Copies of pairs that are all labels, or
    all on a grid, are therefore not seen.

    Args:
        x: (n, dx).
        y: (n, dy).
        labels: whether x, and y, is a class label.
    """
    n = len(x)
    distinct, index, counts = np.unique(np.column_stack([x, y]), axis=0, return_inverse=True, return_counts=True)
    if len(distinct) == n:
        return np.arange(n)
    sides = np.split(distinct, [x.shape[1]], axis=1)
    columns = [column for side, label in zip(sides, labels, strict=True) if not label for column in side.T]
    alone = np.zeros(len(distinct), dtype=bool)
    for column in columns:
        values, place, times = np.unique(column, return_inverse=True, return_counts=True)
        if not _on_grid(values, len(distinct)):
            alone |= times[place] == 1
    index = index.reshape(-1)
    own = (alone & (counts * ATOM <= n))[index]
    return np.unique(np.where(own, index, len(distinct) + np.arange(n)), return_inverse=True)[1].reshape(-1)


def split(groups: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of two halves of equal size in random order, all copies of a pair in the same half, one after the other.

    A group may be cut short where a half ends; as many rows are left out as the halves would differ by (where all rows
    are distinct, one of an odd number).

    Args:
        groups: which rows are copies of one pair, (n,), see `copies`.
        seed: of the order.
    """
    n = len(groups)
    order = np.random.default_rng(seed).permutation(n)
    _, first, number = np.unique(groups[order], return_index=True, return_inverse=True)
    order = order[np.argsort(first[number.reshape(-1)], kind="stable")]
    starts = np.flatnonzero(np.diff(groups[order])) + 1
    cut = int(starts[np.abs(starts - n // 2).argmin()])
    size = min(cut, n - cut)
    return order[:size], order[cut : cut + size]


def make_halves(x: np.ndarray, y: np.ndarray, parts: tuple[np.ndarray, np.ndarray], draws: int | None = None) -> Halves:
    """Map the pairs x (n, dx), y (n, dy) twice: coordinates fitted on either of the halves `parts`.

    Collinear directions are dropped; where the halves differ in how many, both keep the fewer. `draws` is how many
    independent draws each half is worth (None: its pairs).
    """
    fitted = [fit_canonical(x[part], y[part], draws) for part in parts]
    trained = [one(x[part], y[part]) for one, part in zip(fitted, parts, strict=True)]
    tested = [one(x[part], y[part]) for one, part in zip(fitted, parts[::-1], strict=True)]
    dx, dy = (min(pair[side].shape[1] for pair in trained) for side in (0, 1))
    whole, test = _stack(trained, dx, dy), _stack(tested, dx, dy)
    held = max(len(whole) // VALIDATION, 1)
    rho = torch.from_numpy(np.stack([one.rho[:dx] for one in fitted]))[:, None]
    maps = tuple(f"{one.x_side.name}, {one.y_side.name}" for one in fitted)
    return Halves(whole[held:], whole[:held], test, rho, maps)


def _on_grid(values: np.ndarray, rows: int) -> bool:
    """Whether increasing values (k,) of so many rows are tied whole numbers, or have equal steps, most of them taken.

    Large floating-point numbers are whole numbers and lie on a grid too, of their last digit: neither is one that the
    data show, as few of them are tied and most steps are missing.
    """
    if len(values) < 3 or (len(values) <= rows // 2 and (values == np.round(values)).all()):
        return True
    span = values[-1] - values[0]
    steps = np.round(span / np.diff(values).min())
    if steps > MISSING * len(values):
        return False
    position = (values - values[0]) / span * steps
    return bool(np.abs(position - np.round(position)).max() < GRID)


def _stack(members: list[tuple[np.ndarray, np.ndarray]], dx: int, dy: int) -> Pairs:
    x, y = (np.stack([pair[side][:, :d] for pair in members]) for side, d in ((0, dx), (1, dy)))
    return Pairs(torch.from_numpy(x).float(), torch.from_numpy(y).float())
