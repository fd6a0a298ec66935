"""Figure and table of mutual information: estimates against the truth, and how often the interval covers it."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scripts import select, style
from scripts.registry import Product, Sheet
from scripts.summaries import number

TABLE = "itdiffusion/mi"
HOW = "make mi-table"
SEEDS_OF_COVERAGE = 5
"""A case with at least so many seeds at one n is a study of coverage: its seeds are counted, not listed."""
Z95 = 1.96
LIMITS = (0.05, 0.05)
"""What is marked as close: within so many nats, or within this share of the truth."""


def groups(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of the largest n and steps of each case and form, with `seeds` of its group; coverage studies apart.

    Raises:
        NoRowsError: there are no rows.
    """
    if frame.empty:
        raise select.NoRowsError("no rows")
    keys = ["case", "form", "n", "minutes"]
    rows = frame.assign(seeds=frame.groupby(keys)["seed"].transform("nunique"))
    rows = rows.assign(covering=rows["seeds"] >= SEEDS_OF_COVERAGE)
    single = rows[~rows["covering"]]
    largest = single.groupby(["case", "form"])["n"].transform("max")
    return pd.concat([single[single["n"] == largest], rows[rows["covering"]]]).sort_values(
        ["covering", "dataset", "case", "form", "seed"], kind="stable"
    )


def close(rows: pd.DataFrame) -> pd.Series:
    """Whether each estimate is within 0.05 nats or 5% of the truth."""
    return (rows["mi_nats"] - rows["truth_nats"]).abs() <= np.maximum(LIMITS[0], LIMITS[1] * rows["truth_nats"])


def covered(rows: pd.DataFrame) -> pd.Series:
    """Whether each 95% interval holds the truth."""
    return (rows["mi_nats"] - rows["truth_nats"]).abs() <= Z95 * rows["se_nats"]


def figure(results: Path) -> Figure:
    """One line a case: the estimate minus the truth with its 95% interval; below, the seeds of the coverage study."""
    frame, source = select.rows_or_reference(results, TABLE, groups)
    rows = frame.dropna(subset=["truth_nats"])
    if rows.empty:
        raise select.NoRowsError("no rows with a known truth")
    lines = rows.drop_duplicates(["case", "form", "n", "minutes"]).reset_index(drop=True)
    fig = style.figure(style.PAGE, 1.4 + 0.17 * len(lines))
    axes = fig.subplots()
    labels = []
    for place, line in lines.iterrows():
        same = select.only(rows, case=line["case"], form=line["form"], n=line["n"], minutes=line["minutes"])
        _draw_line(axes, float(place), same)
        labels.append(_label(same))
    axes.axvline(0, color="black", linewidth=0.6)
    axes.set_yticks(range(len(lines)), labels, fontsize=6)
    axes.set(ylim=(len(lines) - 0.4, -0.6), xlabel="estimate - true mutual information (nats)")
    axes.margins(x=0.02)
    single = rows[~rows["covering"]]
    notes = [
        "bars: 95% interval; grey: within 0.05 nats or 5% of the truth, which "
        f"{int(close(single).sum())} of {len(single)} single estimates are"
    ]
    if rows["covering"].any():
        notes.append("triangles: one a seed; beside the case the share of its intervals that hold the truth")
    style.title(fig, "Mutual information from denoising errors", notes, source)
    return fig


def _draw_line(axes: Axes, place: float, rows: pd.DataFrame) -> None:
    truth = float(rows["truth_nats"].iloc[0])
    half = max(LIMITS[0], LIMITS[1] * truth)
    axes.barh(place, 2 * half, left=-half, height=0.8, color="0.92")
    look = style.LOOKS[1 if rows["form"].iloc[0] == "orthogonal" else 0]
    errors = rows["mi_nats"].to_numpy(float) - truth
    if not rows["covering"].iloc[0]:
        for error, se in zip(errors, rows["se_nats"], strict=True):
            axes.errorbar(error, place, xerr=Z95 * se, color=look.color, fmt=look.marker, markersize=3, linewidth=0.9)
        return
    spread = np.linspace(-0.3, 0.3, len(rows))
    axes.errorbar(
        errors, place + spread, xerr=Z95 * rows["se_nats"], color=style.LOOKS[2].color, fmt=style.LOOKS[2].marker,
        markersize=1.6, linewidth=0.4,
    )  # fmt: skip


def _label(rows: pd.DataFrame) -> str:
    line = rows.iloc[0]
    form = ", orthogonal" if line["form"] == "orthogonal" else ""
    seeds = f"; {covered(rows).mean():.0%} of {len(rows)} intervals" if line["covering"] else ""
    return f"{line['case']}{form} ({line['truth_nats']:.3g} nats, n = {line['n']:,}{seeds})"


def sheet(results: Path) -> Sheet:
    """Every case with its truth, estimate, deviation in standard errors and time; coverage as one line a case."""
    frame, source = select.rows_or_reference(results, TABLE, groups)
    records = []
    for (_, case, form, n, _), rows in frame.groupby(["covering", "case", "form", "n", "minutes"], sort=False):
        first, known = rows.iloc[0], rows["truth_nats"].notna().all()
        several = bool(first["covering"])
        se = float(np.sqrt(np.square(rows["se_nats"]).mean()))
        error = rows["mi_nats"] - rows["truth_nats"]
        records.append({
            "kind": first["dataset"],
            "case": str(case),
            "form": str(form),
            "n": f"{n:,}",
            "seeds": str(len(rows)),
            "truth (nats)": f"{first['truth_nats']:.4f}" if known else "not known",
            "estimate (nats)": number(float(rows["mi_nats"].mean()), se),
            "close": ("yes" if close(rows).all() else f"{close(rows).mean():.0%}") if known else "",
            "(estimate - truth)/se": f"{(error / rows['se_nats']).mean():+.1f}" if known and se > 0 else "",
            "interval holds truth": f"{covered(rows).mean():.0%}" if known and several else "",
            "steps": f"{int(rows['steps'].median()):,}",
            "seconds": f"{rows['seconds'].median():.0f}",
        })  # fmt: skip
    note = (
        "estimate ± standard error (over several seeds: the mean, ± the standard error of one estimate); close: within "
        "0.05 nats or 5%; interval: ± 1.96 standard errors"
    )
    return Sheet(
        "Mutual information from denoising errors",
        "; ".join(part for part in (note, style.SOURCE_NOTE[source]) if part),
        pd.DataFrame(records),
    )


def products() -> list[Product]:
    """The figure and the table."""
    return [
        Product("mi_truth", "itdiffusion", (TABLE,), HOW, figure),
        Product("mi_table", "itdiffusion", (TABLE,), HOW, sheet, "tables"),
    ]
