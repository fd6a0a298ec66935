"""Result tables: declared as typed rows, written as one CSV a run beside a JSON of provenance, read without torch."""

import csv
import dataclasses
import gzip
import importlib
import io
import json
import math
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import pandas as pd

from infolab import atomic
from infolab.errors import UserError
from infolab.results import whole

# ----------
# How a table of results is declared: a frozen dataclass whose fields describe themselves.

Kind = Literal["setting", "value", "error", "context"]
Row = TypeVar("Row")


@dataclass(frozen=True)
class Column:
    """One column: its name, python type, meaning and unit; `error_of` names the value whose standard error it is."""

    name: str
    type: type
    kind: Kind
    description: str
    unit: str
    may_be_empty: bool
    error_of: str


@dataclass(frozen=True)
class Table:
    """A declared table: `name` is `<paper>/<table>`, `version` changes whenever the meaning of a column does."""

    name: str
    version: int
    description: str
    row_type: type
    columns: tuple[Column, ...]

    def names(self, *kinds: Kind) -> list[str]:
        """Names of the columns of these kinds, in order (all columns when none is given)."""
        return [column.name for column in self.columns if not kinds or column.kind in kinds]


TABLES: dict[str, Table] = {}


def setting(description: str, unit: str = "") -> Any:
    """Declare a column that says under which settings the row was measured; rows are matched on these."""
    return _column("setting", description, unit, "")


def value(description: str, unit: str = "", *, default: Any = dataclasses.MISSING) -> Any:
    """Declare a measured column."""
    return _column("value", description, unit, "", default)


def error(of: str, unit: str = "", *, default: Any = dataclasses.MISSING, note: str = "") -> Any:
    """Declare the standard error of the column `of`."""
    text = f"standard error of {of}" + (f": {note}" if note else "")
    return _column("error", text, unit, of, default)


def context(description: str, unit: str = "", *, default: Any = dataclasses.MISSING) -> Any:
    """Declare a column for the reader only (time, evaluations), which is not compared between machines."""
    return _column("context", description, unit, "", default)


def _column(kind: Kind, description: str, unit: str, error_of: str, default: Any = dataclasses.MISSING) -> Any:
    metadata = {"kind": kind, "description": description, "unit": unit, "error_of": error_of}
    return dataclasses.field(default=default, metadata=metadata)


@typing.dataclass_transform(kw_only_default=True, frozen_default=True)
def table(name: str, version: int, description: str) -> Callable[[type[Row]], type[Row]]:
    """Class decorator: make the class a frozen dataclass and register it as the table `name`."""

    def register(cls: type[Row]) -> type[Row]:
        row_type = dataclass(frozen=True, kw_only=True)(cls)
        hints = typing.get_type_hints(row_type)
        columns = tuple(_describe(field, hints[field.name]) for field in dataclasses.fields(row_type))  # type: ignore[arg-type]
        if name in TABLES:
            raise ValueError(f"table {name} is declared twice")
        TABLES[name] = Table(name, version, description, row_type, columns)
        return row_type

    return register


def table_named(name: str) -> Table:
    """The table `paper/table`; where it is not declared yet, `<paper>/tables.py` is imported for it."""
    if name not in TABLES:
        importlib.import_module(f"{name.split('/')[0]}.tables")
    return TABLES[name]


def table_of(row_type: type) -> Table:
    """The table that `row_type` was declared as."""
    for declared in TABLES.values():
        if declared.row_type is row_type:
            return declared
    raise ValueError(f"{row_type.__name__} is not a declared table")


def check_row(declared: Table, row: Any) -> dict[str, Any]:
    """Return `row` as a dict after checking every value against its column.

    Raises:
        ValueError: a value is missing, of the wrong type or not finite, and its column may not be empty.
    """
    if type(row) is not declared.row_type:
        raise ValueError(f"table {declared.name} takes rows of type {declared.row_type.__name__}, not {type(row)}")
    record = {column.name: getattr(row, column.name) for column in declared.columns}
    for column in declared.columns:
        _check_value(declared.name, column, record[column.name])
    return record


