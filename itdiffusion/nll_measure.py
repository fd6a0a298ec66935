"""The NLL by I-MMSE as the command reports it: the model's own over a stated range, and beside it the best of both."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from common.estimate import Estimate
from common.immse import (
    Curve,
    Denoiser,
    GaussianReference,
    LogsnrRange,
    NllEstimate,
    continuous_nll,
    dequantized_nll,
    discrete_nll,
    make_grid,
    measure_curve,
    paired_difference,
    widen_range,
)
from common.immse.curve import empty_curve
from common.immse.measure import kinds_of
from common.immse.ranges import WORSE, why_it_ends
from itdiffusion.nll_config import NllConfig
from itdiffusion.nll_problem import Problem

BEYOND = 4.0
"""Nats of log-SNR by which a range goes on at an end where the model is worse than the Gaussian."""
GIVEN = "given"
LEAST_TO_CHOOSE = 4


@dataclass(frozen=True)
class Range:
    """A log-SNR range, why it ends on either side, and the evaluations spent on it."""

    range: LogsnrRange
    low_because: str
    high_because: str
    evaluations: int


@dataclass(frozen=True)
class Measurement:
    """What the command has measured.

    Attributes:
        own: the model's own NLL over the range; outside it the Gaussian stands in.
        best: the NLL with the better of model and Gaussian at each log-SNR, chosen on the other half of the examples;
            None for fewer than 4 examples, of which no half has an error.
        dequantized: the model's own bound by dequantisation, where it was asked for.
        difference: own NLL less that of the second model, paired; None without one.
        other: the second model's own NLL.
        curve: the model's errors.
        where: the range.
        evaluations: of all networks.
    """

    own: NllEstimate
    best: NllEstimate | None
    dequantized: NllEstimate | None
    difference: Estimate | None
    other: NllEstimate | None
    curve: Curve
    where: Range
    evaluations: int


def measure(
    config: NllConfig,
    problem: Problem,
    denoiser: Denoiser,
    other: Denoiser | None,
    reference: GaussianReference,
    transform: Callable[[Tensor], Tensor],
) -> Measurement:
    """Measure the denoiser's errors, and those of `other` on the same noise, over a range that serves both.

    Raises:
        UserError: data that the estimand does not fit.
    """
    if problem.bins is None:
        reference.require_density()
    models = [denoiser] if other is None else [denoiser, other]
    where = _common_range([_range(config, problem, model, reference, transform) for model in models])
    grid = make_grid(where.range, config.points, config.integrator, config.seed)
    apart = bool(config.per_example or other)
    store = Path(config.store).expanduser() if config.store else None
    curves = []
    for model in models:
        kinds = kinds_of(problem.bins, config.dequantized)
        so_far = empty_curve(grid, reference, problem.bins, kinds, _even(len(problem.x))) if apart else None
        curves.append(
            measure_curve(
                model, problem.x, grid, reference, bins=problem.bins, dequantized=config.dequantized, seed=config.seed,
                batch=config.batch, transform=transform, store=store, so_far=so_far,
            )
        )  # fmt: skip
    own, best = _nlls(curves[0], config)
    return Measurement(
        own=own,
        best=best,
        dequantized=dequantized_nll(curves[0]) if config.dequantized else None,
        difference=paired_difference(*curves) if other else None,
        other=_nlls(curves[1], config)[0] if other else None,
        curve=curves[0],
        where=where,
        evaluations=where.evaluations + sum(curve.evaluations for curve in curves),
    )


def _nlls(curve: Curve, config: NllConfig) -> tuple[NllEstimate, NllEstimate | None]:
    enough = curve.n >= LEAST_TO_CHOOSE
    if curve.bins is not None:
        return discrete_nll(curve), discrete_nll(curve, gaussian_member=True) if enough else None
    own = continuous_nll(curve, control_variate=config.control_variate)
    return own, continuous_nll(curve, gaussian_member=True) if enough else None


def _range(
    config: NllConfig,
    problem: Problem,
    denoiser: Denoiser,
    reference: GaussianReference,
    transform: Callable[[Tensor], Tensor],
) -> Range:
    """The range of one model: given or of the spectrum, widened, longer where it is worse than the Gaussian."""
    chosen = LogsnrRange.from_spectrum(reference.spectrum, clip=config.clip)
    if config.loc is not None and config.scale is not None:
        chosen = LogsnrRange(config.loc, config.scale, config.clip)
    if not config.widen:
        return Range(chosen, GIVEN, GIVEN, 0)
    settings: dict[str, Any] = {
        "bins": problem.bins, "dequantized": config.dequantized, "seed": config.seed, "batch": config.batch,
        "transform": transform,
    }  # fmt: skip
    wide = widen_range(denoiser, problem.x, reference, chosen, **settings)
    left, right, spent = why_it_ends(denoiser, problem.x, reference, wide, **settings)
    spent += wide.evaluations
    if WORSE in (left, right):
        low, high = wide.low - BEYOND * (left == WORSE), wide.high + BEYOND * (right == WORSE)
        wide = LogsnrRange.from_ends(low, high, wide.clip)
    return Range(wide, left, right, spent)


def _common_range(ranges: list[Range]) -> Range:
    """The smallest range that holds all."""
    if len(ranges) == 1:
        return ranges[0]
    lowest, highest = min(ranges, key=lambda one: one.range.low), max(ranges, key=lambda one: one.range.high)
    spent = sum(one.evaluations for one in ranges)
    joined = LogsnrRange.from_ends(lowest.range.low, highest.range.high, lowest.range.clip)
    return Range(joined, lowest.low_because, highest.high_because, spent)


def _even(n: int) -> int:
    """Groups for n examples: halves alternate, so that their number must be even."""
    return n + n % 2
