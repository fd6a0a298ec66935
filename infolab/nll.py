"""The NLL of one's own data under one's own denoiser, by its denoising errors over the log-SNR or by the ODE."""

import io
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from infolab import atomic
from infolab.config import called_as, parse_options
from infolab.convention import suspect
from infolab.denoise import Denoiser
from infolab.errors import run_main
from infolab.estimate import Estimate, mean_and_se, nats_to_bpd
from infolab.immse import (
    Curve,
    GaussianReference,
    LogsnrRange,
    NllEstimate,
    continuous_nll,
    dequantized_nll,
    discrete_nll,
    make_grid,
    measure_curve,
    nll_by_example,
    paired_difference,
    widen_range,
)
from infolab.immse.curve import empty_curve
from infolab.immse.measure import WORSE, kinds_of, why_it_ends
from infolab.nll_inputs import NllConfig, NllInputs, model_of, nll_inputs_of, other_denoiser
from infolab.ode_nll import MARGIN, check_has_density, ode_nll

# ----------
# The NLL by I-MMSE as the command reports it: the model's own over a stated range, and beside it the best of both.

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
    problem: NllInputs,
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
    problem: NllInputs,
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


# ----------
# The NLL of one's own data under one's own denoiser, by its denoising errors over the log-SNR or by the ODE.
#
# `python -m itdiffusion.nll (--denoiser module:function | --checkpoint PATH) --data X.npy [--discrete-step D]
# [--json]`


def main() -> None:
    """Print the NLL."""
    run_main(lambda: _report(parse_options(NllConfig, called_as("python -m itdiffusion.nll"))))


def nll_report(config: NllConfig) -> dict[str, Any]:
    """All that the command prints, as plain JSON values.

    Raises:
        UserError: options or data that do not fit.
    """
    config.check()
    problem = nll_inputs_of(config)
    model = model_of(config, problem.x)
    denoiser, device = model.denoiser, model.device
    other = other_denoiser(config, problem.x, device) if config.against else None
    batches = (problem.transform(part) for part in problem.fit.split(4096))
    floor = problem.bins.step**2 / 12 if problem.bins else 0.0
    reference = GaussianReference.fit(batches, diagonal=config.diagonal, floor=floor)

    def transform(part: Tensor) -> Tensor:
        return problem.transform(part).to(device)

    spent = (
        0 if problem.bins else check_has_density(denoiser, problem.x, reference, config.seed, config.batch, transform)
    )
    if not problem.bins and _all_whole(problem.x):
        sys.stderr.write("warning: all values are whole numbers, which have no density: give --discrete-step 1\n")
    if config.estimator == "ode":
        spectrum = LogsnrRange.from_spectrum(reference.spectrum, clip=config.clip)
        suspicion = suspect(denoiser, problem.x, reference, spectrum, config.seed, transform)
        _warn_of(config, denoiser.predicts, suspicion.reading)
        report = _ode_report(config, problem, denoiser, reference, spectrum, transform)
        report["evaluations"] += spent + suspicion.evaluations
        return report
    found = measure(config, problem, denoiser, other, reference, transform)
    if config.per_example:
        _save(config.per_example, nll_by_example(found.curve))
    gaussian, gaussian_se = found.curve.spread(-found.curve.log_normal["raw"])
    if found.own.value > float(gaussian) + 2 * float(gaussian_se):
        suspicion = suspect(denoiser, problem.x, reference, found.where.range, config.seed, transform)
        spent += suspicion.evaluations
        _warn_of(config, denoiser.predicts, suspicion.reading)
        if suspicion.reading is None:
            sys.stderr.write(
                "warning: the model is worse than the Gaussian of the data: if it should not be, check --predicts, "
                "--schedule, --time and the scale of the data\n"
            )
    return _as_json(found, (float(gaussian), float(gaussian_se)), spent)


def _all_whole(x: Tensor) -> bool:
    """Whether all values are whole numbers, and not because the type has no others of that size."""
    return bool((x == x.round()).all()) and float(x.abs().max()) * torch.finfo(x.dtype).eps < 1


def _warn_of(config: NllConfig, told: str, reading: str | None) -> None:
    if reading is not None:
        remedy = "its checkpoint may say it wrongly" if config.checkpoint else f"--predicts={reading}"
        sys.stderr.write(
            f"warning: taken as {told} the model's output fits the data far worse than taken as {reading}: "
            f"it seems to return {reading} ({remedy})\n"
        )


