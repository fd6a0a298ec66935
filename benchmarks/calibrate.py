"""`python -m benchmarks.calibrate`: every estimator on distributions with known answers; exit code 1 if one fails."""

from pathlib import Path

from benchmarks import known_bound, known_vae
from benchmarks.commands import Parser, check_writable, provenance
from infolab.calibrate import Case, calibrate, library_cases, verdict
from infolab.errors import run_main
from infolab.results import Calibration, write

CASES: list[Case] = [*library_cases(), *known_bound.CASES, *known_vae.CASES]
SEEDS = (0, 1, 2)
SIZE = 6
"""Factor on the number of examples of the quick run."""


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


if __name__ == "__main__":
    run_main(main)
