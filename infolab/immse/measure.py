"""Measuring denoising errors: the network is called here; and the range of log-SNRs beyond which nothing matters."""

import math
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from infolab.data.images import dequantization_noise
from infolab.denoise import Denoiser, check_model
from infolab.errors import RunFailedError, UserError
from infolab.immse.curve import Bins, Curve, add, empty_curve, log_mass_tail
from infolab.immse.grid import LogsnrGrid, LogsnrRange, with_tail
from infolab.immse.reference import GaussianReference
from infolab.noise import blocks, curve_noise
from infolab.schedules import logsnr_to_alpha_sigma

# ----------
# Measuring a curve: the network is called here, once for raw, hard- and soft-rounded errors together.

ELEMENTS = 1 << 19  # numbers in one network call's input, unless `batch` says otherwise


@torch.no_grad()
def measure_curve(
    denoiser: Denoiser,
    x: Tensor,
    grid: LogsnrGrid,
    reference: GaussianReference,
    *,
    bins: Bins | None = None,
    dequantized: bool = False,
    noise: str = "quasi",
    antithetic: bool = False,
    seed: int = 0,
    batch: int = 0,
    transform: Callable[[Tensor], Tensor] | None = None,
    store: Path | None = None,
    first: int = 0,
    so_far: Curve | None = None,
) -> Curve:
    """Errors |eps - eps_hat|^2 of a denoiser on all examples at all points of a grid, streaming.

    Data and noise are functions of (seed, index of the example, index of the point), so the result does not depend on
    `batch` beyond rounding, and two denoisers measured with one seed see the same z. Errors are summed in float64.

    Args:
        denoiser: the model; called with the dtype and device of the examples.
        x: examples (n, ...), or anything that `transform` makes examples of (grey levels, say).
        grid: log-SNR points.
        reference: Gaussian of the same data scale.
        bins: the grid of discrete data; adds the kinds "hard" and "soft" and clamps "raw" to the data's range.
        dequantized: also measure x + D (u - 1/2), with one more call of the network (bins needed).
        noise: see `curve_noise`.
        antithetic: evaluate eps and -eps (twice the calls).
        seed: of eps and u.
        batch: rows per network call; 0: about half a million numbers.
        transform: applied to each block of examples, to change scale, dtype or device.
        store: a .npy file for the errors of each example, (n, kinds, J) float32, appearing when all is done; the kinds
            are those of `Curve.kinds` in order.
        first: index of x[0] in its data set, where x is a shard of it.
        so_far: the curve of earlier examples, which these are added to (in place).

    Raises:
        UserError: shapes that do not fit.
        RunFailedError: the network returns a value that is not finite.
    """
    check_model(denoiser)
    if dequantized and bins is None:
        raise UserError("a dequantised curve needs the data's grid: give bins")
    kinds = kinds_of(bins, dequantized)
    curve = so_far or empty_curve(grid, reference, bins, kinds)
    d, J = x[0].numel(), len(grid)
    if d != reference.d:
        raise UserError(f"examples of {d} dimensions and a Gaussian reference of {reference.d}: fit it to such data")
    rows = rows_of_a_call(batch, d)
    rest = None if bins is None or not dequantized else reference.dequantized(bins.step)
    has_density = bool((reference.spectrum > 0).all())
    with _Store(store, (len(x), len(kinds), J)) as file:
        for block in blocks(len(x), rows // J, first):
            start = first + block.start
            part = x[block] if transform is None else transform(x[block])
            channel = _Channel(denoiser, grid, noise, antithetic, seed, rows, start)
            projected, log_normal = reference.project(part), {}
            columns = channel.errors(part, projected, reference, bins)
            if has_density and bins is not None:
                log_normal["raw"] = reference.log_mass_of_projected(projected, bins.step)
            elif has_density:
                log_normal["raw"] = reference.log_prob_of_projected(projected)
            if rest is not None and bins is not None:
                u = dequantization_noise(tuple(part.shape), seed, start).to(part)
                moved = part + bins.step * (u - 0.5)
                projected = rest.project(moved)
                more = channel.errors(moved, projected, rest, None)
                columns |= {"dequantized": more.pop("raw"), **{f"{k}_dequantized": v for k, v in more.items()}}
                log_normal["dequantized"] = rest.log_prob_of_projected(projected)
            group = (start + torch.arange(len(part))) % len(curve.counts)
            curve = add(curve, group, columns, log_normal, len(part) * J * (1 + antithetic) * (1 + dequantized))
            file.put(block, torch.stack([columns[kind] for kind in kinds], 1))
    return curve


def kinds_of(bins: Bins | None, dequantized: bool) -> list[str]:
    """What is measured of data on a grid, or of a density (see `Curve`)."""
    return ["raw"] if bins is None else ["raw", "hard", "soft"] + ["dequantized"] * dequantized


def rows_of_a_call(batch: int, d: int) -> int:
    """Rows of one network call: `batch`, or with 0 about half a million numbers."""
    return batch or max(64, min(1 << 14, ELEMENTS // d))


class _Channel:
    """One block of examples in the channel, at all log-SNR points."""

    def __init__(
        self, denoiser: Denoiser, grid: LogsnrGrid, noise: str, antithetic: bool, seed: int, rows: int, start: int
    ):
        self.denoiser, self.grid, self.noise, self.seed = denoiser, grid, noise, seed
        self.signs = (1.0, -1.0) if antithetic else (1.0,)
        self.rows, self.start = rows, start

    def errors(
        self, x: Tensor, projected: Tensor, reference: GaussianReference, bins: Bins | None
    ) -> dict[str, Tensor]:
        """Errors of each kind, "gaussian" and "control", (b, J) float64 each."""
        J = len(self.grid)
        found: dict[str, list[Tensor]] = {}
        for points in torch.arange(J).split(max(1, self.rows // len(x))):
            eps = curve_noise(self.noise, (len(x), reference.d), self.start, points, J, self.seed)
            eps = eps.double() if x.dtype == torch.float64 else eps
            logsnr = self.grid.logsnr[points]
            sums: dict[str, Tensor] = {}
            for sign in self.signs:
                mean, deviation = reference.errors(projected, sign * eps, logsnr)
                own = self._network_errors(x, sign * eps, logsnr, bins)
                for name, values in {**own, "gaussian": mean, "control": deviation}.items():
                    sums[name] = sums.get(name, 0.0) + values / len(self.signs)
            for name, values in sums.items():
                found.setdefault(name, []).append(values)
        return {name: torch.cat(parts, 1) for name, parts in found.items()}

    def _network_errors(self, x: Tensor, eps: Tensor, logsnr: Tensor, bins: Bins | None) -> dict[str, Tensor]:
        n, P = len(x), len(logsnr)
        alpha, sigma = (v.to(x)[:, None] for v in logsnr_to_alpha_sigma(logsnr))
        noise = eps.to(x).expand(n, P, -1)
        z = (alpha * x.flatten(1)[:, None] + sigma * noise).reshape(n * P, *x.shape[1:])
        rows_logsnr = logsnr.to(x).repeat(n)
        parts = zip(z.split(self.rows), rows_logsnr.split(self.rows), strict=True)
        eps_hat = torch.cat([self._call(*part) for part in parts]).reshape(n, P, -1)
        if bins is None:
            errors = {"raw": (noise - eps_hat).square().sum(-1)}
        else:
            # x_hat = sqrt(1 + e^-a) z - e^(-a/2) eps_hat, and |eps - eps_hat|^2 = e^a |x - x_hat|^2
            x_hat = z.reshape(n, P, -1) / alpha - sigma / alpha * eps_hat
            hats = {"raw": bins.clamp(x_hat), "hard": bins.hard(x_hat)}
            hats["soft"] = torch.stack([bins.soft_at(x_hat[:, j], float(a)) for j, a in enumerate(logsnr)], 1)
            scale = sigma / alpha
            errors = {name: ((x.flatten(1)[:, None] - hat) / scale).square().sum(-1) for name, hat in hats.items()}
        double = {name: values.cpu().double() for name, values in errors.items()}
        if not all(bool(torch.isfinite(values).all()) for values in double.values()):
            bad = logsnr[~torch.isfinite(double["raw"]).all(0)]
            raise RunFailedError(f"the denoiser's output is not finite at log-SNR {bad[:3].tolist()}")
        return double

    def _call(self, z: Tensor, logsnr: Tensor) -> Tensor:
        return self.denoiser.eps(z.clone(), logsnr.clone())  # a user's function may write into what it is given


class _Store:
    """Errors of each example, written to a .npy file that appears when all are there; nothing without a path."""

    def __init__(self, path: Path | None, shape: tuple[int, int, int]):
        self.path = path
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
            self.array = np.lib.format.open_memmap(self.aside, mode="w+", dtype=np.float32, shape=shape)

    def __enter__(self) -> "_Store":
        return self

    def put(self, block: slice, values: Tensor) -> None:
        if self.path is not None:
            self.array[block] = values.numpy()

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if self.path is not None:
            self.array.flush()
            del self.array
            if kind is None:
                self.aside.replace(self.path)
            else:
                self.aside.unlink(missing_ok=True)


# ----------
# The range of log-SNRs: the spectrum's, widened until nothing that matters lies outside.

TOLERANCE = 1e-4
"""Nats per dimension that may be left outside the range on each side."""
STEP = 1.0  # nats of log-SNR by which an end moves
FARTHEST = 30.0  # how far an end may move
PILOT = 256  # examples that decide, at most
PILOT_ELEMENTS = 1 << 17  # numbers in them, at most (but 32 examples)


def widen_range(
    denoiser: Denoiser,
    x: Tensor,
    reference: GaussianReference,
    start: LogsnrRange | None = None,
    *,
    bins: Bins | None = None,
    dequantized: bool = False,
    tolerance: float = TOLERANCE,
    seed: int = 0,
    batch: int = 0,
    transform: Callable[[Tensor], Tensor] | None = None,
) -> LogsnrRange:
    """Move each end of a range outward until the gap Gaussian - denoiser there, times the tail that remains, is small.

    The spectrum sees second moments only; non-Gaussian data has more to tell at high log-SNR. The gap of the control
    variate is measured on a pilot of examples with eps and -eps, whose noise vanishes with the gap itself. An end stays
    where the gap and 2 standard errors leave a tail (see `tail_from_ends`) below `tolerance` d, or where the denoiser
    is worse than the Gaussian's by more than 2 standard errors. For data on a grid the right end is where the rounding
    of z alone leaves less than the tolerance, in closed form.

    Args:
        denoiser, x, reference, bins, seed, batch, transform: as in `measure_curve`.
        start: where to begin; None: the range of the reference's spectrum.
        dequantized: the dequantised curve is wanted too, which has a longer right tail than the discrete one.
        tolerance: nats per dimension on each side.

    Returns:
        The wider range; its `tail_nats` is what the pilot says remains.
    """
    check_model(denoiser)
    start = start or LogsnrRange.from_spectrum(reference.spectrum)
    evaluations = 0

    def gap_at(a: float) -> tuple[float, float]:
        nonlocal evaluations
        gap, se, spent = pilot_gap(
            denoiser, x, reference, a, bins=bins, dequantized=dequantized, seed=seed, batch=batch, transform=transform
        )
        evaluations += spent
        return gap, se

    def moved(end: float, direction: float, share: float) -> tuple[float, float]:
        farthest = end + direction * FARTHEST
        while True:
            gap, se = gap_at(end)
            small = share * (gap + 2 * se) <= tolerance * reference.d
            if small or gap <= -2 * se or abs(end - farthest) < STEP:
                return end, share * max(0.0, gap + se)
            end += direction * STEP

    low, left = moved(start.low, -1.0, 0.5)
    certain = low + 1.0 if bins is None else max(low + 1.0, _right_end(bins, reference.d, tolerance))
    if bins is not None and not dequantized:
        high, right = certain, log_mass_tail(bins, reference.d, certain)
    else:
        high, right = moved(max(start.high, certain), 1.0, 1.0)
    return with_tail(LogsnrRange.from_ends(low, high, start.clip), left + right, evaluations)


NEGLIGIBLE = "beyond it the model and the Gaussian differ by less than the tolerance"
WORSE = "there the model is worse than the Gaussian, which would stand in for it beyond"
FAR = "the model is still better than the Gaussian there"
GRID = "beyond it rounding to the grid leaves less than the tolerance"


def why_it_ends(
    denoiser: Denoiser,
    x: Tensor,
    reference: GaussianReference,
    chosen: LogsnrRange,
    *,
    bins: Bins | None = None,
    dequantized: bool = False,
    tolerance: float = TOLERANCE,
    seed: int = 0,
    batch: int = 0,
    transform: Callable[[Tensor], Tensor] | None = None,
) -> tuple[str, str, int]:
    """Why a range ends where it does on the left and on the right, one of the four reasons above, and evaluations.

    Args:
        chosen: the range.
        denoiser, x, reference, bins, dequantized, tolerance, seed, batch, transform: as in `widen_range`.
    """

    def why(end: float, share: float) -> tuple[str, int]:
        gap, se, spent = pilot_gap(
            denoiser, x, reference, end, bins=bins, dequantized=dequantized, seed=seed, batch=batch, transform=transform
        )
        # A model that is worse by no more than the tolerance loses nothing that counts.
        if share * (-gap - 2 * se) > tolerance * reference.d:
            return WORSE, spent
        return (NEGLIGIBLE if share * (gap + 2 * se) <= tolerance * reference.d else FAR), spent

    left, spent = why(chosen.low, 0.5)
    if bins is not None and not dequantized:
        return left, GRID, spent
    right, more = why(chosen.high, 1.0)
    return left, right, spent + more


def pilot_gap(
    denoiser: Denoiser,
    x: Tensor,
    reference: GaussianReference,
    logsnr: float,
    *,
    bins: Bins | None = None,
    dequantized: bool = False,
    seed: int = 0,
    batch: int = 0,
    transform: Callable[[Tensor], Tensor] | None = None,
) -> tuple[float, float, int]:
    """E[|eps - eps_G|^2 - |eps - eps_hat|^2] at one log-SNR on a pilot of examples: mean, standard error, evaluations.

    Each example takes eps and -eps, and the Gaussian's own error on them is the control variate.

    Args:
        logsnr: where.
        denoiser, x, reference, bins, dequantized, seed, batch, transform: as in `measure_curve`.
    """
    pilot = x[_spread(len(x), max(32, min(PILOT, PILOT_ELEMENTS // reference.d)))]
    curve = measure_curve(
        denoiser, pilot, _one_point(logsnr), reference, bins=bins, dequantized=dequantized, noise="independent",
        antithetic=True, seed=seed, batch=batch, transform=transform,
    )  # fmt: skip
    kind = "dequantized" if dequantized else "raw"
    gap, se = curve.spread(curve.gaussian(kind) - curve.errors(kind, "unit"))
    return float(gap), float(se), curve.evaluations


def _right_end(bins: Bins, d: int, tolerance: float) -> float:
    """The smallest log-SNR at which rounding z leaves at most `tolerance` nats per dimension, by bisection."""
    low, high = -2 * math.log(bins.step), 10 - 2 * math.log(bins.step)
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if log_mass_tail(bins, d, middle) <= tolerance * d else (middle, high)
    return high


def _spread(n: int, count: int) -> Tensor:
    """About `count` indices, evenly spaced over n."""
    return torch.linspace(0, n - 1, min(n, count)).round().long()


def _one_point(a: float) -> LogsnrGrid:
    point = torch.tensor([a], dtype=torch.float64)
    return LogsnrGrid(point, torch.ones(1, dtype=torch.float64), "random", LogsnrRange(a, 1.0), torch.zeros(1).long())
