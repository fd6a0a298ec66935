"""`python -m scripts.figures NAME ...`: draw figures and summary tables from whatever result tables are there."""

import argparse
from collections import defaultdict
from pathlib import Path

from infolab import atomic
from infolab.errors import UserError, run_main
from scripts import calibration, diffusion, infodiffusion, itdiffusion, scoregen, style, summaries, vae
from scripts.registry import Product, Sheet
from scripts.select import NoRowsError

PARTS = (diffusion, itdiffusion, vae, scoregen, infodiffusion, calibration)
"""Modules with `products()`, one for each paper and one for the lab itself."""


def all_products() -> dict[str, Product]:
    """Every figure and table by name."""
    return {product.name: product for part in PARTS for product in part.products()}


def draw(product: Product, results: Path) -> str | None:
    """Write the product's files and return None, or return why there is nothing to draw.

    What was drawn before from rows that are gone is removed: it would show what is no longer there.
    """
    note = product.skip_note(results)
    try:
        with style.applied():
            built = product.build(results)
            if isinstance(built, Sheet):
                stem = product.stem(results)
                atomic.write_text(stem.with_name(f"{product.name}.csv"), built.cells.to_csv(index=False))
                atomic.write_text(stem.with_name(f"{product.name}.tex"), summaries.to_latex(built))
                atomic.write_text(stem.with_name(f"{product.name}.md"), summaries.to_markdown(built))
            else:
                style.save(built, product.stem(results))
    except NoRowsError as error:
        for path in product.outputs(results):
            path.unlink(missing_ok=True)
        reason = f"{error}; run {product.how}"
        atomic.write_text(note, f"skipped {product.name}: {reason}\n")
        return reason
    note.unlink(missing_ok=True)
    return None


def chosen(names: list[str], paper: str | None) -> list[Product]:
    """The products with these names (all when there are none), of one paper where given.

    Raises:
        UserError: a name or the paper is unknown.
    """
    products = all_products()
    unknown = [name for name in names if name not in products]
    if unknown:
        raise UserError(f"unknown figure '{unknown[0]}': choose one of {', '.join(products)}")
    papers = sorted({product.paper for product in products.values()})
    if paper is not None and paper not in papers:
        raise UserError(f"no figures for '{paper}': choose one of {', '.join(papers)}")
    wanted = [products[name] for name in names] or list(products.values())
    return [product for product in wanted if paper in (None, product.paper)]


def main() -> None:
    """Draw, and say on standard output what was drawn and what was skipped (which is not an error)."""
    parser = argparse.ArgumentParser(prog="python -m scripts.figures", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="figures or tables; all of them when none is named")
    parser.add_argument("--list", action="store_true", help="print the names and exit")
    parser.add_argument("--paper", help="only this paper's")
    parser.add_argument(
        "--results-dir", type=Path, default=Path("results"), help="where tables are read, figures written"
    )
    arguments = parser.parse_args()
    products = chosen(arguments.names, arguments.paper)
    if arguments.list:
        print("\n".join(product.name for product in products))
        return
    if not arguments.results_dir.is_dir():
        raise UserError(f"'{arguments.results_dir}' is not a folder: give --results-dir the folder that holds results")
    skipped = defaultdict(list)
    for product in products:
        reason = draw(product, arguments.results_dir)
        if reason is None:
            print(f"drew {product.target(arguments.results_dir)}", flush=True)
        else:
            skipped[reason].append(product.name)
    for reason, names in skipped.items():
        print(f"skipped {', '.join(names)}: {reason}")


if __name__ == "__main__":
    run_main(main)
