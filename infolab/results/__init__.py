"""Result tables: declared once, written whole, read without torch (figures are redrawn on machines that lack it)."""

from infolab.results.images import read_arrays, write_arrays
from infolab.results.store import (
    TABLES,
    Column,
    Table,
    files,
    ids_by_settings,
    is_written,
    read,
    read_or_reference,
    refuse_mixture,
    table_named,
    table_of,
    table_path,
    write,
)
from infolab.results.tables import Calibration, Speed

__all__ = [
    "TABLES",
    "Calibration",
    "Column",
    "Speed",
    "Table",
    "files",
    "ids_by_settings",
    "is_written",
    "read",
    "read_arrays",
    "read_or_reference",
    "refuse_mixture",
    "table_named",
    "table_of",
    "table_path",
    "write",
    "write_arrays",
]