def _as_json(found: Measurement, gaussian: tuple[float, float], spent: int) -> dict[str, Any]:
    own, where = found.own, found.where
    out: dict[str, Any] = {"nll_nats": _record(own, 1.0), "nll_bpd": _record(own, nats_to_bpd(1.0, own.d))}
    if found.dequantized is not None:
        out |= {
            "dequantized_nats": _record(found.dequantized, 1.0),
            "dequantized_bpd": _record(found.dequantized, nats_to_bpd(1.0, own.d)),
        }
    if found.difference is not None and found.other is not None:
        difference = found.difference
        out |= {
            "against_nats": _record(found.other, 1.0),
            "difference_nats": {
                "value": difference.value, "se": difference.se, "se_data": difference.se_data,
                "se_quadrature": difference.se_quadrature,
            },
        }  # fmt: skip
    return {
        **out,
        "best_nats": None if found.best is None else _record(found.best, 1.0),
        "reference_nats": {"value": gaussian[0], "se": gaussian[1]},
        "estimand": own.estimand,
        "bias": f"{own.bias} (unbiased for the optimal denoiser)",
        "bin_width": own.bin_width,
        "n": own.n,
        "d": own.d,
        "evaluations": found.evaluations + spent,
        "integrator": own.integrator,
        "points": own.points,
        "logsnr_low": where.range.low,
        "logsnr_high": where.range.high,
        "logsnr_low_because": where.low_because,
        "logsnr_high_because": where.high_because,
    }


def _record(nll: NllEstimate, unit: float) -> dict[str, float]:
    found = {"value": nll.value, "se": nll.se, "se_data": nll.se_data, "se_quadrature": nll.se_quadrature}
    found["tail"] = nll.tail_nats
    if nll.optimistic_nats is not None:
        found["optimistic"] = nll.optimistic_nats
    return {name: unit * item for name, item in found.items()}


def _ode_report(
    config: NllConfig,
    problem: NllInputs,
    denoiser: Denoiser,
    reference: GaussianReference,
    spectrum: LogsnrRange,
    transform: Callable[[Tensor], Tensor],
) -> dict[str, Any]:
    where = LogsnrRange.from_ends(spectrum.low - MARGIN, spectrum.high + MARGIN, config.clip)
    if config.loc is not None and config.scale is not None:
        where = LogsnrRange(config.loc, config.scale, config.clip)
    found = ode_nll(
        denoiser, problem.x, where, reference, bins=problem.bins, tolerance=config.ode_tolerance, seed=config.seed,
        batch=config.batch, transform=transform,
    )  # fmt: skip
    if config.per_example:
        _save(config.per_example, found.nll_nats)
    value, se = mean_and_se(found.nll_nats)
    d, n = reference.d, len(found.nll_nats)
    unit = nats_to_bpd(1.0, d)
    width = problem.bins.step if problem.bins else 0.0
    estimand = "E[-log p(x)], a density" if not width else f"E[-log P(x)], bounded by dequantisation of step {width:g}"
    return {
        "nll_nats": {"value": value, "se": se},
        "nll_bpd": {"value": unit * value, "se": unit * se},
        "estimand": estimand,
        "bias": "unbiased for the model of the ODE" if not width else "upper",
        "bin_width": width,
        "n": n,
        "d": d,
        "evaluations": found.evaluations,
        "tolerance": config.ode_tolerance,
        "logsnr_low": where.low,
        "logsnr_high": where.high,
    }


def _save(path: str, values: Tensor) -> None:
    buffer = io.BytesIO()
    np.save(buffer, values.numpy())
    atomic.write_bytes(Path(path).expanduser(), buffer.getvalue())


def _report(config: NllConfig) -> None:
    report = nll_report(config)
    if config.estimator == "i-mmse":
        _say_what_the_range_hides(report)
    if config.json:
        sys.stdout.write(json.dumps(report) + "\n")
        return
    for name, item in report.items():
        sys.stdout.write(f"{name:19} {_line(item)}\n")


def _say_what_the_range_hides(report: dict[str, Any]) -> None:
    low, high = report["logsnr_low"], report["logsnr_high"]
    tail, se = report["nll_nats"]["tail"], report["nll_nats"]["se"]
    if tail > max(se, 1e-3 * report["d"]):
        sys.stderr.write(
            f"warning: {tail:.3g} nats may lie outside the log-SNR range {low:.3g} to {high:.3g}, more than the "
            "standard error\n"
        )
    for side, end in (("low", low), ("high", high)):
        if report[f"logsnr_{side}_because"] == WORSE:
            sys.stderr.write(
                f"note: at the {side} end of the log-SNR range the model is worse than the Gaussian of the data, and "
                f"its own NLL (nll_nats, to log-SNR {end:.3g}) grows with the range; best_nats takes the "
                "better of the two at each log-SNR\n"
            )


def _line(item: Any) -> str:
    if not isinstance(item, dict):
        return f"{item:.6g}" if isinstance(item, float) else str(item)
    rest = ", ".join(f"{name} {value:.3g}" for name, value in item.items() if name not in ("value", "se"))
    return f"{item['value']:.6g} +- {item['se']:.2g}" + (f"  ({rest})" if rest else "")


if __name__ == "__main__":
    main()
