"""The one file of speeds, results/bench/speed.csv: how rows are merged into it, and how they look in a terminal."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from infolab import atomic
from infolab.errors import UserError
from infolab.files import reading
from infolab.results import Speed, table_of
from infolab.results.store import check_row

HEAD = (
    f"{'row':38} {'unit':>9} {'reference':>10} {'ours':>10} {'ratio':>7} {'low':>7} {'high':>7} {'wanted':>7}  "
    f"{'met':3} {'GFLOP/s':>8}"
)


def line(row: Speed, gflops: float) -> str:
    """One row of the printed table; `gflops` is the achieved rate of ours, 0 where it is not counted."""
    met = "yes" if row.ratio >= row.wanted else "NO"
    rate = f"{gflops:8.0f}" if gflops else f"{'-':>8}"
    return (
        f"{row.name:38} {row.unit:>9} {row.reference:10.4g} {row.ours:10.4g} {row.ratio:7.2f} {row.ratio_low:7.2f} "
        f"{row.ratio_high:7.2f} {row.wanted:7.2f}  {met:3} {rate}"
    )


def write(results: Path, rows: Sequence[Speed], provenance: dict[str, Any]) -> Path:
    """Put `rows` into `<results>/bench/speed.csv`, replacing those of the same name and keeping all others.

    `speed.json` beside it holds the provenance of every row, since rows may come from different days. Both files
    appear whole or not at all.

    Raises:
        UserError: the file that is there has other columns, or its provenance cannot be read.
    """
    declared = table_of(Speed)
    path = results / "bench" / "speed.csv"
    records, origins = read(results)
    for row in rows:
        records[row.name] = check_row(declared, row)
        origins[row.name] = provenance
    out = io.StringIO()
    writer = csv.DictWriter(out, declared.names(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records[name] for name in sorted(records))
    head = {"table": declared.name, "schema_version": declared.version, "rows": origins}
    atomic.write_text(path.with_suffix(".json"), json.dumps(head, indent=1, sort_keys=True) + "\n")
    atomic.write_text(path, out.getvalue())
    return path


def read(results: Path) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Rows (as text) and their provenance, by name, as they stand in the file; empty where there is none.

    Raises:
        UserError: the file has other columns, or it or its provenance is damaged.
    """
    path = results / "bench" / "speed.csv"
    if not path.exists():
        return {}, {}
    with reading(path, "a whole table beside its provenance", "delete both and run the benchmarks again"):
        with path.open(newline="") as file:
            reader = csv.DictReader(file)
            records = {record["name"]: record for record in reader}
        origins = json.loads(path.with_suffix(".json").read_text())["rows"]
    if reader.fieldnames != table_of(Speed).names():
        raise UserError(f"'{path}' has other columns than this version writes: delete it and run the benchmarks again")
    return records, {name: origins.get(name) for name in records}
