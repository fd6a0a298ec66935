"""Pictures and point clouds that figures lay out: arrays results/<paper>/images/<id>.npz, read without torch."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from infolab import atomic
from infolab.errors import UserError
from infolab.results import whole


def write_arrays(
    results: Path, paper: str, run_id: str, arrays: dict[str, np.ndarray], provenance: dict[str, Any]
) -> Path:
    """Write `arrays` (uint8, float32 or integers) and their provenance; whole or not at all.

    Raises:
        ValueError: an array has a type that readers without pickle cannot load.
    """
    for name, array in arrays.items():
        if array.dtype.kind not in "uifU":
            raise ValueError(f"array {name} has type {array.dtype}: only numbers and text are written")
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    folder = results / paper / "images"
    content = buffer.getvalue()
    record = {"sha256": whole.digest(content), **provenance}
    atomic.write_text(folder / f"{run_id}.json", json.dumps(record, indent=1, sort_keys=True) + "\n")
    path = folder / f"{run_id}.npz"
    atomic.write_bytes(path, content)
    return path


def read_arrays(results: Path, paper: str, experiment: str) -> list[tuple[dict[str, Any], dict[str, np.ndarray]]]:
    """All array files of one experiment as (provenance, arrays): the user's own or, where none are, the reference.

    Raises:
        UserError: one of them is damaged.
    """
    for root in (results, results / "reference"):
        found = []
        for path in whole.latest(sorted((root / paper / "images").glob("*.npz"))):
            try:
                provenance = whole.steadily(lambda: whole.read_provenance(path))  # noqa: B023 (called at once)
                if provenance.get("experiment") != experiment:
                    continue
            except whole.DamagedError as error:
                raise _damaged(path, error) from error
            found.append((provenance, load_arrays(path)))
        if found:
            return found
    return []


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of one file that `write_arrays` wrote.

    Raises:
        UserError: it is damaged.
    """
    try:
        content = whole.steadily(lambda: _content(path))
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (whole.DamagedError, ValueError, zipfile.BadZipFile) as error:
        raise _damaged(path, error) from error


def _content(path: Path) -> bytes:
    provenance = whole.read_provenance(path)
    content = whole.read_content(path, provenance)
    whole.compare(content, provenance)
    return content


def _damaged(path: Path, error: Exception) -> UserError:
    return UserError(f"'{path}' is damaged ({error}): delete it and run its command again")
