"""`python -m scripts.make_reference`: copy your results into results/reference, for maintainers.

Runs that the reference holds already are replaced where their id is the same; others stay.
"""

import argparse
import shutil
from pathlib import Path

from infolab.results import files
from scripts.tables import declared_tables

ALSO = ("bench/speed.csv", "bench/speed.json", "figures/diffusion/toy_bound_T.png")
"""Copied as they are: the speed table, and the figure that the README shows."""


def main() -> None:
    """Copy the tables and arrays of one paper, or of all."""
    parser = argparse.ArgumentParser(prog="python -m scripts.make_reference", description=__doc__)
    parser.add_argument("--results-dir", type=Path, default=Path("results"))
    parser.add_argument("--paper", default="", help="one folder only")
    arguments = parser.parse_args()
    names = [name for name in declared_tables() if name.startswith(arguments.paper)]
    copied = [path for name in names for path in files(arguments.results_dir, name)]
    papers = sorted({path.parent.parent for path in copied})
    copied += [path for paper in papers for path in sorted((paper / "images").glob("*.npz"))]
    for path in copied:
        _copy(path, arguments.results_dir)
    for source in (arguments.results_dir / name for name in ALSO):
        if source.exists():
            target = arguments.results_dir / "reference" / source.relative_to(arguments.results_dir)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    print(f"copied {len(copied)} files to '{arguments.results_dir / 'reference'}'")


def _copy(path: Path, results: Path) -> None:
    target = results / "reference" / path.relative_to(results)
    target.parent.mkdir(parents=True, exist_ok=True)
    stem = path.name
    for suffix in (".gz", ".csv", ".npz"):
        stem = stem.removesuffix(suffix)
    provenance = path.with_name(f"{stem}.json")
    for source in (provenance, path):
        shutil.copyfile(source, target.with_name(source.name))


if __name__ == "__main__":
    main()