def _check_value(table_name: str, column: Column, item: Any) -> None:
    where = f"table {table_name}, column {column.name}"
    if item is None:
        if not column.may_be_empty:
            raise ValueError(f"{where}: a value is missing")
        return
    if column.type is float and isinstance(item, int) and not isinstance(item, bool):
        item = float(item)
    if type(item) is not column.type:
        raise ValueError(f"{where}: {item!r} is a {type(item).__name__}, expected {column.type.__name__}")
    if isinstance(item, float) and not math.isfinite(item):
        raise ValueError(f"{where}: {item} is not finite")


def _describe(field: dataclasses.Field, hint: Any) -> Column:
    if "kind" not in field.metadata:
        raise ValueError(f"column {field.name}: declare it by setting(), value(), error() or context()")
    arms = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    base = [arm for arm in arms if arm is not type(None)]
    if len(base) != 1 or base[0] not in (str, int, float, bool):
        raise ValueError(f"column {field.name} must be str, int, float or bool, or one of them | None")
    meta = field.metadata
    return Column(
        field.name, base[0], meta["kind"], meta["description"], meta["unit"], type(None) in arms, meta["error_of"]
    )


# ----------
# Writing and reading result tables: one CSV per run, beside a JSON that says where its numbers come from.

COMPRESS_ROWS = 50_000
"""Tables with more rows than this are written as .csv.gz."""

# Older pandas read floats to within a bit unless told otherwise; newer ones are exact and want no option.
_VERSION = tuple(int(part) for part in pd.__version__.split(".")[:2])
EXACT_FLOATS = {"float_precision": "round_trip"} if _VERSION < (3, 1) else {}


def write(results: Path, row_type: type, run_id: str, rows: Sequence[Any], provenance: dict[str, Any]) -> Path:
    """Write `rows` as `<results>/<paper>/<table>/<run_id>.csv`, whole or not at all.

    The provenance goes to `<run_id>.json` first, with the digest of the CSV, so that a CSV that agrees with it is
    always a finished one; and with the names of what the run has written before this table.

    Raises:
        ValueError: there are no rows, or a value is missing, unknown, of the wrong type or not finite.
    """
    declared = table_of(row_type)
    if not rows:
        raise ValueError(f"table {declared.name}: a finished run must have rows")
    path = table_path(results, declared.name, run_id, compressed=len(rows) > COMPRESS_ROWS)
    text = _to_csv(declared, rows)
    before = whole.files_of_run(path.parent.parent, run_id, str(provenance.get("experiment", "")))
    beside = {name: found for name, found in before.items() if not name.startswith(f"{path.parent.name}/")}
    record = {
        "table": declared.name,
        "schema_version": declared.version,
        "rows": len(rows),
        "sha256": whole.digest(text.encode()),
        **({"beside": beside} if beside else {}),
        **provenance,
    }
    atomic.write_text(path.parent / f"{run_id}.json", json.dumps(record, indent=1, sort_keys=True) + "\n")
    content = gzip.compress(text.encode(), mtime=0) if path.suffix == ".gz" else text.encode()
    atomic.write_bytes(path, content)
    table_path(results, declared.name, run_id, compressed=path.suffix != ".gz").unlink(missing_ok=True)
    return path


def table_path(results: Path, name: str, run_id: str, *, compressed: bool = False) -> Path:
    """Where the CSV of one run of the table `name` lies."""
    return results / name / f"{run_id}.csv{'.gz' if compressed else ''}"


def is_written(results: Path, row_type: type, run_id: str, told: Callable[[str], None] | None = None) -> bool:
    """True when this run's CSV of the table `row_type` is there and whole, and so is all that the run wrote before it.

    Args:
        results: the results folder.
        row_type: the table that a run writes last.
        run_id: the run's id.
        told: is told, in one sentence, where it is there and not whole.
    """
    name = table_of(row_type).name
    for zipped in (False, True):
        path = table_path(results, name, run_id, compressed=zipped)
        if path.exists():
            try:
                whole.check_run(path)
                return True
            except whole.DamagedError as error:
                if told:
                    told(f"the results '{path}' are damaged ({error}): they are made again")
    return False


