"""Who was memorized: scores, neighbours and near-duplicates of finished grids, and scores from one's own log p(x)."""

import sys

from common.errors import UserError, choose, run_main
from common.sweep import run_sweep
from vae.analysis import GRIDS, HELD_OUT
from vae.importer import import_files
from vae.score_files import score_file

USAGE = """\
Who was memorized: scores, neighbours and near-duplicates of finished grids, and scores from one's own log p(x).

`python -m vae.memorization grids [smoke|quick|paper] [--flags]`: the grids that `vae.cv` has finished, same flags.
`python -m vae.memorization scores --logpx LONG.csv --out SCORES.csv`: columns run, index, inside (0/1), logpx.
`python -m vae.memorization import DIR`: result files of the public memorization study.
"""
# Not the docstring, which python -OO leaves out.

COMMANDS = ("grids", "scores", "import")


def main() -> None:
    """Do what the first word says."""
    run_main(_main)


def _main() -> None:
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        sys.stdout.write(USAGE)
        return
    if sys.argv[1].startswith("-"):
        raise UserError(f"the first word is one of {', '.join(COMMANDS)}, not '{sys.argv[1]}'")
    command, words = choose("command", sys.argv[1], COMMANDS), sys.argv[2:]
    if command == "grids":
        run_sweep(GRIDS, words)
        if not {"--count", "--dry-run"} & set(words):
            run_sweep(HELD_OUT, words)  # needs the runs of `vae.full` too, which may come later
    elif command == "scores":
        score_file(words)
    else:
        import_files(words)


if __name__ == "__main__":
    main()
