"""The two halves of a data set in canonical coordinates, one network for each, ready for training as one batch."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from common.mi.canonical import fit_canonical

VALIDATION = 6
"""One part in this many of a training half is kept from training, to choose how far to trust what was learned."""


@dataclass(frozen=True)
class Pairs:
    """Pairs of k members: x (k, n, dx), y (k, n, dy), float32."""

    x: Tensor
    y: Tensor

    def draw(self, batch: int, source: torch.Generator) -> tuple["Pairs", Tensor]:
        """A random batch of pairs of each member, and the rows (k, batch) that it is made of."""
        k, n = self.x.shape[:2]
        rows = torch.randint(n, (k, batch), generator=source)
        return self.take(rows), rows

    def take(self, rows: Tensor) -> "Pairs":
        """The pairs in these rows (k, b) of each member."""
        return Pairs(rows_of(self.x, rows), rows_of(self.y, rows))

    def repeated(self, times: int) -> "Pairs":
        """The members over again: (times k, n, .)."""
        return Pairs(self.x.repeat(times, 1, 1), self.y.repeat(times, 1, 1))

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
        rho: (k, 1, dx) canonical correlations.
        maps: names of the maps of x and y in each member.
    """

    train: Pairs
    validation: Pairs
    test: Pairs
    rho: Tensor
    maps: tuple[str, ...]


def rows_of(values: Tensor, rows: Tensor) -> Tensor:
    """values (k, n, d) at rows (k, b): (k, b, d)."""
    return torch.gather(values, 1, rows[..., None].expand(-1, -1, values.shape[-1]))


def split(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the two halves of n examples in random order; of an odd number one example is left out."""
    order = np.random.default_rng(seed).permutation(n)
    return order[: n // 2], order[n // 2 : 2 * (n // 2)]


def make_halves(x: np.ndarray, y: np.ndarray, parts: tuple[np.ndarray, np.ndarray]) -> Halves:
    """Map the pairs x (n, dx), y (n, dy) twice: coordinates fitted on either of the halves `parts`.

    Collinear directions are dropped; where the halves differ in how many, both keep the fewer.
    """
    fitted = [fit_canonical(x[part], y[part]) for part in parts]
    trained = [one(x[part], y[part]) for one, part in zip(fitted, parts, strict=True)]
    tested = [one(x[part], y[part]) for one, part in zip(fitted, parts[::-1], strict=True)]
    dx, dy = (min(pair[side].shape[1] for pair in trained) for side in (0, 1))
    whole, test = _stack(trained, dx, dy), _stack(tested, dx, dy)
    held = max(len(whole) // VALIDATION, 1)
    rho = torch.from_numpy(np.stack([one.rho[:dx] for one in fitted])).float()[:, None]
    maps = tuple(f"{one.x_side.name}, {one.y_side.name}" for one in fitted)
    return Halves(whole[held:], whole[:held], test, rho, maps)


def _stack(members: list[tuple[np.ndarray, np.ndarray]], dx: int, dy: int) -> Pairs:
    x, y = (np.stack([pair[side][:, :d] for pair in members]) for side, d in ((0, dx), (1, dy)))
    return Pairs(torch.from_numpy(x).float(), torch.from_numpy(y).float())
