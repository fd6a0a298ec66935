"""Whether results are whole: each file against the digest in its provenance, each run against its list of files."""

import contextlib
import hashlib
import io
import json
import re
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from infolab.errors import in_a_line
from infolab.files import contents

SUFFIXES = (".csv", ".csv.gz", ".npz")
RETRIES, PAUSE = 2, 0.1  # seconds
OF_OWN_FILES = re.compile(r"[0-9a-f]{12}-[0-9a-f]{6}")
"""Id of a run that read files of the user's own, see `infolab.config.run_id`."""

Found = TypeVar("Found")


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
        content = contents(path)
        if "sha256" not in provenance and path.suffix == ".npz":
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                if archive.testzip() is not None:
                    raise ValueError("wrong checksum")
    except Exception as error:  # a damaged file can fail in any way
        raise DamagedError(in_a_line(error)) from error
    return content


def compare(content: bytes, provenance: dict[str, Any]) -> None:
    """Compare a result's content with the digest in its provenance; versions that kept no digest are believed.

    Raises:
        DamagedError: it was changed.
    """
    expected = provenance.get("sha256")
    if expected is not None and expected != digest(content):
        raise DamagedError("not what its provenance has the digest of")


def steadily(read: Callable[[], Found], failure: type[Exception] = DamagedError) -> Found:
    """What `read` returns; where it finds damage it is called again, twice: a result may be about to be replaced.

    The provenance of a result that is made again is there an instant before the result itself.

    Raises:
        Exception: `failure`, which it raised at every call.
    """
    for _ in range(RETRIES):
        try:
            return read()
        except failure:
            time.sleep(PAUSE)
    return read()


def check(path: Path) -> dict[str, Any]:
    """Check one result file, and the number of rows of a table; returns its provenance.

    Raises:
        DamagedError: it is not whole.
    """
    return steadily(lambda: _check_once(path))


def _check_once(path: Path) -> dict[str, Any]:
    provenance = read_provenance(path)
    content = read_content(path, provenance)
    rows = content.count(b"\n") - 1
    if "rows" in provenance and rows != provenance["rows"]:
        raise DamagedError(f"{max(rows, 0)} rows, its provenance says {provenance['rows']}")
    compare(content, provenance)
    return provenance


def id_of(path: Path) -> str:
    """The id of the run whose result `path` is."""
    return path.name.partition(".")[0]


def latest(paths: list[Path]) -> list[Path]:
    """The files, but of runs that differ in the contents of their data files alone only the one that finished last."""
    own = {id_of(path)[:12] for path in paths if OF_OWN_FILES.fullmatch(id_of(path))}
    last: dict[str, tuple[str, Path]] = {}
    for path in paths:
        settings = id_of(path)[:12]
        if settings in own:
            with contextlib.suppress(DamagedError):  # which is said where the file itself is read
                finished = str(read_provenance(path).get("finished", ""))
                last[settings] = max(last.get(settings, ("", path)), (finished, path))
    return [path for path in paths if id_of(path)[:12] not in last or path == last[id_of(path)[:12]][1]]


def files_of_run(paper_folder: Path, run_id: str, experiment: str) -> dict[str, str]:
    """The result files of one run of one experiment, `<table>/<file>`, with the digests in their provenance.

    Args:
        paper_folder: results/<paper>.
        run_id: the run's id.
        experiment: the run's; another experiment on the same run (the scores of a grid) has a list of its own.
    """
    found = {}
    for suffix in SUFFIXES:
        for path in paper_folder.glob(f"*/{run_id}{suffix}"):
            with contextlib.suppress(DamagedError):
                provenance = read_provenance(path)
                if provenance.get("experiment") == experiment:
                    found[f"{path.parent.name}/{path.name}"] = str(provenance.get("sha256", ""))
    return found


def check_run(path: Path) -> None:
    """Check the table that marks a run as finished, and every result that its provenance lists beside it.

    Raises:
        DamagedError: one of them is missing, not whole, or of another start of the run; says which.
    """
    for name, expected in check(path).get("beside", {}).items():
        other = path.parent.parent / name
        try:
            if not other.is_file():
                raise DamagedError("it is missing")
            if check(other).get("sha256", "") != expected:
                raise DamagedError("of another start of the run than the table that it wrote last")
        except DamagedError as error:
            raise DamagedError(f"{name}: {error}") from error


def _stem(path: Path) -> str:
    return path.name.removesuffix(".gz").rpartition(".")[0]
