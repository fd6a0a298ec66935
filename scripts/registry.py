"""What there is to draw: each product (a figure or a table) with its inputs and the command that makes them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure


@dataclass(frozen=True)
class Sheet:
    """A summary table: cells are text already; `note` says what they are."""

    title: str
    note: str
    cells: pd.DataFrame


@dataclass(frozen=True)
class Product:
    """One figure (`build` returns a Figure) or table (a Sheet).

    `sources` names result tables (`diffusion/toy_bound`) and array files by experiment (`diffusion/images:toy`);
    scripts/figures.mk repeats them as prerequisites. `build` raises `select.NoRowsError` when it has nothing to show.
    """

    name: str
    paper: str
    sources: tuple[str, ...]
    how: str
    build: Callable[[Path], Figure | Sheet]
    folder: str = "figures"

    def stem(self, results: Path) -> Path:
        """Path of the outputs without their suffix."""
        return results / self.folder / self.paper / self.name

    def target(self, results: Path) -> Path:
        """The file that make looks at."""
        return self.stem(results).with_name(self.name + (".png" if self.folder == "figures" else ".md"))

    def outputs(self, results: Path) -> list[Path]:
        """All files that the product writes."""
        kinds = (".pdf", ".png") if self.folder == "figures" else (".csv", ".tex", ".md")
        return [self.stem(results).with_name(self.name + kind) for kind in kinds]

    def skip_note(self, results: Path) -> Path:
        """The file that says why the product was skipped, so that make does not try again before its inputs change."""
        return self.stem(results).with_name(f".{self.name}.skipped")
