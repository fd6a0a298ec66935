"""`python -m scripts.report`: results/report.html, one self-contained page of figures, numbers and their provenance."""

import argparse
import base64
import functools
import inspect
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import jinja2

from infolab import atomic
from infolab.errors import UserError, run_main
from scripts import provenance
from scripts.figures import all_products
from scripts.registry import Product, Sheet
from scripts.select import NoRowsError

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
    sheets: list[Sheet] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    runs: list[dict[str, str]] = field(default_factory=list)


def section(results: Path, paper: str, products: list[Product]) -> Section:
    """Collect the drawn figures, the summary tables, what is missing and the provenance of one paper."""
    page = Section(paper, runs=provenance.runs(results, paper))
    skipped = defaultdict(list)
    for product in products:
        if product.folder == "figures":
            picture = product.target(results)
            if picture.exists():
                data = "data:image/png;base64," + base64.b64encode(picture.read_bytes()).decode()
                page.figures.append(Picture(product.name, _caption(product), data))
            else:
                note = product.skip_note(results)
                reason = note.read_text().split(": ", 1)[1].strip() if note.exists() else "run make analysis"
                skipped[reason].append(product.name)
            continue
        try:
            built = product.build(results)
        except NoRowsError as error:
            skipped[f"{error}; run {product.how}"].append(product.name)
            continue
        if isinstance(built, Sheet):
            page.sheets.append(built)
    page.missing = [f"{', '.join(names)}: {reason}" for reason, names in skipped.items()]
    return page


def render(results: Path) -> str:
    """The page's text."""
    by_paper = defaultdict(list)
    for product in all_products().values():
        by_paper[product.paper].append(product)
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    papers = [section(results, paper, products) for paper, products in by_paper.items()]
    return template.render(papers=papers, results=str(results)) + "\n"


def _caption(product: Product) -> str:
    build = product.build.func if isinstance(product.build, functools.partial) else product.build
    return " ".join((inspect.getdoc(build) or "").split())


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
