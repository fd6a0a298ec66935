"""`python -m scripts.figures [NAME ...]`: draw the figures and summary tables whose rows or scripts have changed.

What each was drawn from is kept in results/figures/.state/products.json: the names, sizes and times of its files of
results, the user's and the reference's (so that one that is deleted is a change too), and the text of its scripts. The
declarations are kept there as well, so that the libraries that draw are imported only where there is something to draw.
Products that are named are drawn whether anything has changed or not.
"""

import argparse
import ast
import contextlib
import functools
import hashlib
import importlib
import json
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from infolab import atomic
from infolab.errors import UserError, check_choice, run_main
from scripts.products import DECLARED, Product, SummaryTable, to_latex, to_markdown

MODULES = (
    "diffusion_toy",
    "diffusion_images",
    "diffusion_choice",
    "diffusion_penalty",
    "itdiffusion_laws",
    "itdiffusion_images",
    "vae_curves",
    "vae_scores",
    "scoregen_sweeps",
    "scoregen_clusters",
    "infodiffusion",
    "calibration",
)
"""Modules that declare what they draw."""
SCRIPTS = Path(__file__).parent
STATE = "figures/.state/products.json"
ENDINGS = (".csv", ".csv.gz", ".npz")


def all_products() -> dict[str, Product]:
    """Every figure and table by name: module by module, in each by data set."""
    for name in MODULES:
        importlib.import_module(f"scripts.{name}")
    found: list[Product] = []
    for name in MODULES:
        own = [product for product in DECLARED.values() if product.module == f"scripts.{name}"]
        sets = list(dict.fromkeys(product.arguments.get("dataset") for product in own))
        found += sorted(own, key=lambda product: sets.index(product.arguments.get("dataset")))
    return {product.name: product for product in found}


def draw(product: Product, results: Path) -> str | None:
    """Write the product's files and return None, or return why there is nothing to draw.

    What was drawn before from rows that are gone is removed: it would show what is no longer there.
    """
    from scripts import select, style

    paths = product.outputs(results)
    try:
        with style.applied():
            built = product.build(results)
            if isinstance(built, SummaryTable):
                for path, text in zip(
                    paths, (built.cells.to_csv(index=False), to_latex(built), to_markdown(built)), strict=True
                ):
                    atomic.write_text(path, text)
            else:
                style.save(built, paths)
    except select.NoRowsError as error:
        for path in paths:
            path.unlink(missing_ok=True)
        return f"{error}; run {product.how}"
    return None


class Inputs:
    """What products are drawn from, as it is now; each folder and script is read once."""

    def __init__(self, results: Path):
        self.roots = (results, results / "reference")
        self.folder = functools.cache(_files)
        self.pictures = functools.cache(_by_experiment)
        self.parsed = functools.cache(_parsed)

    def mark(self, product: Product) -> str:
        """A digest that changes whenever a file of the product's sources or a script of its does."""
        files: list[Any] = []
        for source in product.sources:
            folder, _, experiment = source.partition(":")
            for root in self.roots:
                place = root / folder
                files.append(self.pictures(place).get(experiment) if experiment else self.folder(place))
        return _digest(json.dumps([asdict(product), self.scripts(product.module), files]))

    def scripts(self, *modules: str) -> dict[str, str]:
        """Digests of the text of modules of scripts/ and of those that they import."""
        found: dict[str, str] = {}
        names = list(modules)
        while names:
            name = names.pop()
            if name not in found and (parsed := self.parsed(name)):
                found[name], imports = parsed
                names += imports
        return dict(sorted(found.items()))


def _files(folder: Path) -> list[tuple[str, int, int]]:
    """Name, size and time of each file of results in a folder."""
    if not folder.is_dir():
        return []
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(ENDINGS):
                with contextlib.suppress(FileNotFoundError):  # a sweep may be writing at this moment
                    stat = entry.stat()
                    found.append((entry.name, stat.st_size, stat.st_mtime_ns))
    return sorted(found)


def _by_experiment(folder: Path) -> dict[str, list[tuple[str, int, int]]]:
    """The array files of a folder, by the experiment that their provenance names."""
    found = defaultdict(list)
    for file in _files(folder):
        try:
            experiment = json.loads((folder / file[0]).with_suffix(".json").read_bytes()).get("experiment")
        except (OSError, ValueError):
            continue  # whoever reads it will say that it is damaged
        found[experiment].append(file)
    return found


