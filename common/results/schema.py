"""How a table of results is declared: a frozen dataclass whose fields describe themselves."""

import dataclasses
import math
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

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
