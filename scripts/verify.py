"""`python -m scripts.verify`: the user's rows beside the reference's, difference over standard error, verdicts."""

import argparse
import sys
from pathlib import Path

import pandas as pd

from infolab import results as tables
from infolab.errors import UserError, run_main
from scripts import agreement
from scripts.agreement import Matched
from scripts.tables import declared_tables

SHOWN = 3
"""Settings without a counterpart that are written out; the rest are counted."""


def compare_tables(results: Path, paper: str | None) -> tuple[dict[str, Matched], list[str]]:
    """Compare every table that has rows on both sides.

    Returns:
        Comparisons by table, and the names of the user's tables that have no reference rows.
    """
    found, without = {}, []
    for name, table in sorted(declared_tables().items()):
        if (paper and not name.startswith(f"{paper}/")) or not table.names("value"):
            continue
        yours = tables.read(results, name)
        if yours.empty:
            continue
        reference = tables.read(results / "reference", name)
        if reference.empty:
            without.append(name)
        else:
            found[name] = agreement.compare(table, yours, reference)
    return found, without


def describe(row: pd.Series, names: list[str]) -> str:
    """Settings on one line: `T=0.2 m=200`; empty ones are left out."""
    there = [(name, row[name]) for name in names if not pd.isna(row[name])]
    return " ".join(f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}" for name, value in there)


def listing(rows: pd.DataFrame, names: list[str]) -> str:
    """Tests as an aligned table of text."""
    cells = [("settings", "column", "yours", "reference", "difference/se", "agrees")]
    for _, row in rows.iterrows():
        numbers = (f"{row['yours']:.6g}", f"{row['reference']:.6g}", f"{row['z']:+.2f}")
        cells.append((describe(row, names), row["column"], *numbers, "no"))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in cells]
    return "\n".join(line.rstrip() for line in lines)


def summary(name: str, matched: Matched, bad: int) -> str:
    """What one table's comparison says, without the disagreeing rows themselves."""
    count = matched.tests["verdict"].value_counts()
    lines = [
        f"{name}: {len(matched.tests)} values compared: {count.get('same', 0)} identical, "
        f"{count.get('tested', 0) - bad} agree within their errors, {bad} disagree"
    ]
    if count.get("one seed", 0):
        lines.append(f"  {count['one seed']} differ but are not comparable: one seed on both sides; run more seeds")
    for row in matched.missing.head(SHOWN).itertuples():
        where = describe(pd.Series(row._asdict()), matched.settings)
        lines.append(
            f"  {row.column} is empty in {row.empty_yours:.0%} of your rows and {row.empty_reference:.0%} of the "
            f"reference's: {where}"
        )
    if len(matched.missing) > SHOWN:
        lines.append(f"    and {len(matched.missing) - SHOWN} more")
    if len(matched.only_yours):
        lines.append(f"  {len(matched.only_yours)} settings are only in yours (no counterpart, not compared):")
        lines += [f"    {describe(row, matched.settings)}" for _, row in matched.only_yours.head(SHOWN).iterrows()]
        if len(matched.only_yours) > SHOWN:
            lines.append(f"    and {len(matched.only_yours) - SHOWN} more")
    if len(matched.only_reference):
        lines.append(f"  {len(matched.only_reference)} settings are only in the reference")
    return "\n".join(lines)


def totals(found: dict[str, Matched], without: list[str]) -> str:
    """How many values were compared in how many tables, and the tables in which none was (one seed, no counterpart)."""
    compared = {name: int((matched.tests["verdict"] != "one seed").sum()) for name, matched in found.items()}
    empty = sorted([*without, *(name for name, count in compared.items() if count == 0)])
    every = len(found) + len(without)
    text = f"{sum(compared.values()):,} values compared in {every - len(empty)} of {every} tables"
    return text + (f"; nothing was compared in {', '.join(empty)}" if empty else "")


def report(found: dict[str, Matched], without: list[str]) -> bool:
    """Print the comparison of every table, the totals last; True when nothing disagrees.

    Args:
        found: comparisons by table, at least one.
        without: tables that have no reference rows, for the totals.
    """
    tests = pd.concat([m.tests.assign(column=n + ": " + m.tests["column"], table=n) for n, m in found.items()])
    bad = agreement.disagreeing(tests)
    for name, matched in found.items():
        rows = bad[bad["table"] == name]
        print(summary(name, matched, len(rows)))
        if len(rows):
            print(listing(rows.assign(column=rows["column"].str.removeprefix(f"{name}: ")), matched.settings))
    shifted = agreement.disagreeing_columns(tests)
    for column, p in shifted.items():
        print(f"{column} disagrees as a whole (Simes p = {p:.2g} over its settings)")
    missing = sum(int((matched.missing["verdict"] == "missing").sum()) for matched in found.values())
    agrees = bad.empty and not shifted and not missing
    verdict = "no value disagrees" if agrees else f"disagreement: {len(bad)} values, {len(shifted)} whole columns"
    verdict += f", {missing} that one side does not have in any seed" if missing else ""
    print(f"{verdict} (family-wise level {agreement.LEVEL}): {totals(found, without)}")
    return agrees


def main() -> None:
    """Print the comparison; exit 1 when something disagrees."""
    parser = argparse.ArgumentParser(prog="python -m scripts.verify", description=__doc__)
    parser.add_argument("--paper", help="only this paper's tables")
    parser.add_argument("--results-dir", type=Path, default=Path("results"), help="yours; the reference lies below it")
    arguments = parser.parse_args()
    papers = sorted({name.split("/")[0] for name in declared_tables()})
    if arguments.paper and arguments.paper not in papers:
        raise UserError(f"no tables of '{arguments.paper}': choose one of {', '.join(papers)}")
    if not arguments.results_dir.is_dir():
        raise UserError(f"'{arguments.results_dir}' is not a folder: give --results-dir the folder that holds results")
    found, without = compare_tables(arguments.results_dir, arguments.paper)
    for name in without:
        print(f"{name}: the reference has no rows: nothing to compare with")
    if not found and not without:
        command = "make reproduce" + (f" PAPER={arguments.paper}" if arguments.paper else "")
        print(f"nothing to verify: '{arguments.results_dir}' has no rows of yours; run {command} first")
    if found and not report(found, without):
        sys.exit(1)


if __name__ == "__main__":
    run_main(main)