def _parsed(name: str) -> tuple[str, list[str]] | None:
    """Digest of a module's text, and what it may import from scripts/; None where there is no such module."""
    path = SCRIPTS.parent / f"{name.replace('.', '/')}.py"
    if not path.exists():
        return None
    text, imports = path.read_text(encoding="utf-8"), []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] == "scripts":
            imports += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return _digest(text), imports


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def read_state(results: Path) -> dict[str, Any]:
    """What was declared and drawn at the last time; nothing where that cannot be read."""
    try:
        state = json.loads((results / STATE).read_bytes())
    except (OSError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}


def write_state(results: Path, code: dict[str, str], products: Iterable[Product], done: dict[str, list[str]]) -> None:
    """Add what has been drawn to the state of this moment, which another process may have written since it was read.

    Where nothing differs, nothing is written: the file's time says when a figure or a script last changed.
    """
    before = read_state(results)
    records = [asdict(product) for product in products]
    names = {product["name"] for product in records}
    done = {name: one for name, one in {**before.get("done", {}), **done}.items() if name in names}
    text = json.dumps({"code": code, "products": records, "done": done}, indent=0)
    if json.loads(text) != before:
        atomic.write_text(results / STATE, text)


def declared(state: dict[str, Any], code: dict[str, str]) -> dict[str, Product]:
    """The products as they are kept in the state or, where a script has changed since, as the scripts declare them."""
    if state.get("code") != code:
        return all_products()
    return {one["name"]: Product(**{**one, "sources": tuple(one["sources"])}) for one in state["products"]}


def chosen(products: dict[str, Product], names: Sequence[str], paper: str | None) -> list[Product]:
    """The products with these names (all when there are none), of one paper where given.

    Raises:
        UserError: a name or the paper is unknown.
    """
    for name in names:
        check_choice("figure", name, list(products))
    papers = sorted({product.paper for product in products.values()})
    if paper is not None and paper not in papers:
        raise UserError(f"no figures of '{paper}': choose one of {', '.join(papers)}")
    wanted = [products[name] for name in names] or list(products.values())
    return [product for product in wanted if paper in (None, product.paper)]


def update(results: Path, names: Sequence[str] = (), paper: str | None = None) -> dict[str, str]:
    """Draw what is named, or else what has changed, and say on standard output what was drawn.

    Returns:
        Why products that were asked for are not there, by their names.

    Raises:
        UserError: as `chosen`; or results are damaged. What was drawn before that is not drawn again the next time.
    """
    state, inputs = read_state(results), Inputs(results)
    code = inputs.scripts(*(f"scripts.{module}" for module in ("figures", *MODULES)))
    products = declared(state, code)
    wanted = chosen(products, names, paper)
    skipped, done = {}, {}
    try:
        for product in wanted:
            mark, (old, reason) = inputs.mark(product), state.get("done", {}).get(product.name, ("", ""))
            there = reason or all(path.exists() for path in product.outputs(results))
            if names or mark != old or not there:
                reason = draw(product, results) or ""
                done[product.name] = [mark, reason]
                if not reason:
                    print(f"drew {product.outputs(results)[-1]}", flush=True)
            if reason:
                skipped[product.name] = reason
    finally:
        write_state(results, code, products.values(), done)
    if not done:
        print("figures and tables: nothing has changed")
    return skipped


def main() -> None:
    """Draw, and say on standard output what was drawn and what was skipped (which is not an error)."""
    parser = argparse.ArgumentParser(prog="python -m scripts.figures", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="draw these again, changed or not")
    parser.add_argument("--list", action="store_true", help="print the names and exit")
    parser.add_argument("--paper", help="only this paper's")
    parser.add_argument(
        "--results-dir", type=Path, default=Path("results"), help="where tables are read, figures written"
    )
    arguments = parser.parse_args()
    if arguments.list:
        print("\n".join(product.name for product in chosen(all_products(), arguments.names, arguments.paper)))
        return
    if not arguments.results_dir.is_dir():
        raise UserError(f"'{arguments.results_dir}' is not a folder: give --results-dir the folder that holds results")
    by_reason = defaultdict(list)
    for name, reason in update(arguments.results_dir, arguments.names, arguments.paper).items():
        by_reason[reason].append(name)
    for reason, names in by_reason.items():
        print(f"skipped {', '.join(names)}: {reason}")


if __name__ == "__main__":
    run_main(main)
