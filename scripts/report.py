"""`python -m scripts.report`: results/report.html, one self-contained page of figures, numbers and their provenance."""

import argparse
import base64
import inspect
import json
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2

from infolab import atomic
from infolab import results as tables
from infolab.errors import UserError, run_main
from scripts import figures
from scripts.products import Product, SummaryTable
from scripts.select import NoRowsError
from scripts.tables import declared_tables

TEMPLATE = Path(__file__).with_name("report.html.j2")


@dataclass
class Picture:
    """One figure as it stands in the page."""

    name: str
    caption: str
    data: str


@dataclass
class Section:
    """What the page says of one paper."""

    name: str
    figures: list[Picture] = field(default_factory=list)
    sheets: list[SummaryTable] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    runs: list[dict[str, str]] = field(default_factory=list)


def section(results: Path, paper: str, products: list[Product]) -> Section:
    """Collect the drawn figures, the summary tables, what is missing and the provenance of one paper."""
    page = Section(paper, runs=runs(results, paper))
    done = figures.read_state(results).get("done", {})
    skipped = defaultdict(list)
    for product in products:
        if product.kind == "figures":
            picture = product.outputs(results)[-1]
            if picture.exists():
                data = "data:image/png;base64," + base64.b64encode(picture.read_bytes()).decode()
                page.figures.append(Picture(product.name, _caption(product), data))
            else:
                _, reason = done.get(product.name, ("", ""))
                skipped[reason or "run make analysis"].append(product.name)
            continue
        try:
            built = product.build(results)
        except NoRowsError as error:
            skipped[f"{error}; run {product.how}"].append(product.name)
            continue
        if isinstance(built, SummaryTable):
            page.sheets.append(built)
    page.missing = [f"{', '.join(names)}: {reason}" for reason, names in skipped.items()]
    return page


def render(results: Path) -> str:
    """The page's text."""
    by_paper = defaultdict(list)
    for product in figures.all_products().values():
        by_paper[product.paper].append(product)
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    papers = [section(results, paper, products) for paper, products in by_paper.items()]
    return template.render(papers=papers, results=str(results)) + "\n"


def _caption(product: Product) -> str:
    return " ".join((inspect.getdoc(product.drawer()) or "").split())


def runs(results: Path, paper: str) -> list[dict[str, str]]:
    """One record for each group of runs of `paper` that share all but seed, config and wall time.

    The user's runs come first, then the reference's. Keys: whose, table, preset, commit, versions, device, runs, rows,
    seeds, minutes; all of them text.
    """
    records = []
    for root, whose in ((results, "yours"), (results / "reference", "reference")):
        for table in sorted(name for name in declared_tables() if name.startswith(f"{paper}/")):
            groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
            for path in tables.files(root, table):
                record = json.loads((path.parent / f"{path.name.split('.csv')[0]}.json").read_text())
                groups.setdefault(_key(record), []).append(record)
            records += [_describe(whose, table, key, members) for key, members in groups.items()]
    return records


def _key(record: dict[str, Any]) -> tuple[str, ...]:
    commit = str(record.get("git_commit") or "unknown")[:10]
    clean = "" if record.get("git_clean", True) else " (with local changes)"
    versions = ", ".join(f"{name} {version}" for name, version in sorted(record.get("versions", {}).items()))
    machine = record.get("machine", {}).get("processor", "")
    device = f"{record.get('device', 'unknown device')}, {record.get('threads', '?')} threads"
    return str(record.get("preset", "")), commit + clean, versions, f"{device}, {machine}" if machine else device


def _describe(whose: str, table: str, key: tuple[str, ...], members: list[dict[str, Any]]) -> dict[str, str]:
    seeds = sorted({seed for member in members for seed in _seeds(member)})
    return {
        "whose": whose,
        "table": table,
        **dict(zip(("preset", "commit", "versions", "device"), key, strict=True)),
        "runs": f"{len(members):,}",
        "rows": f"{sum(int(member.get('rows', 0)) for member in members):,}",
        "seeds": ", ".join(map(str, seeds)),
        "minutes": f"{sum(float(member.get('seconds', 0.0)) for member in members) / 60:.1f}",
    }


def _seeds(member: dict[str, Any]) -> list[int]:
    config = member.get("config", {})
    several = config.get("seeds")
    if isinstance(several, list):
        return [int(seed) for seed in several]
    return [int(config["seed"])] if isinstance(config.get("seed"), int) else []


def main() -> None:
    """Write the page and say where."""
    parser = argparse.ArgumentParser(prog="python -m scripts.report", description=__doc__)
    parser.add_argument("--results-dir", type=Path, default=Path("results"), help="where tables and figures are")
    results = parser.parse_args().results_dir
    if not results.is_dir():
        raise UserError(f"'{results}' is not a folder: give --results-dir the folder that holds results")
    path = results / "report.html"
    atomic.write_text(path, render(results))
    print(f"wrote {path}")


if __name__ == "__main__":
    run_main(main)
