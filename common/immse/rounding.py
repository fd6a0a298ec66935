"""Data on a grid: rounding a denoised value to its bins, hard or softly, without a table of all bins for all values."""

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from common.errors import UserError

NEGLIGIBLE = 44.0  # bins whose weight is below e^-44 of the nearest one's are left out
WIDTH = 0.9  # kernels of at least this many steps are read off a table, narrower ones summed over the nearest bins
NODES = 8  # table nodes per step
SMALL = 1024  # bins up to which a table of all nodes and bins is small
TABLE_ELEMENTS = 1 << 20  # numbers of a table that are computed at a time


@dataclass(frozen=True)
class Bins:
    """The values low, low + D, ..., low + (count - 1) D that discrete data takes.

    Attributes:
        low: smallest value.
        step: D > 0.
        count: number of bins, >= 2.
    """

    low: float
    step: float
    count: int

    def __post_init__(self) -> None:
        if not (self.step > 0 and self.count >= 2):
            raise UserError(f"a grid of {self.count} bins of step {self.step}: expected at least 2, and a step above 0")

    @classmethod
    def of_levels(cls, levels: int) -> "Bins":
        """Q grey levels on [-1, 1]: step 2/(Q - 1).

        >>> 2 / Bins.of_levels(256).step
        255.0
        """
        return cls(-1.0, 2 / (levels - 1), levels)

    @classmethod
    def of_data(cls, x: Tensor, step: float) -> "Bins":
        """The grid of step D that runs from the smallest to the largest value of x.

        Raises:
            UserError: a value is off the grid by more than a thousandth of a step.
        """
        low, high = float(x.min()), float(x.max())
        bins = cls(low, step, max(2, round((high - low) / step) + 1) if step > 0 else 0)
        bins.check(x)
        return bins

    @property
    def high(self) -> float:
        """Largest value."""
        return self.low + (self.count - 1) * self.step

    def check(self, x: Tensor) -> None:
        """Refuse data that is off the grid.

        Raises:
            UserError: by more than a thousandth of a step, or outside [low, high].
        """
        k = (x.double() - self.low) / self.step
        worst = float((k - k.round()).abs().max())
        if worst > 1e-3 or float(k.min()) < -0.5 or float(k.max()) > self.count - 0.5:
            raise UserError(
                f"data from {float(x.min()):g} to {float(x.max()):g} is not on the grid {self.low:g} + k "
                f"{self.step:g}, k < {self.count} (off by {worst:.3g} steps): give the right step, or leave it out"
            )

    def clamp(self, x_hat: Tensor) -> Tensor:
        """x_hat within [low, high]."""
        return x_hat.clamp(self.low, self.high)

    def hard(self, x_hat: Tensor) -> Tensor:
        """The nearest bin of each value."""
        k = torch.round((x_hat - self.low) / self.step).clamp(0, self.count - 1)
        return self.low + self.step * k

    def soft(self, x_hat: Tensor, logsnr: Tensor) -> Tensor:
        """sum_b b softmax_b(-(x_hat - b)^2 (1 + gamma) / 2) over the bins b, gamma = e^logsnr (Kong et al. 2023).

        A number to a number for each gamma: where the kernel is wide it is smooth and interpolated in a table (cubic
        Hermite, exact slopes (1 + gamma) Var(b)), where it is narrow only the bins near x_hat have weight. Exact up to
        rounding either way (1e-6 of a step, tested).

        Args:
            x_hat: (n, ...) denoised values.
            logsnr: a of each row, (n,).

        Returns:
            Like x_hat.
        """
        out = torch.empty_like(x_hat)
        levels, which = torch.unique(logsnr.detach().cpu().double(), return_inverse=True)
        which = which.to(x_hat.device)
        for i, a in enumerate(levels.tolist()):
            out[which == i] = self.soft_at(x_hat[which == i], a)
        return out

    def soft_at(self, x_hat: Tensor, logsnr: float) -> Tensor:
        """`soft` where all rows have one log-SNR."""
        x, precision = self.clamp(x_hat), 1 + math.exp(logsnr)
        wide = precision * (WIDTH * self.step) ** 2 <= 1
        return self._interpolated(x, precision) if wide else self._summed(x, precision)

    def _summed(self, x: Tensor, precision: float) -> Tensor:
        """The sum over the nearest bin r and k bins on either side, in units of steps from r."""
        sharpness = precision * self.step**2 / 2
        reach = min(int((NEGLIGIBLE / sharpness) ** 0.5) + 1, self.count - 1)
        r = torch.round((x - self.low) / self.step).clamp(0, self.count - 1)
        rest = (x - self.low) / self.step - r
        mass, moment = torch.ones_like(x), torch.zeros_like(x)
        for k in (k for k in range(-reach, reach + 1) if k):
            # (rest - k)^2 - rest^2 = k^2 - 2 k rest
            weight = torch.exp(-sharpness * (k * k - 2 * k * rest))
            weight = torch.where((r + k >= 0) & (r + k <= self.count - 1), weight, 0.0)
            mass, moment = mass + weight, moment + k * weight
        return self.low + self.step * (r + moment / mass)

    def _interpolated(self, x: Tensor, precision: float) -> Tensor:
        """Cubic Hermite interpolation between the nodes of `_table`, in units of steps."""
        table = _table if self.count <= SMALL else _windowed_table
        values, slopes, nodes = table(self.count, precision * self.step**2)
        values, slopes = values.to(x), slopes.to(x)
        position = ((x - self.low) * (nodes / self.step)).clamp(0, len(values) - 1)
        left = position.floor().clamp(max=len(values) - 2)
        t, i = position - left, left.long()
        # The table holds the displacement value - node, which keeps float32's precision.
        v0, v1, m0, m1 = values[i], values[i + 1], slopes[i], slopes[i + 1]
        s = 1 - t
        moved = s * s * (1 + 2 * t) * v0 + t * t * (1 + 2 * s) * v1 + t * s * (s * m0 - t * m1)
        return self.low + self.step * (position / nodes + moved)