def ids_by_settings(results: Path, row_type: type) -> dict[str, list[str]]:
    """Ids of the runs in the table `row_type` by `config.settings_id`: several where data files had other contents."""
    found: dict[str, list[str]] = {}
    for path in files(results, table_of(row_type).name):
        found.setdefault(whole.id_of(path).partition("-")[0], []).append(whole.id_of(path))
    return found


def files(results: Path, name: str) -> list[Path]:
    """The CSV files of the table `name`, sorted by name; one scan of one folder."""
    folder = results / name
    return sorted(path for path in folder.glob("*.csv*") if path.name.endswith((".csv", ".csv.gz")))


def read(results: Path, name: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Read all files of the table `name` into one frame (only `columns`, where given); empty when there are none.

    Of runs of the same settings on files whose contents have changed the one that finished last is read.

    Raises:
        UserError: a file was written under another schema version, is damaged, or has other columns.
    """
    declared = table_named(name)
    wanted = list(columns) if columns is not None else declared.names()
    # Small files are joined as text and parsed in batches: a sweep may have thousands of them.
    bodies = ((path, _body(declared, path)) for path in whole.latest(files(results, name)))
    frames = [_parse_all(declared, batch, wanted) for batch in _batches(bodies)]
    if not frames:
        return pd.DataFrame(columns=wanted)
    return pd.concat(frames, ignore_index=True) if len(frames) > 1 else frames[0]


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


Bodies = list[tuple[Path, str]]


def _batches(bodies: Iterable[tuple[Path, str]], characters: int = 1 << 24) -> Iterator[Bodies]:
    """Lists of about `characters` of text, so that nothing holds all runs of a sweep as text at once."""
    batch: Bodies = []
    size = 0
    for path, body in bodies:
        batch.append((path, body))
        size += len(body)
        if size >= characters:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _body(declared: Table, path: Path) -> str:
    """The rows of one CSV as text, after checking its schema version, its header and the number of rows."""
    return whole.steadily(lambda: _body_once(declared, path), UserError)


def _body_once(declared: Table, path: Path) -> str:
    try:
        meta = whole.read_provenance(path)
        version, rows = meta["schema_version"], meta["rows"]
    except (whole.DamagedError, KeyError) as error:
        raise UserError(
            f"'{path}' has no readable provenance '{whole.provenance_path(path).name}': delete the CSV and run its "
            "command again"
        ) from error
    if version != declared.version:
        raise UserError(
            f"'{path}' was written under version {version} of {declared.name}, this code reads version "
            f"{declared.version}: move the file away and run its command again"
        )
    try:
        content = whole.read_content(path, meta)
        header, _, body = content.decode().partition("\n")
    except (whole.DamagedError, ValueError) as error:
        raise _damaged(path, error) from error
    if header.split(",") != declared.names():
        raise UserError(f"'{path}' does not have the columns of {declared.name}: delete it and run its command again")
    if body.count("\n") != rows:
        raise UserError(
            f"'{path}' is damaged ({body.count(chr(10))} rows, its provenance says {rows}): delete it and run its "
            "command again"
        )
    try:
        whole.compare(content, meta)
    except whole.DamagedError as error:
        raise _damaged(path, error) from error
    return body


def _parse_all(declared: Table, batch: Bodies, wanted: list[str]) -> pd.DataFrame:
    try:
        return _parse(declared, "".join(body for _, body in batch), wanted)
    except ValueError:
        for path, body in batch:  # to name the file that does not parse
            try:
                _parse(declared, body, wanted)
            except ValueError as error:
                raise _damaged(path, error) from error
        raise


def _damaged(path: Path, error: Exception) -> UserError:
    return UserError(f"'{path}' is damaged ({error}): delete it and run its command again")


def _parse(declared: Table, body: str, wanted: list[str]) -> pd.DataFrame:
    types = {column.name: column.type for column in declared.columns if column.type in (str, float)}
    frame = pd.read_csv(
        io.StringIO(body),
        names=declared.names(),
        usecols=wanted,
        dtype={name: kind for name, kind in types.items() if name in wanted},
        keep_default_na=False,  # "None" and "NA" are words of ours; only an empty cell is empty
        na_values=[""],
        **EXACT_FLOATS,
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
