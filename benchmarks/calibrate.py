"""`python -m benchmarks.calibrate`: every estimator on laws with known answers; exit code 1 when one is wrong."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks import known_bound, known_immse, known_information, known_likelihood, known_mi, known_vae
from benchmarks.commands import Parser, check_writable, provenance
from benchmarks.known import SIGMAS, Case, passes
from infolab.errors import LabError, run_main
from infolab.results import Calibration, write

CASES: list[Case] = [
    *known_information.CASES,
    *known_likelihood.CASES,
    *known_bound.CASES,
    *known_immse.CASES,
    *known_mi.CASES,
    *known_vae.CASES,
]
SEEDS = (0, 1, 2)
SIZE = 6
"""Factor on the number of examples of the quick run."""

HEAD = (
    f"{'estimator':27} {'case':40} {'d':>2} {'snr':>6} {'seed':>4} {'truth':>12} {'estimate':>12} {'se':>9} "
    f"{'bias<':>8} {'z':>6}  pass"
)


def main() -> None:
    """Measure, print, write the table, and fail when an estimate misses its truth."""
    parser = Parser(prog="python -m benchmarks.calibrate", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one seed and a sixth of the examples: seconds")
    parser.add_argument("--results-dir", type=Path, default=Path("results"), help="folder of the tables")
    options = parser.parse_args()
    check_writable(options.results_dir / "calibration" / "estimators")
    seeds, size = ((0,), 1) if options.quick else (SEEDS, SIZE)
    rows = calibrate(CASES, seeds, size)
    settings = {"quick": options.quick, "seeds": list(seeds), "size": size}
    path = write(
        options.results_dir, Calibration, "calibration", rows, provenance("calibration", "estimators", settings)
    )
    print(f"{len(rows)} estimates in {sum(row.seconds for row in rows):.0f} s, written to {path}")
    verdict(rows)


def calibrate(cases: Iterable[Case], seeds: Sequence[int], size: int) -> list[Calibration]:
    """Measure every case with every seed, one printed line each."""
    print(HEAD)
    rows = []
    for case in cases:
        for seed in seeds:
            row = case.row(size, seed)
            print(line(row), flush=True)
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


if __name__ == "__main__":
    run_main(main)