@lru_cache(maxsize=256)
def _table(count: int, precision: float) -> tuple[Tensor, Tensor, float]:
    """Displacement of the soft-rounded value at nodes x = 0, 1/NODES, ..., count - 1 steps, its slope per node, NODES.

    precision is (1 + gamma) D^2, that of the kernel in units of steps.
    """
    bins = torch.arange(count, dtype=torch.float64)
    nodes = torch.arange((count - 1) * NODES + 1, dtype=torch.float64) / NODES
    weights = torch.softmax(-precision / 2 * (nodes[:, None] - bins) ** 2, 1)
    mean = weights @ bins
    variance = weights @ bins.square() - mean**2
    return mean - nodes, (precision * variance - 1) / NODES, NODES


@lru_cache(maxsize=8)  # megabytes each
def _windowed_table(count: int, precision: float) -> tuple[Tensor, Tensor, float]:
    """The same for many bins: nodes an eighth of the kernel's width apart, each over the bins that have weight there.

    The work is some hundred terms a bin, and memory that of one block, where all bins at all nodes would be 4 TB for
    65,536 levels.
    """
    width = precision**-0.5
    spacing = (count - 1) / math.ceil((count - 1) / max(1 / NODES, width / NODES))
    nodes = torch.arange(round((count - 1) / spacing) + 1, dtype=torch.float64) * spacing
    reach = min(count - 1, math.ceil((2 * NEGLIGIBLE) ** 0.5 * width) + 1)
    around = torch.arange(-reach, reach + 1, dtype=torch.float64)
    moved, slopes = [], []
    for block in nodes.split(max(1, TABLE_ELEMENTS // len(around))):
        bins = block.round()[:, None] + around
        apart = bins - block[:, None]
        exponents = torch.where((bins >= 0) & (bins <= count - 1), -precision / 2 * apart**2, -math.inf)
        weights = torch.softmax(exponents, 1)
        mean = (weights * apart).sum(1)
        variance = (weights * (apart - mean[:, None]) ** 2).sum(1)
        moved.append(mean)
        slopes.append((precision * variance - 1) * spacing)
    return torch.cat(moved), torch.cat(slopes), 1 / spacing
