"""The range of log-SNRs: the spectrum's, widened until nothing that matters lies outside."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from common.immse.curve import log_mass_tail
from common.immse.grid import LogsnrGrid, LogsnrRange, with_tail
from common.immse.measure import Denoiser, measure_curve
from common.immse.reference import GaussianReference
from common.immse.rounding import Bins

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
