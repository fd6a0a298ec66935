"""Summary tables of the diffusion paper: means and standard errors over seeds of bound, terms and test KL or bpd."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from scripts import diffusion_images as images
from scripts import diffusion_parts as parts
from scripts import diffusion_toy as toy
from scripts import select, style
from scripts.registry import Product, Sheet

NOTE = "mean ± standard error over seeds (for one seed: ± standard error of the measurement)"
BOUND_COLUMNS = (
    ("term1", "term1_se", "T1 (nats)"),
    ("scaled2", None, "√2 R T2"),
    ("scaled3", None, "√2 R T3"),
    ("score_loss_nats", "score_loss_se", "score loss (nats)"),
    ("bound_nats", None, "bound (nats)"),
)
TOY_COLUMNS = (("kl_test_nats", "kl_test_se", "test KL (nats)"), ("kl_kde_nats", None, "kernel KL (nats)"))
IMAGE_COLUMNS = (("bpd_elbo", "bpd_elbo_se", "bpd, ELBO"), ("bpd_ode", "bpd_ode_se", "bpd, ODE"))


def number(mean: float, se: float) -> str:
    """A mean and its standard error, to two figures of the error.

    >>> number(12.3456, 0.0123), number(12345.6, 120.0), number(0.5, float("nan")), number(2.0, 0.0)
    ('12.346 ± 0.012', '12,346 ± 120', '0.5', '2 ± 0')
    """
    if not np.isfinite(se):
        return f"{mean:,.4g}"
    if se == 0:
        return f"{mean:,.6g} ± 0"
    decimals = max(0, 1 - int(np.floor(np.log10(se))))
    return f"{mean:,.{decimals}f} ± {se:,.{decimals}f}"


def cells(rows: pd.DataFrame, x: str, columns: Sequence[tuple[str, str | None, str]], variant: str) -> pd.DataFrame:
    """One line for each value of `x`, one text cell for each of `columns` that has any value.

    Args:
        rows: rows of one sweep, one step rule and one variant.
        x: T or m.
        columns: (column, column of its measurement error or None, heading).
        variant: written into the second column.
    """
    rows = parts.with_terms(rows)
    found = {heading: select.over_seeds(rows, x, column, se).set_index("x") for column, se, heading in columns}
    lines = []
    for value in sorted(rows[x].unique()):
        line = {x: f"{value:,g}", "variant": variant, "seeds": str(rows.loc[rows[x] == value, "seed"].nunique())}
        for heading, summary in found.items():
            there = value in summary.index
            line[heading] = number(summary.loc[value, "mean"], summary.loc[value, "se"]) if there else ""
        lines.append(line)
    return pd.DataFrame(lines)


def _by_variant(rows: pd.DataFrame, x: str, columns: Sequence[tuple[str, str | None, str]]) -> pd.DataFrame:
    blocks = [
        cells(of_variant, x, columns, variant)
        for variant in parts.VARIANTS
        if len(of_variant := select.only(rows, variant=variant))
    ]
    table = pd.concat(blocks, ignore_index=True)
    return table.loc[:, (table != "").any()]


def toy_sheet(results: Path, x: str) -> Sheet:
    """Bound, terms and test KL of the toy sweep over `x` (T or m)."""
    frame, source = toy.sweep_T(results) if x == "T" else toy.sweep_m(results)
    rows = select.only(frame, step_rule=select.preferred_rule(frame))
    title = f"Bound and test KL: {parts.describe(rows, x)}"
    return Sheet(title, _note(source), _by_variant(rows, x, (*BOUND_COLUMNS, *TOY_COLUMNS)))


def image_sheet(results: Path, dataset: str) -> Sheet:
    """Bound, terms and test bits per dimension of one image data set against T, few-shot and full."""
    frame, source = images.sweeps(results, dataset)
    blocks = []
    for split in parts.SPLITS:
        rows = select.only(frame, split=split)
        if len(rows):
            rows = select.only(rows, step_rule=select.preferred_rule(rows, images.RULES))
            table = _by_variant(rows, "T", (*BOUND_COLUMNS, *IMAGE_COLUMNS))
            table.insert(0, "split", parts.SPLITS[split])
            table.insert(1, "m", f"{rows['m'].iloc[0]:,}")
            table.insert(2, "epochs", f"{rows['epoch'].iloc[0]:,}")
            blocks.append(table)
    title = f"Bound and test bits per dimension: {dataset}"
    return Sheet(title, _note(source), pd.concat(blocks, ignore_index=True).fillna(""))


def to_markdown(sheet: Sheet) -> str:
    """The sheet as a Markdown table."""
    heading = "| " + " | ".join(sheet.cells.columns) + " |"
    rule = "|" + "---|" * sheet.cells.shape[1]
    body = ["| " + " | ".join(row) + " |" for row in sheet.cells.to_numpy()]
    return "\n".join([f"**{sheet.title}**", "", sheet.note, "", heading, rule, *body]) + "\n"


def to_latex(sheet: Sheet) -> str:
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


def _note(source: str) -> str:
    return "; ".join(part for part in (NOTE, style.SOURCE_NOTE[source]) if part)


def products() -> list[Product]:
    """The summary tables, Markdown and LaTeX."""
    toy_tables = [
        Product(
            f"toy_table_{x}", "diffusion", (toy.TABLE,), "sh diffusion/run_toy.sh", partial(toy_sheet, x=x), "tables"
        )
        for x in ("T", "m")
    ]
    image_tables = [
        Product(
            f"{dataset}_table_T", "diffusion", (images.TABLE,), images.how_to_run(dataset),
            partial(image_sheet, dataset=dataset), "tables",
        )
        for dataset in images.DATASETS
    ]  # fmt: skip
    return [*toy_tables, *image_tables]
