"""Whether results are whole: each file against the digest in its provenance, each run against its list of files."""

import gzip
import hashlib
import io
import json
import zipfile
import zlib
from pathlib import Path
from typing import Any

SUFFIXES = (".csv", ".csv.gz", ".npz")


class DamagedError(Exception):
    """A result file is not what was written; the message says in what, without the path."""


def digest(content: bytes) -> str:
    """SHA-256 of a result's content (of a .csv.gz: of the CSV in it), as its provenance holds it."""
    return hashlib.sha256(content).hexdigest()


def provenance_path(path: Path) -> Path:
    """The JSON beside a result file."""
    return path.with_name(_stem(path) + ".json")


def read_provenance(path: Path) -> dict[str, Any]:
    """What is beside the result `path`.

    Raises:
        DamagedError: nothing readable.
    """
    try:
        found = json.loads(provenance_path(path).read_text())
        if not isinstance(found, dict):
            raise ValueError("no object")
        return found
    except (OSError, ValueError) as error:
        raise DamagedError(f"no readable provenance '{provenance_path(path).name}'") from error


def read_content(path: Path, provenance: dict[str, Any]) -> bytes:
    """The content of the result `path`, a .csv.gz unpacked; `compare` it before it is believed.

    Raises:
        DamagedError: it cannot be read or unpacked.
    """
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
        if "sha256" not in provenance and path.suffix == ".npz":
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                if archive.testzip() is not None:
                    raise ValueError("wrong checksum")
    except (OSError, EOFError, ValueError, zlib.error, zipfile.BadZipFile) as error:
        raise DamagedError(str(error)) from error
    return content


def compare(content: bytes, provenance: dict[str, Any]) -> None:
    """Compare a result's content with the digest in its provenance; versions that kept no digest are believed.

    Raises:
        DamagedError: it was changed.
    """
    if provenance.get("sha256", digest(content)) != digest(content):
        raise DamagedError("not what its provenance has the digest of")


def check(path: Path) -> None:
    """Check one result file, and the number of rows of a table.

    Raises:
        DamagedError: it is not whole.
    """
    provenance = read_provenance(path)
    content = read_content(path, provenance)
    rows = content.count(b"\n") - 1
    if "rows" in provenance and rows != provenance["rows"]:
        raise DamagedError(f"{max(rows, 0)} rows, its provenance says {provenance['rows']}")
    compare(content, provenance)


def files_of_run(paper_folder: Path, run_id: str, experiment: str) -> list[str]:
    """The result files of one run of one experiment, `<table>/<file>`, sorted.

    Args:
        paper_folder: results/<paper>.
        run_id: the run's id.
        experiment: the run's; another experiment on the same run (the scores of a grid) has a list of its own.
    """
    found = []
    for suffix in SUFFIXES:
        for path in paper_folder.glob(f"*/{run_id}{suffix}"):
            try:
                own = read_provenance(path).get("experiment") == experiment
            except DamagedError:
                own = False
            found += [f"{path.parent.name}/{path.name}"] if own else []
    return sorted(found)


def check_run(path: Path) -> None:
    """Check the table that marks a run as finished, and every result that its provenance lists beside it.

    Raises:
        DamagedError: one of them is missing or not whole; says which.
    """
    check(path)
    for name in read_provenance(path).get("beside", []):
        other = path.parent.parent / name
        try:
            if not other.is_file():
                raise DamagedError("it is missing")
            check(other)
        except DamagedError as error:
            raise DamagedError(f"{name}: {error}") from error


def _stem(path: Path) -> str:
    return path.name.removesuffix(".gz").rpartition(".")[0]
