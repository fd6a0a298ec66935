"""What is drawn: each figure or table is declared beside the function that draws it, with its sources and its command.

Nothing heavy is imported here: whether anything has changed is found out without the libraries that draw.
"""

import importlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

SUFFIXES = {"figures": (".pdf", ".png"), "tables": (".csv", ".tex", ".md")}
"""What is written of each kind of product, into the folder of that name; the last one is told to the user."""
SOURCE_NOTE = {"yours": "", "reference": "reference data (this repository's own runs)"}
SEEDS_NOTE = "mean ± standard error over seeds (for one seed: ± standard error of the measurement)"


@dataclass(frozen=True)
class SummaryTable:
    """A summary table: cells are text already; `note` says what they are."""

    title: str
    note: str
    cells: "pd.DataFrame"


@dataclass(frozen=True)
class Product:
    """One figure or table, as the decorators `figure` and `table` declare it.

    Attributes:
        name: stands for it on the command line, and in the names of its files.
        kind: "figures" or "tables".
        sources: result tables (`diffusion/toy_bound`) and array files by experiment (`diffusion/images:toy`).
        how: the command that makes its rows.
        module, function: what draws it.
        arguments: of the function, beside the results folder.
    """

    name: str
    kind: str
    sources: tuple[str, ...]
    how: str
    module: str
    function: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def paper(self) -> str:
        """The folder whose rows it shows."""
        return self.sources[0].split("/")[0]

    def outputs(self, results: Path) -> list[Path]:
        """All files that it is written to."""
        folder = results / self.kind / self.paper
        return [folder / f"{self.name}{suffix}" for suffix in SUFFIXES[self.kind]]

    def drawer(self) -> "Callable[..., Figure | SummaryTable]":
        """The function that draws it."""
        found: Callable[..., Figure | SummaryTable] = getattr(importlib.import_module(self.module), self.function)
        return found

    def build(self, results: Path) -> "Figure | SummaryTable":
        """Draw it from the rows in `results`.

        Raises:
            NoRowsError: there are none for it (`select.NoRowsError`).
        """
        return self.drawer()(results, **self.arguments)


DECLARED: dict[str, Product] = {}
Build = TypeVar("Build", bound=Callable[..., Any])
Register = Callable[[Build], Build]


def figure(
    name: str, *sources: str, how: str | Callable[[str], str], of: Sequence[str] = (), **arguments: Any
) -> Register:
    """Declare that the function under this line draws the figure `name`.

    Args:
        name: of the product; with `of`, `{dataset}` in it stands for a data set, as in `sources` and `how`.
        sources: see `Product`.
        how: the command that makes its rows, or a function of the data set that returns it.
        of: data sets: a product for each, whose name the function takes as `dataset`.
        arguments: further arguments of the function.

    Raises:
        ValueError: the name is declared already.
    """
    return _declare("figures", name, sources, how, of, arguments)


def table(
    name: str, *sources: str, how: str | Callable[[str], str], of: Sequence[str] = (), **arguments: Any
) -> Register:
    """Declare a summary table (a function that returns a `SummaryTable`); otherwise as `figure`."""
    return _declare("tables", name, sources, how, of, arguments)


def _declare(
    kind: str,
    name: str,
    sources: tuple[str, ...],
    how: str | Callable[[str], str],
    of: Sequence[str],
    arguments: dict[str, Any],
) -> Register:
    def register(build: Build) -> Build:
        for dataset in of or [""]:
            full = name.format(dataset=dataset)
            if full in DECLARED:
                raise ValueError(f"figure or table {full} is declared twice")
            DECLARED[full] = Product(
                full,
                kind,
                tuple(source.format(dataset=dataset) for source in sources),
                how(dataset) if callable(how) else how.format(dataset=dataset),
                build.__module__,
                build.__name__,
                {**arguments, "dataset": dataset} if dataset else arguments,
            )
        return build

    return register


def note(source: str, *texts: str) -> str:
    """The note of a sheet: what its cells are, and whose its rows are ("yours" or "reference")."""
    return "; ".join(text for text in (*texts, SOURCE_NOTE[source]) if text)


def number(mean: float, se: float) -> str:
    """A mean and its standard error, to two figures of the error.

    >>> number(12.3456, 0.0123), number(12345.6, 120.0), number(0.5, float("nan")), number(2.0, 0.0)
    ('12.346 ± 0.012', '12,346 ± 120', '0.5', '2 ± 0')
    """
    if not math.isfinite(se):
        return f"{mean:,.4g}"
    if se == 0:
        return f"{mean:,.6g} ± 0"
    decimals = max(0, 1 - math.floor(math.log10(se)))
    return f"{mean:,.{decimals}f} ± {se:,.{decimals}f}"


def to_markdown(sheet: SummaryTable) -> str:
    """The sheet as a Markdown table."""
    heading = "| " + " | ".join(sheet.cells.columns) + " |"
    rule = "|" + "---|" * sheet.cells.shape[1]
    body = ["| " + " | ".join(row) + " |" for row in sheet.cells.to_numpy()]
    return "\n".join([f"**{sheet.title}**", "", sheet.note, "", heading, rule, *body]) + "\n"


def to_latex(sheet: SummaryTable) -> str:
    """The sheet as a LaTeX `tabular` (package booktabs), the title as a comment."""
    lines = [f"% {sheet.title}", f"% {sheet.note}", rf"\begin{{tabular}}{{{'r' * sheet.cells.shape[1]}}}", r"\toprule"]
    lines.append(" & ".join(map(_tex, sheet.cells.columns)) + r" \\")
    lines.append(r"\midrule")
    lines += [" & ".join(map(_tex, row)) + r" \\" for row in sheet.cells.to_numpy()]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _tex(text: str) -> str:
    # "_" goes first: the names of the terms bring subscripts of their own.
    text = text.replace("_", r"\_").replace("%", r"\%").replace("±", r"$\pm$")
    text = text.replace("√2 R T2", r"$\sqrt{2}\,R\,T_2$").replace("√2 R T3", r"$\sqrt{2}\,R\,T_3$")
    return text.replace("T1", "$T_1$")
