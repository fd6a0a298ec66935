"""`python -m benchmarks.coverage`: are the errors of the NLL honest, and what does the control variate save?

For every law of `infolab.known_immse`, over many seeds: the share of estimates within two reported standard errors,
the reported error beside the spread, and the error of the integral alone. Exit code 1 when one falls short.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.commands import Parser, check_writable, provenance
from infolab.data import load
from infolab.errors import LabError, run_main
from infolab.exact import mixture_denoiser
from infolab.immse import (
    GaussianReference,
    LogsnrRange,
    continuous_nll,
    discrete_nll,
    make_grid,
    measure_curve,
    widen_range,
)
from infolab.known_immse import LAWS, Law, estimate
from infolab.mixture import GaussianMixture
from infolab.noise import generator
from infolab.results import write
from infolab.results.tables import ControlVariate, Coverage
from infolab.toy import make

SEEDS = 200
EXAMPLES = 256
"""Of one repetition: few enough that skewness shows (128 examples of x = +-1 cover 0.94 over 1,000 seeds)."""
POINTS = 50
QUADRATURE_POINTS = 100
LEAST_COVERAGE = 0.9
MOST_REPORTED = 2.0
"""The reported error is at most this times the spread over seeds."""
MOST_QUADRATURE = 1e-3
LEAST_RATIO = 3.0
DRAWS = {2: 128, 64: 32}
"""Draws of the noise, the examples held, by dimension: a ratio of standard deviations is then known to 9% (18%)."""
ROUNDING = 1e-7
WIDER = 8.0
"""Nats of log-SNR on each side by which the range of the quadrature check is wider."""


def main() -> None:
    """Measure, print, write both tables, and fail when an error is not honest."""
    parser = Parser(prog="python -m benchmarks.coverage", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="20 seeds: half a minute")
    parser.add_argument("--results-dir", type=Path, default=Path("results"), help="folder of the tables")
    options = parser.parse_args()
    for name in ("coverage", "control_variate"):
        check_writable(options.results_dir / "calibration" / name)
    seeds = 20 if options.quick else SEEDS
    print(f"{'law':38} {'d':>2} {'within':>6} {'reported':>9} {'spread':>9} {'bias/se':>6} {'integral':>9}")
    rows = []
    for name, law in LAWS.items():
        rows.append(coverage(name, law(), seeds))
        print(line(rows[-1]), flush=True)
    print(f"{'law':12} {'d':>2} {'noise':12} {'plain':>9} {'control':>9} {'ratio':>7}")
    savings = []
    for case in shapes():
        for noise in ("shared", "independent", "default"):
            savings.append(saving(case, noise, 8 if options.quick else DRAWS[case.law.d]))
            print(saving_line(savings[-1]), flush=True)
    settings = {"quick": options.quick, "seeds": seeds, "examples": EXAMPLES, "points": POINTS}
    write(options.results_dir, Coverage, "coverage", rows, provenance("calibration", "coverage", settings))
    write(
        options.results_dir, ControlVariate, "control_variate", savings,
        provenance("calibration", "control_variate", settings),
    )  # fmt: skip
    verdict(rows, savings)


def coverage(name: str, law: Law, seeds: int, examples: int = EXAMPLES, points: int = POINTS) -> Coverage:
    """Repeat the estimate with `seeds` seeds of examples and noise."""
    found = [estimate(law, examples, seed, count=points)[0] for seed in range(seeds)]
    off = torch.tensor([one.value - law.entropy_nats for one in found], dtype=torch.float64)
    errors = torch.tensor([one.se for one in found], dtype=torch.float64)
    tails = torch.tensor([one.tail_nats for one in found], dtype=torch.float64)
    share = float((off.abs() <= 2 * errors + tails).double().mean())
    return Coverage(
        estimator="NLL by I-MMSE", case=name, d=law.d, n=examples, points=points, seeds=seeds,
        within_2_se=share, within_2_se_se=math.sqrt(max(share * (1 - share), 1 / seeds) / seeds),
        bias_nats=float(off.mean()), bias_se=float(off.std()) / math.sqrt(seeds),
        reported_se_nats=float(errors.square().mean().sqrt()), spread_nats=float(off.std()),
        quadrature_nats_per_dim=quadrature(law),
    )  # fmt: skip


def quadrature(
    law: Law, points: int = QUADRATURE_POINTS, seeds: Sequence[int] = (0, 1, 2), examples: int = 48
) -> float:
    """Largest error of the integral per dimension: range and points of the rule against far more of both.

    The noise is one eps per example for the whole curve, so that both rules integrate the same functions, and the
    reference is fitted to the very examples, so that the tails' closed forms are theirs too.
    """
    worst = 0.0
    for seed in seeds:
        x = law.sample(examples, generator(seed, "quadrature"))
        floor = law.bins.step**2 / 12 if law.bins else 0.0
        reference = law.reference() if law.bins is None else GaussianReference.fit(x, floor=floor)
        narrow = widen_range(law.denoiser, x, reference, bins=law.bins, seed=seed)
        wide = LogsnrRange.from_ends(narrow.low - WIDER, narrow.high + WIDER)
        values = []
        for logsnr_range, count in ((narrow, points), (wide, 8 * points)):
            curve = measure_curve(
                law.denoiser, x, make_grid(logsnr_range, count), reference, bins=law.bins, noise="shared",
                antithetic=True, seed=seed,
            )  # fmt: skip
            nll = continuous_nll(curve) if law.bins is None else discrete_nll(curve, "raw")
            values.append(nll.value)
        worst = max(worst, abs(values[0] - values[1]) / law.d)
    return worst


@dataclass(frozen=True)
class Shape:
    """A distribution with its optimal denoiser, the Gaussian fitted to it and examples of it."""

    name: str
    law: GaussianMixture
    reference: GaussianReference
    x: Tensor


def saving(case: Shape, noise: str, seeds: int, examples: int = 96, points: int = QUADRATURE_POINTS) -> ControlVariate:
    """Standard deviation over `seeds` draws of the noise, the examples held, with and without the control variate."""
    law, reference, x = case.law, case.reference, case.x[:examples]
    exact = mixture_denoiser(law)
    grid = make_grid(widen_range(exact, x, reference), points)
    plain, control = [], []
    for seed in range(seeds):
        with_kind, without_kind = ("quasi", "independent") if noise == "default" else (noise, noise)
        curve = measure_curve(exact, x, grid, reference, noise=with_kind, seed=seed)
        control.append(continuous_nll(curve).value)
        if without_kind != with_kind:
            curve = measure_curve(exact, x, grid, reference, noise=without_kind, seed=seed)
        plain.append(continuous_nll(curve, control_variate=False).value)
    sd_plain, sd_control = (float(torch.tensor(v, dtype=torch.float64).std()) for v in (plain, control))
    return ControlVariate(
        case=case.name, d=law.d, n=len(x), points=points, noise=noise, plain_sd_nats=sd_plain,
        control_sd_nats=sd_control, ratio=sd_plain / sd_control if sd_control > ROUNDING else 0.0,
    )  # fmt: skip


def shapes() -> list[Shape]:
    """The 2-D shapes and the digits, and a Gaussian.

    The digits' law is the empirical measure of 300 of them, blurred by D^2/12; its denoiser is the softmax over them.
    """
    laws = {name: make(name).mixture for name in ("scg", "moons", "swiss_roll", "spiral", "letters")}  # type: ignore[attr-defined]
    grey = load("digits", "train").images[:300].flatten(1).double() / 8 - 1
    laws["digits"] = GaussianMixture(torch.ones(300), grey, (1 / 8) ** 2 / 12)
    found = []
    for name, law in laws.items():
        reference = GaussianReference(law.mean(), *torch.linalg.eigh(law.cov()))
        found.append(Shape(name, law, reference, law.sample(128, generator(0, "shape", name))))
    return found


def line(row: Coverage) -> str:
    """One row of the first printed table."""
    return (
        f"{row.case:38} {row.d:2} {row.within_2_se:6.3f} {row.reported_se_nats:9.2e} {row.spread_nats:9.2e} "
        f"{row.bias_nats / row.bias_se:6.2f} {row.quadrature_nats_per_dim:9.1e}  {'pass' if honest(row) else 'FAIL'}"
    )


def saving_line(row: ControlVariate) -> str:
    """One row of the second printed table."""
    ratio = f"{row.ratio:7.2f}" if row.ratio else "   none"
    return (
        f"{row.case:12} {row.d:2} {row.noise:12} {row.plain_sd_nats:9.2e} {row.control_sd_nats:9.2e} {ratio}  "
        f"{'pass' if saves(row) else 'FAIL'}"
    )


def honest(row: Coverage) -> bool:
    """Coverage, reported error and quadrature error as wanted."""
    return (
        row.within_2_se >= LEAST_COVERAGE
        and row.reported_se_nats <= MOST_REPORTED * row.spread_nats
        and (row.quadrature_nats_per_dim or 0.0) < MOST_QUADRATURE
    )


def saves(row: ControlVariate) -> bool:
    """The control variate cuts the noise of one eps along the curve by `LEAST_RATIO`, and to rounding on a Gaussian.

    The default estimator must do so against the published form too. With independent eps the control variate must not
    make things worse.
    """
    return row.ratio == 0 or row.ratio >= (1.0 if row.noise == "independent" else LEAST_RATIO)


def verdict(rows: Sequence[Coverage], savings: Sequence[ControlVariate]) -> None:
    """Return when all pass.

    Raises:
        LabError: (exit code 1) names the rows that fall short.
    """
    failed = [row.case for row in rows if not honest(row)]
    failed += [f"control variate on {row.case} ({row.noise})" for row in savings if not saves(row)]
    if failed:
        raise LabError(f"{len(failed)} rows fall short: {'; '.join(failed)}")


if __name__ == "__main__":
    run_main(main)
