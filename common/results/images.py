"""Pictures and point clouds that figures lay out: arrays results/<paper>/images/<id>.npz, read without torch."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np

from common import atomic
from common.files import load_json, load_npz, names_in_npz

ARRAYS, AGAIN = "a whole .npz file of a run's arrays", "delete it and run its command again"


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
    atomic.write_text(folder / f"{run_id}.json", json.dumps(provenance, indent=1, sort_keys=True) + "\n")
    path = folder / f"{run_id}.npz"
    atomic.write_bytes(path, buffer.getvalue())
    return path


def read_arrays(results: Path, paper: str, experiment: str) -> list[tuple[dict[str, Any], dict[str, np.ndarray]]]:
    """All array files of one experiment as (provenance, arrays): the user's own or, where none are, the reference.

    Raises:
        UserError: a file is damaged.
    """
    for root in (results, results / "reference"):
        found = []
        for path in sorted((root / paper / "images").glob("*.npz")):
            provenance = load_json(path.with_suffix(".json"), dict, "the provenance of a run", AGAIN)
            if provenance.get("experiment") == experiment:
                found.append((provenance, load_npz(path, names_in_npz(path, ARRAYS, AGAIN), (), ARRAYS, AGAIN)))
        if found:
            return found
    return []
