"""A measured curve of denoising errors: sums over groups of examples, from which every NLL is algebra."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from common.errors import UserError
from common.immse.grid import LogsnrGrid
from common.immse.reference import GaussianReference
from common.immse.rounding import Bins

GROUPS = 256
"""Examples are summed in this many groups (example i in group i mod 256), so memory does not grow with their number.

Standard errors are the spread of the groups: exact up to 256 examples, beyond that known to 4%. Even groups are one
half of the examples, odd groups the other: what is chosen on one half is evaluated on the other.
"""
LEAST_FIT = 32  # examples a half needs before the control's coefficient is fitted
CONTROLS = ("fitted", "unit", "none")


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
