"""`python -m benchmarks.run`: every hot path beside a plain reference, in turns; writes results/bench/speed.csv."""

import importlib
from pathlib import Path
from types import ModuleType

from benchmarks import speed_table
from benchmarks.commands import Parser, check_writable, provenance
from benchmarks.timing import LEAST_REPEATS, achieved_gflops, check_repeats, duel_to_row, sgemm_gflops
from infolab.errors import check_choice, run_main

PAPERS = ("diffusion", "itdiffusion", "vae", "scoregen", "infodiffusion")
"""Modules of this folder, each with `ROWS`: row name -> function that prepares its `Duel`."""


def main() -> None:
    """Measure the rows asked for, print them as they come, and keep the other rows of the table."""
    parser = Parser(prog="python -m benchmarks.run", description=__doc__)
    parser.add_argument("--paper", default="", help=f"only this paper's rows: {', '.join(PAPERS)} (default: all)")
    parser.add_argument("--rows", default="", help="only these rows, separated by commas (default: all)")
    parser.add_argument("--repeats", type=int, default=LEAST_REPEATS, help="times each side runs (default: 5)")
    parser.add_argument("--results-dir", type=Path, default=Path("results"), help="folder of the tables")
    options = parser.parse_args()
    measure(wanted_rows(options.paper, options.rows), options.repeats, options.results_dir)


def wanted_rows(paper: str, rows: str) -> dict[str, str]:
    """The rows to measure, name -> paper.

    Args:
        paper: a paper, or "" for all.
        rows: row names separated by commas, or "" for all.

    Raises:
        UserError: an unknown paper or row, with the choices.
    """
    papers = (check_choice("paper", paper, PAPERS),) if paper else PAPERS
    known = {name: owner for owner in papers for name in _module(owner).ROWS}
    names = [check_choice("row", name.strip(), list(known)) for name in rows.split(",")] if rows else list(known)
    return {name: known[name] for name in names}


def measure(rows: dict[str, str], repeats: int, results: Path) -> None:
    """Measure `rows` (name -> paper), print each with its verdict, and write the table after each of them."""
    # What can be refused is refused before minutes of work.
    check_repeats(repeats)
    speed_table.read(results)
    check_writable(results / "bench")
    machine = sgemm_gflops()
    print(f"machine: {machine:.0f} GFLOP/s in a float32 matrix product of 2048 x 2048")
    print(speed_table.HEAD)
    settings = {"repeats": repeats, "machine_sgemm_gflops": round(machine, 1)}
    notes = []
    for name, paper in rows.items():
        duel = _module(paper).ROWS[name]()
        row = duel_to_row(name, duel, repeats)
        rate = achieved_gflops(duel, row)
        print(speed_table.line(row, rate), flush=True)
        note = duel.note()
        if row.ratio < row.wanted:
            note += " Falls short" + (f": {rate:.0f} of the machine's {machine:.0f} GFLOP/s." if rate else ".")
        notes.append(f"{name}: {row.setting}. {note}".rstrip())
        # Written row by row: an interrupted run keeps what it has measured.
        path = speed_table.write(results, [row], provenance("bench", "speed", {**settings, "note": note.strip()}))
    print("\n" + "\n".join(notes) + f"\nwritten to {path}")


def _module(paper: str) -> ModuleType:
    return importlib.import_module(f"benchmarks.{paper}")


if __name__ == "__main__":
    run_main(main)
