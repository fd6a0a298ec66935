"""A measured curve of denoising errors (raw, and of values rounded to a grid), from which every NLL is algebra."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor

from infolab.errors import UserError
from infolab.immse.grid import LogsnrGrid
from infolab.immse.reference import GaussianReference

# ----------
# Data on a grid: rounding a denoised value to its bins, hard or softly, without a table of all bins for all values.

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


# ----------
# A measured curve of denoising errors: sums over groups of examples, from which every NLL is algebra.

GROUPS = 256
"""Examples are summed in this many groups (example i in group i mod 256), so memory does not grow with their number.

Standard errors are the spread of the groups: exact up to 256 examples, beyond that known to 4%. Even groups are one
half of the examples, odd groups the other: what is chosen on one half is evaluated on the other.
"""
LEAST_FIT = 32  # examples a half needs before the control's coefficient is fitted


@dataclass(frozen=True, eq=False)
class Curve:
    """Errors |eps - eps_hat|^2 of one denoiser along the log-SNR axis, summed over examples in groups.

    A kind is a way to use eps_hat: "raw"; for data on a grid also "hard" and "soft" (rounded), with "raw" clamped to
    the data's range; "dequantized", on x + D (u - 1/2). Beside each kind runs the Gaussian reference on the same x and
    eps: "gaussian" is the mean of its error over eps, "control" the deviation from it (mean 0 given x).

    Attributes:
        kinds: names of the network's own curves.
        grid: log-SNR points and weights.
        n: number of examples.
        d: dimensions of one example.
        reference: the Gaussian.
        bins: the data's grid, or None.
        counts: examples in each group (G,).
        sums: sums of errors, kind -> (G, J).
        log_normal: sums of log N(x; mu, Sigma), "raw" or "dequantized" -> (G,); empty where there is no density. "raw"
            of data on a grid is the mass (`GaussianReference.log_mass_of_projected`).
        products: sums over each half of target times control, of the two targets in `_slopes`, kind -> (2, 2, J).
        target_squares: sums over each half of the two targets' squares, kind -> (2, 2, J).
        control_squares: sums over each half of the squared control, "raw" or "dequantized" -> (2, J).
        evaluations: network evaluations (rows that went through the network).
    """

    kinds: tuple[str, ...]

    grid: LogsnrGrid
    n: int
    d: int
    reference: GaussianReference
    bins: Bins | None
    counts: Tensor
    sums: dict[str, Tensor]
    log_normal: dict[str, Tensor]
    products: dict[str, Tensor]
    target_squares: dict[str, Tensor]
    control_squares: dict[str, Tensor]
    evaluations: int

    def mean(self, kind: str, control: str = "fitted") -> Tensor:
        """Mean error at each log-SNR, (J,)."""
        return self.errors(kind, control).sum(0) / self.n

    def se(self, kind: str, control: str = "fitted") -> Tensor:
        """Standard error over examples and noise of `mean`, (J,)."""
        return self.spread(self.errors(kind, control))[1]

    def gaussian(self, kind: str = "raw") -> Tensor:
        """Sums of the Gaussian denoiser's error on the same examples, its mean over eps, (G, J)."""
        return self.sums[_beside("gaussian", kind)]

    def errors(self, kind: str, control: str = "fitted") -> Tensor:
        """Sums (G, J) of |eps - eps_hat|^2 - beta times the control, whose mean is that of |eps - eps_hat|^2.

        Args:
            kind: one of `kinds`.
            control: fitted: beta(a) is the regression of error on control over the other half of the examples (so no
                bias comes from fitting); unit: beta = 1; none: beta = 0. With few examples "fitted" is "unit" for
                data with a density and "none" for data on a grid.
        """
        if control == "fitted" and int(self._half_counts().min()) < LEAST_FIT:
            control = "unit" if kind == "dequantized" or self.bins is None else "none"
        if control == "none":
            return self.sums[kind]
        own = self.sums[_beside("control", kind)]
        beta = torch.ones(2, len(self.grid), dtype=torch.float64) if control == "unit" else self._slopes(kind)
        return self.sums[kind] - beta.flip(0)[self.half()] * own

    def half(self) -> Tensor:
        """Which half (0 or 1) each group belongs to, (G,)."""
        return torch.arange(len(self.counts)) % 2

    def half_mean(self, sums: Tensor) -> Tensor:
        """Means over each half of the examples, (2, ...), of sums (G, ...)."""
        halves = torch.stack([sums[::2].sum(0), sums[1::2].sum(0)])
        counts = self._half_counts().clamp(min=1)
        return halves / counts.reshape(2, *[1] * (sums.ndim - 1))

    def spread(self, sums: Tensor, groups: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mean over examples of sums (G, ...), and its standard error from the spread of the groups.

        Args:
            sums: by group; rows of `groups` only, where given.
            groups: mask (G,) of the groups that are taken; None: all.

        Raises:
            UserError: a single example has no standard error.
        """
        counts = self.counts if groups is None else self.counts[groups]
        n, used = float(counts.sum()), int((counts > 0).sum())
        if used < 2:
            raise UserError("a standard error needs at least two examples (four to choose denoisers): use more")
        mean = sums.sum(0) / n
        squares = (sums - counts.reshape(-1, *[1] * (sums.ndim - 1)) * mean).square().sum(0) * used / (used - 1)
        return mean, squares.sqrt() / n

    def _half_counts(self) -> Tensor:
        return torch.stack([self.counts[::2].sum(), self.counts[1::2].sum()])

    def _slopes(self, kind: str) -> Tensor:
        """Coefficient of the control in the regression of the error on it, over each half, (2, J).

        The regression is done twice: of the error as it is, and of error - gaussian - control, to whose coefficient 1
        is added. The one whose target varies less over the examples is known better and is taken: where the denoiser is
        like the Gaussian's the second, which gives 1 up to rounding when it is the Gaussian's.
        """
        n = self._half_counts()[:, None]
        control = self.sums[_beside("control", kind)]
        mean = self.half_mean(control)
        targets = torch.stack([self.half_mean(v) for v in _targets(self.sums[kind], self.gaussian(kind), control)])
        variance = self.control_squares[_base(kind)] / n - mean**2
        coefficient = (self.products[kind] / n - targets * mean) / variance.clamp(min=1e-300)
        spread = self.target_squares[kind] / n - targets**2
        best = torch.where(spread[1] <= spread[0], 1 + coefficient[1], coefficient[0])
        return torch.where(variance > 0, best, 1.0)


def empty_curve(
    grid: LogsnrGrid, reference: GaussianReference, bins: Bins | None, kinds: Sequence[str], groups: int = GROUPS
) -> Curve:
    """A curve of no examples, to which `add` adds; with as many groups as examples it keeps every example apart."""
    J = len(grid)
    bases = list(dict.fromkeys(_base(kind) for kind in kinds))
    names = [*kinds, *(_beside(part, base) for base in bases for part in ("gaussian", "control"))]
    return Curve(
        kinds=tuple(kinds), grid=grid, n=0, d=reference.d, reference=reference, bins=bins,
        counts=torch.zeros(groups, dtype=torch.float64),
        sums={name: torch.zeros(groups, J, dtype=torch.float64) for name in names},
        log_normal={base: torch.zeros(groups, dtype=torch.float64) for base in bases},
        products={kind: torch.zeros(2, 2, J, dtype=torch.float64) for kind in kinds},
        target_squares={kind: torch.zeros(2, 2, J, dtype=torch.float64) for kind in kinds},
        control_squares={base: torch.zeros(2, J, dtype=torch.float64) for base in bases},
        evaluations=0,
    )  # fmt: skip


def add(
    curve: Curve, group: Tensor, columns: dict[str, Tensor], log_normal: dict[str, Tensor], evaluations: int
) -> Curve:
    """Add a block of b examples to the curve (in place) and return it with its new counts.

    Args:
        curve: of the same kinds.
        group: group of each example (b,).
        columns: errors of every kind, and "gaussian", "control" of each base, name -> (b, J) float64.
        log_normal: log N(x), or the log mass, base -> (b,); bases that are missing are dropped from the curve.
        evaluations: network evaluations spent.
    """
    curve.counts.index_add_(0, group, torch.ones(len(group), dtype=torch.float64))
    for name, values in columns.items():
        curve.sums[name].index_add_(0, group, values)
    for base in [base for base in curve.log_normal if base not in log_normal]:
        del curve.log_normal[base]
    for base, values in log_normal.items():
        curve.log_normal[base].index_add_(0, group, values)
    half = group % 2
    for kind, product in curve.products.items():
        gaussian, control = (columns[_beside(part, kind)] for part in ("gaussian", "control"))
        target = torch.stack(_targets(columns[kind], gaussian, control))
        product.index_add_(1, half, target * control)
        curve.target_squares[kind].index_add_(1, half, target.square())
    for base, square in curve.control_squares.items():
        square.index_add_(0, half, columns[_beside("control", base)].square())
    return replace(curve, n=curve.n + len(group), evaluations=curve.evaluations + evaluations)


def merge(curves: Sequence[Curve]) -> Curve:
    """The curve of all examples of several, measured on the same grid (shards of a data set on several processes).

    Raises:
        UserError: different grids, or none at all.
    """
    if not curves or any(not torch.equal(curve.grid.logsnr, curves[0].grid.logsnr) for curve in curves):
        raise UserError("curves of different log-SNR points cannot be merged: measure them on one grid")
    first = curves[0]

    def joined(name: str) -> dict[str, Tensor]:
        parts = [getattr(curve, name) for curve in curves]
        return {key: torch.stack([part[key] for part in parts]).sum(0) for key in parts[0]}

    return replace(
        first, n=sum(curve.n for curve in curves), counts=torch.stack([curve.counts for curve in curves]).sum(0),
        sums=joined("sums"), log_normal=joined("log_normal"), products=joined("products"),
        target_squares=joined("target_squares"), control_squares=joined("control_squares"),
        evaluations=sum(curve.evaluations for curve in curves),
    )  # fmt: skip


def tail_from_ends(gap: Tensor, se: Tensor) -> float:
    """What may lie outside the range, from the gap Gaussian - denoiser at the two ends (J,), in nats.

    On the left both errors are E|x - x_hat|^2 e^a, and the gap falls like e^a or faster, so 1/2 Int gap <= gap/2. On
    the right it falls like e^-a for a smooth density and like e^(-a/2) for one with edges, so 1/2 Int gap <= gap. A gap
    below 0 has no tail: outside the range the Gaussian's denoiser stands in for the network.
    """
    most = torch.clamp(gap + se, min=0.0)
    return float(most[0]) / 2 + float(most[-1])


def log_mass_tail(bins: Bins, d: int, logsnr: float) -> float:
    """Bound of 1/2 Int_a^oo E|eps - eps_hat|^2 da when z is rounded to the nearest bin (hard rounding), in nats.

    d sum_{j >= 1} 2/(j - 1/2) exp(-(j - 1/2)^2 D^2 e^a / 2).
    """
    precision = bins.step**2 * math.exp(logsnr)
    halves = [j - 0.5 for j in range(1, max(2, min(bins.count, 50)))]
    return d * sum(2 / h * math.exp(-(h**2) * precision / 2) for h in halves)


def _targets(error: Tensor, gaussian: Tensor, control: Tensor) -> list[Tensor]:
    """What is regressed on the control, see `Curve._slopes`."""
    return [error, error - gaussian - control]


def _base(kind: str) -> str:
    return "dequantized" if kind.endswith("dequantized") else "raw"


def _beside(part: str, kind: str) -> str:
    """Name of the Gaussian's column that belongs to a kind."""
    return f"{part}_dequantized" if _base(kind) == "dequantized" else part
