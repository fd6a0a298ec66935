"""Writing and reading result tables: one CSV per run, beside a JSON that says where its numbers come from."""

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from common import atomic
from common.errors import UserError
from common.results.schema import TABLES, Table, check_row, table_of

COMPRESS_ROWS = 50_000
"""Tables with more rows than this are written as .csv.gz."""


def write(results: Path, row_type: type, run_id: str, rows: Sequence[Any], provenance: dict[str, Any]) -> Path:
    """Write `rows` as `<results>/<paper>/<table>/<run_id>.csv`, whole or not at all.

    The provenance goes to `<run_id>.json` first, so that a CSV that exists is always a finished one.

    Raises:
        ValueError: there are no rows, or a value is missing, unknown, of the wrong type or not finite.
    """
    declared = table_of(row_type)
    if not rows:
        raise ValueError(f"table {declared.name}: a finished run must have rows")
    path = table_path(results, declared.name, run_id, compressed=len(rows) > COMPRESS_ROWS)
    text = _to_csv(declared, rows)
    record = {"table": declared.name, "schema_version": declared.version, "rows": len(rows), **provenance}
    atomic.write_text(path.parent / f"{run_id}.json", json.dumps(record, indent=1, sort_keys=True) + "\n")
    content = gzip.compress(text.encode(), mtime=0) if path.suffix == ".gz" else text.encode()
    atomic.write_bytes(path, content)
    table_path(results, declared.name, run_id, compressed=path.suffix != ".gz").unlink(missing_ok=True)
    return path


def table_path(results: Path, name: str, run_id: str, *, compressed: bool = False) -> Path:
    """Where the CSV of one run of the table `name` lies."""
    return results / name / f"{run_id}.csv{'.gz' if compressed else ''}"


def is_written(results: Path, row_type: type, run_id: str) -> bool:
    """True when this run's CSV of the table `row_type` is there (and so is whole)."""
    name = table_of(row_type).name
    return any(table_path(results, name, run_id, compressed=zipped).exists() for zipped in (False, True))


def files(results: Path, name: str) -> list[Path]:
    """The CSV files of the table `name`, sorted by name; one scan of one folder."""
    folder = results / name
    return sorted(path for path in folder.glob("*.csv*") if path.name.endswith((".csv", ".csv.gz")))


def read(results: Path, name: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Read all files of the table `name` into one frame (only `columns`, where given); empty when there are none.

    Raises:
        UserError: a file was written under another schema version, is damaged, or has other columns.
    """
    declared = TABLES[name]
    wanted = list(columns) if columns is not None else declared.names()
    frames = [_read_one(declared, path, wanted) for path in files(results, name)]
    if not frames:
        return pd.DataFrame(columns=wanted)
    return pd.concat(frames, ignore_index=True)


def read_or_reference(results: Path, name: str, columns: Sequence[str] | None = None) -> tuple[pd.DataFrame, str]:
    """Read the user's own table, or the committed reference where the user has nothing yet.

    Returns:
        The frame, and "yours" or "reference" (or "nothing", with an empty frame).
    """
    own = read(results, name, columns)
    if len(own):
        return own, "yours"
    reference = read(results / "reference", name, columns)
    return reference, "reference" if len(reference) else "nothing"


def refuse_mixture(frame: pd.DataFrame, columns: Iterable[str]) -> None:
    """Refuse rows that must not stand on one axis.

    Raises:
        UserError: one of `columns` (an estimand, a data scale, a bin width) has more than one value in `frame`.
    """
    for column in columns:
        found = sorted(map(str, frame[column].dropna().unique()))
        if len(found) > 1:
            raise UserError(
                f"rows with different {column} ({', '.join(found)}) cannot be compared: select one of them first"
            )


def _read_one(declared: Table, path: Path, wanted: list[str]) -> pd.DataFrame:
    meta_path = path.parent / (path.name.split(".csv")[0] + ".json")
    try:
        meta = json.loads(meta_path.read_text())
        version, rows = meta["schema_version"], meta["rows"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"'{path}' has no readable provenance '{meta_path.name}': delete the CSV and run its command again"
        ) from error
    if version != declared.version:
        raise UserError(
            f"'{path}' was written under version {version} of {declared.name}, this code reads version "
            f"{declared.version}: move the file away and run its command again"
        )
    try:
        header = pd.read_csv(path, nrows=0).columns.tolist()
        if header != declared.names():
            raise UserError(
                f"'{path}' does not have the columns of {declared.name}: delete it and run its command again"
            )
        frame = _parse(declared, path, wanted)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise UserError(f"'{path}' is damaged ({error}): delete it and run its command again") from error
    if len(frame) != rows:
        raise UserError(
            f"'{path}' is damaged ({len(frame)} rows, its provenance says {rows}): delete it and run its command again"
        )
    return frame


def _parse(declared: Table, path: Path, wanted: list[str]) -> pd.DataFrame:
    types = {column.name: column.type for column in declared.columns if column.type in (str, float)}
    frame = pd.read_csv(
        path,
        usecols=wanted,
        dtype={name: kind for name, kind in types.items() if name in wanted},
        float_precision="round_trip",  # pandas' own parser is off by one bit now and then
        keep_default_na=False,  # "None" and "NA" are words of ours; only an empty cell is empty
        na_values=[""],
    )
    return frame[wanted]


def _to_csv(declared: Table, rows: Sequence[Any]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(declared.names())
    for row in rows:
        record = check_row(declared, row)
        # repr() of a float is the shortest text that reads back to the same bits.
        writer.writerow(
            ["" if item is None else repr(item) if isinstance(item, float) else item for item in record.values()]
        )
    return out.getvalue()
