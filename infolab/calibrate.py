"""Calibration: every estimator on distributions with known answers, and when it passes. `infolab calibrate`."""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TextIO

import torch
from torch import Tensor

from infolab.config import called_as
from infolab.errors import LabError, run_main
from infolab.estimate import mean_and_se
from infolab.results import Calibration

SIGMAS = 4.0
"""An estimate passes when it lies within this many standard errors, plus its bias bound, of the truth."""

HEAD = (
    f"{'estimator':27} {'case':40} {'d':>2} {'snr':>6} {'seed':>4} {'truth':>12} {'estimate':>12} {'se':>9} "
    f"{'bias<':>8} {'z':>6}  pass"
)


@dataclass(frozen=True)
class Outcome:
    """What a case measured: truth and estimate in nats.

    Attributes:
        truth: closed form or quadrature.
        estimate: what the estimator says.
        se: standard error of the estimate (of the difference, where the truth is evaluated on the same points).
        n: examples used.
        evaluations: evaluations of the score or denoiser, per example (noise draws per point, for the information).
        bias_bound: what is known of the bias, including solver and quadrature errors.
    """

    truth: float
    estimate: float
    se: float
    n: int
    evaluations: int = 0
    bias_bound: float = 0.0


@dataclass(frozen=True)
class Case:
    """One estimator on one distribution; `measure` takes (size, seed), where size multiplies the numbers of examples.

    Attributes:
        estimator: which estimator.
        case: the distribution and the setting.
        d: dimensions of one example.
        measure: (size, seed) -> outcome.
        snr: signal-to-noise ratio gamma, where the case has one.
    """

    estimator: str
    case: str
    d: int
    measure: Callable[[int, int], Outcome]
    snr: float | None = None

    def row(self, size: int, seed: int) -> Calibration:
        """Measure once."""
        start = time.perf_counter()
        outcome = self.measure(size, seed)
        return Calibration(
            estimator=self.estimator, case=self.case, d=self.d, snr=self.snr, n=outcome.n, seed=seed,
            truth_nats=outcome.truth, estimate_nats=outcome.estimate, se=outcome.se, bias_bound=outcome.bias_bound,
            evaluations=outcome.evaluations, seconds=time.perf_counter() - start,
        )  # fmt: skip


def passes(row: Calibration) -> bool:
    """|estimate - truth| <= 4 se + bias_bound."""
    return abs(row.estimate_nats - row.truth_nats) <= SIGMAS * row.se + row.bias_bound


def from_values(truth: float, values: Tensor, evaluations: int = 0, bias_bound: float = 0.0) -> Outcome:
    """The outcome of independent `values` (n,) whose mean is the estimate."""
    mean, se = mean_and_se(values)
    return Outcome(truth, mean, se, values.numel(), evaluations, bias_bound)


def stratified(n: int, source: torch.Generator) -> Tensor:
    """n uniforms on (0, 1) in random order, one in each n-th of the interval, float64."""
    jitter = torch.rand(n, generator=source, dtype=torch.float64)
    return (torch.randperm(n, generator=source) + jitter) / n


def calibrate(cases: Iterable[Case], seeds: Sequence[int], size: int, out: TextIO | None = None) -> list[Calibration]:
    """Measure every case with every seed, one line each on `out` (default: standard output)."""
    out = out or sys.stdout
    out.write(f"{HEAD}\n")
    rows = []
    for case in cases:
        for seed in seeds:
            row = case.row(size, seed)
            out.write(f"{line(row)}\n")
            out.flush()
            rows.append(row)
    return rows


def line(row: Calibration) -> str:
    """One row of the printed table; z is (estimate - truth) / se."""
    difference = row.estimate_nats - row.truth_nats
    z = f"{difference / row.se:6.2f}" if row.se else f"{'-':>6}"
    snr = f"{row.snr:6g}" if row.snr is not None else f"{'-':>6}"
    return (
        f"{row.estimator:27} {row.case:40} {row.d:2} {snr} {row.seed:4} {row.truth_nats:12.6f} "
        f"{row.estimate_nats:12.6f} {row.se:9.1e} {row.bias_bound:8.1e} {z}  {'pass' if passes(row) else 'FAIL'}"
    )


def verdict(rows: Sequence[Calibration]) -> None:
    """Return when all pass.

    Raises:
        LabError: (exit code 1) an estimate is further from its truth than 4 standard errors and its bias bound.
    """
    failed = [f"{row.estimator} ({row.case}, seed {row.seed})" for row in rows if not passes(row)]
    if failed:
        raise LabError(
            f"{len(failed)} of {len(rows)} estimates miss their truth by more than {SIGMAS:g} standard errors and the "
            f"bias bound: {'; '.join(failed)}"
        )


def library_cases() -> list[Case]:
    """The cases of the estimators of this library."""
    from infolab import known, known_immse  # they are made of what is defined here

    return [*known.INFORMATION, *known.LIKELIHOOD, *known_immse.CASES, *known.PAIRS]


def main() -> None:
    """Measure one seed of every case of the library and print it; exit code 1 when an estimate misses its truth."""
    parser = argparse.ArgumentParser(prog=called_as("python -m infolab calibrate"), description=__doc__)
    parser.add_argument("--seeds", type=int, default=1, help="seeds of each case (default: 1)")
    parser.add_argument("--size", type=int, default=1, help="factor on the number of examples (default: 1, seconds)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    run_main(lambda: _report(options))


def _report(options: argparse.Namespace) -> None:
    rows = calibrate(library_cases(), range(options.seeds), options.size, sys.stderr if options.json else None)
    if options.json:
        passed = sum(passes(row) for row in rows)
        record = {"estimates": len(rows), "passed": passed, "rows": [asdict(row) for row in rows]}
        sys.stdout.write(json.dumps(record) + "\n")
    verdict(rows)
