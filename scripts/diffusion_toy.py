"""What is drawn of the diffusion paper's toy experiment: bound and test KL against T and m, terms, samples, tables.

How terms, variants and rules are named, and the cells of a table, are the same for its image experiments.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scripts import products, select, slopes, style
from scripts.products import SummaryTable, number

TABLE, ARRAYS = "diffusion/toy_bound", "diffusion/images:toy"
HOW = "sh diffusion/run_toy.sh"
FIXED_T = ("dataset", "model", "m", "d", "R")
FIXED_M = ("dataset", "model", "T", "d", "R")
VARIANTS = ("published", "exact")
RULES = ("fixed_number", "fixed_size")
SPLITS = {"few_shot": "few-shot", "full": "full data set"}
TERMS = {
    "term1": r"$T_1$",
    "scaled2": r"$\sqrt{2}\,R\,T_2$",
    "scaled3": r"$\sqrt{2}\,R\,T_3$",
    "score_loss_nats": "score loss",
}
"""Columns of `with_terms` that add up to the bound, and their labels."""
Columns = Sequence[tuple[str, str | None, str]]
"""(column, column of its measurement error or None, heading) of each column of cells."""
BOUND_COLUMNS = (
    ("term1", "term1_se", "T1 (nats)"),
    ("scaled2", None, "√2 R T2"),
    ("scaled3", None, "√2 R T3"),
    ("score_loss_nats", "score_loss_se", "score loss (nats)"),
    ("bound_nats", None, "bound (nats)"),
)
TOY_COLUMNS = (("kl_test_nats", "kl_test_se", "test KL (nats)"), ("kl_kde_nats", None, "kernel KL (nats)"))
FIT_FROM = 100
"""Smallest m of a slope in m: ten points leave most of the law without mass, another regime."""


@dataclass(frozen=True)
class Clouds:
    """Samples (n, 2) by T of the networks of one seed and m, and test points (n, 2) of the true law."""

    m: int
    seed: int
    samples: dict[float, np.ndarray]
    test: np.ndarray


def sweep_T(results: Path) -> tuple[pd.DataFrame, str]:
    """The sweep over T, and whose it is."""
    return select.rows_or_reference(results, TABLE, lambda frame: select.sweep(frame, "T", FIXED_T))


def sweep_m(results: Path) -> tuple[pd.DataFrame, str]:
    """The sweep over m, and whose it is."""
    return select.rows_or_reference(results, TABLE, lambda frame: select.sweep(frame, "m", FIXED_M))


@products.figure("toy_bound_T", TABLE, how=HOW)
def bound_T(results: Path) -> Figure:
    """Bound (left axis) and test KL (right axis) against T, as published, with the kernel estimate and its floor."""
    frame, source = sweep_T(results)
    rows = select.only(frame, variant="published", step_rule=select.preferred_rule(frame))
    fig = style.figure(style.COLUMN * 1.25, 3.3)
    left = fig.subplots()
    right = left.twinx()
    bound, kl, kde, _, _ = style.LINES
    style.curve(left, select.over_seeds(rows, "T", "bound_nats"), bound, "bound, published (left axis)")
    _draw_kl(right, rows, "T", kl, "test KL, exact (right axis)")
    kernel = select.over_seeds(rows, "T", "kl_kde_nats")
    if len(kernel):
        right.plot(
            kernel["x"],
            kernel["mean"],
            color=kl.color,
            linestyle=":",
            marker=kde.marker,
            label="test KL, kernel (right axis)",
        )
    if rows["kl_kde_floor_nats"].notna().any():
        floor = rows["kl_kde_floor_nats"].mean()
        right.axhline(
            floor, color=kl.color, linestyle=(0, (1, 3)), linewidth=0.9, label="kernel KL of two true samples (right)"
        )
    left.set(xlabel="diffusion time T", ylabel="bound (nats)")
    style.ticks_at(left, rows["T"].unique())
    right.yaxis.set_major_formatter(style.PLAIN)
    right.set_ylabel("test KL (nats)")
    right.set_ylim(bottom=min(0.0, right.get_ylim()[0]))
    style.color_axis(left, "left", bound.color)
    style.color_axis(right, "right", kl.color)
    right.spines["right"].set_visible(True)
    style.legend_below(fig, [left, right], 2)
    style.title(fig, describe(rows, "T"), [select.band_note(rows, "T")], source)
    return fig


@products.figure("toy_bound_m", TABLE, how=HOW)
def bound_m(results: Path) -> Figure:
    """Bound (both variants) and test KL against m on logarithmic axes, with fitted slopes."""
    frame, source = sweep_m(results)
    rows = select.only(frame, step_rule=select.preferred_rule(frame))
    fig = style.figure(style.PAGE, 2.9)
    left, right = fig.subplots(1, 2)
    for variant, look in zip(VARIANTS, style.LINES, strict=False):
        _draw_bound_m(left, select.only(rows, variant=variant), look, f"bound, {variant}")
    _draw_kl_m(right, select.only(rows, variant="published"), style.LINES[1])
    for axes, label in ((left, "bound (nats)"), (right, "test KL (nats)")):
        axes.set(xlabel="training examples m", ylabel=label)
        style.log_y(axes)
        style.log_ticks(axes, sorted(rows["m"].unique()))
        if axes.get_legend_handles_labels()[0]:
            axes.legend()
    notes = [f"left: {select.band_note(rows, 'm')}", f"{slopes.NOTE}; m from {FIT_FROM}"]
    style.title(fig, describe(rows, "m"), notes, source)
    return fig


@products.figure("toy_terms_T", TABLE, how=HOW)
def terms_T(results: Path) -> Figure:
    """The terms of the bound stacked against T, the total as a line, for both variants."""
    frame, source = sweep_T(results)
    rows = select.only(frame, step_rule=select.preferred_rule(frame))
    fig = style.figure(style.PAGE, 3.0)
    panels = fig.subplots(1, 2)
    for axes, variant in zip(panels, VARIANTS, strict=True):
        _draw_stack(axes, with_terms(select.only(rows, variant=variant)))
        axes.set(title=f"{variant} variant", xlabel="diffusion time T", ylabel="nats")
    style.legend_below(fig, list(panels), 5)
    style.title(fig, describe(rows, "T"), [seeds_note(rows, "T")], source)
    return fig


@products.figure("toy_variants_T", TABLE, how=HOW)
def variants_T(results: Path) -> Figure:
    """The bound's two variants side by side, each under both step rules."""
    frame, source = sweep_T(results)
    fig = style.figure(style.PAGE, 2.8)
    panels = fig.subplots(1, 2)
    for axes, variant in zip(panels, VARIANTS, strict=True):
        for rule, look in zip(RULES, style.LINES, strict=False):
            rows = select.only(frame, variant=variant, step_rule=rule)
            if len(rows):
                style.curve(axes, select.over_seeds(rows, "T", "bound_nats"), look, rule_label(rows))
        axes.set(title=f"{variant} variant", xlabel="diffusion time T", ylabel="bound (nats)")
        style.ticks_at(axes, frame["T"].unique())
    style.legend_below(fig, list(panels), 2)
    style.title(fig, describe(frame, "T", steps=False), [select.band_note(frame, "T")], source)
    return fig


@products.figure("toy_samples_T", ARRAYS, how=HOW)
def samples_T(results: Path) -> Figure:
    """Samples of one seed's networks against T, the true test points behind in grey."""
    chosen, source = select.arrays_or_reference(results, [ARRAYS], _clouds)
    columns = min(5, len(chosen.samples))
    rows = -(-len(chosen.samples) // columns)
    fig = style.figure(max(style.COLUMN, 1.4 * columns), 1.45 * rows + 0.5)
    panels = np.atleast_1d(fig.subplots(rows, columns, sharex=True, sharey=True)).ravel()
    half = 1.25 * float(np.abs(chosen.test).max())
    for axes, (T, points) in zip(panels, chosen.samples.items(), strict=False):
        axes.scatter(*chosen.test.T, s=1.2, color="0.72", linewidth=0, rasterized=True)
        style.cloud(axes, points, half, f"T = {T:g}")
    for axes in panels[len(chosen.samples) :]:
        axes.set_visible(False)
    text = f"samples against T, m = {chosen.m:,}, seed {chosen.seed}"
    style.title(fig, text, ["red: samples; grey: test points of the true law"], source)
    return fig


def _draw_kl(axes: Axes, rows: pd.DataFrame, x: str, look: style.LineStyle, label: str) -> None:
    summary = select.over_seeds(rows, x, "kl_test_nats", "kl_test_se")
    if len(summary):
        style.curve(axes, summary, look, label)


def slope_m(rows: pd.DataFrame, column: str) -> slopes.PowerLaw | None:
    """The power law in m of a column's positive values, each seed one, from `FIT_FROM` on; None: a single m there."""
    fitted = rows[(rows["m"] >= FIT_FROM) & (rows[column] > 0)]
    if fitted["m"].nunique() < 2:
        return None
    return slopes.power_law(fitted["m"].to_numpy(float), fitted[column].to_numpy(float))


def _draw_kl_m(axes: Axes, rows: pd.DataFrame, look: style.LineStyle) -> None:
    """Test KL against m: each seed, and the median (one diverging flow would be the mean of all seeds)."""
    shown = rows[rows["kl_test_nats"] > 0]
    hidden = sorted(rows.loc[rows["kl_test_nats"] <= 0, "m"].unique())
    if hidden:
        text = f"seeds at or below 0 are not shown at m = {', '.join(f'{m:,g}' for m in hidden)}"
        axes.text(0.02, 0.02, text, transform=axes.transAxes, fontsize=6)
    if shown.empty:
        return
    medians = shown.groupby("m")["kl_test_nats"].median()
    axes.scatter(shown["m"], shown["kl_test_nats"], s=8, facecolor="none", edgecolor=look.color, linewidth=0.7,
                 label="test KL, exact: each seed")  # fmt: skip
    law = slope_m(shown, "kl_test_nats")
    label = "median" if law is None else f"median: {law}"
    _draw_line(axes, law, medians.index.to_numpy(float), look)
    axes.plot(medians.index, medians, color=look.color, linestyle=look.line, marker=look.marker, label=label)


def _draw_bound_m(axes: Axes, rows: pd.DataFrame, look: style.LineStyle, name: str) -> None:
    summary = select.over_seeds(rows, "m", "bound_nats")
    positive = summary[summary["mean"] > 0]
    hidden = summary.loc[summary["mean"] <= 0, "x"]
    if len(hidden):
        text = f"{name}: not shown (mean at or below 0) at m = {', '.join(f'{m:,g}' for m in hidden)}"
        axes.text(0.02, 0.02 + 0.06 * len(axes.texts), text, transform=axes.transAxes, fontsize=6)
    if positive.empty:
        return
    law = slope_m(rows, "bound_nats")
    # A band that reaches zero has no place on a logarithmic axis: it is cut a factor ten under the lowest mean.
    label = name if law is None else f"{name}: {law}"
    style.curve(axes, positive, look, label, floor=0.1 * float(positive["mean"].min()))
    _draw_line(axes, law, positive["x"].to_numpy(float), look)


def _draw_line(axes: Axes, law: slopes.PowerLaw | None, m: np.ndarray, look: style.LineStyle) -> None:
    if law is not None and law.slope is not None:
        x = m[m >= FIT_FROM]
        axes.plot(x, law.slope.at(x), color=look.color, linewidth=0.7, linestyle=(0, (1, 1)))


def _draw_stack(axes: Axes, rows: pd.DataFrame) -> None:
    means = rows.groupby("T")[[*TERMS, "bound_nats"]].mean()
    T = means.index.to_numpy(float)
    width = 0.8 * float(np.diff(T).min())
    above = np.zeros(len(T))
    below = np.zeros(len(T))
    for (term, label), look in zip(TERMS.items(), style.LINES[1:], strict=True):
        height = means[term].to_numpy(float)
        base = np.where(height >= 0, above, below)
        axes.bar(
            T, height, width, bottom=base, label=label,
            facecolor=look.color, edgecolor="white", hatch=look.hatch, linewidth=0.3,
        )  # fmt: skip
        above += np.maximum(height, 0)
        below += np.minimum(height, 0)
    total = style.LINES[0]
    axes.plot(T, means["bound_nats"], color=total.color, marker=total.marker, label="bound (sum)")
    axes.axhline(0, color="black", linewidth=0.7)
    style.ticks_at(axes, T)


def _clouds(files: list[select.File]) -> Clouds:
    groups: dict[tuple[int, int, int], dict[float, np.ndarray]] = {}
    tests: dict[tuple[int, int, int], np.ndarray] = {}
    for provenance, arrays in files:
        # Python floats: a T stored as float32 must print, and compare, as the decimal that it was.
        for m, seed, T, samples in zip(arrays["m"], arrays["seed"], arrays["T"], arrays["samples"], strict=True):
            key = (select.rank(provenance), int(m), int(seed))
            groups.setdefault(key, {})[decimal(T)] = samples
            tests[key] = arrays["test"]
    sweeps = {key: by_T for key, by_T in groups.items() if len(by_T) > 1}
    best = max(select.some(sweeps, "sweep over T"), key=lambda key: (key[0], len(sweeps[key]), -key[2]))
    return Clouds(best[1], best[2], dict(sorted(sweeps[best].items())), tests[best])


def decimal(T: np.ndarray) -> float:
    """A T that was stored as float32, as the decimal that it was."""
    return float(f"{float(T):.6g}")


def with_terms(rows: pd.DataFrame) -> pd.DataFrame:
    """`rows` with T2 and T3 scaled as they enter the bound: scaled2 = sqrt(2) R T2, scaled3 = sqrt(2) R T3."""
    factor = np.sqrt(2.0) * rows["R"]
    return rows.assign(scaled2=factor * rows["term2"], scaled3=factor * rows["term3"])


def describe(rows: pd.DataFrame, x: str, *, steps: bool = True) -> str:
    """The settings that are the same in all rows, as a title.

    Args:
        rows: rows of one sweep.
        x: what varies in it, T or m.
        steps: say the rule of the sampler's grid too.
    """
    first = rows.iloc[0]
    fixed = f"m = {first['m']:,}" if x == "T" else f"T = {first['T']:g}"
    text = f"{first['dataset'].replace('_', ' ')}, {fixed}, R = {first['R']:,g}, after {first['epoch']:,} epochs"
    return f"{text}, {rule_label(rows)}" if steps else text


def rule_label(rows: pd.DataFrame) -> str:
    """The rule of the sampler's grid in words, with its number of steps or its step."""
    first = rows.iloc[0]
    if first["step_rule"] == "fixed_number":
        return f"{first['sde_steps']:,} sampler steps"
    return f"sampler step {(rows['T'] / rows['sde_steps']).median():.2g}"


def seeds_note(rows: pd.DataFrame, x: str) -> str:
    """How many seeds a mean without a band is over."""
    counts = rows.groupby(x)["seed"].nunique()
    return "one seed" if counts.max() == 1 else f"means over {select.span(counts)} seeds"


def cells(rows: pd.DataFrame, x: str, columns: Columns, variant: str) -> pd.DataFrame:
    """One line for each value of `x`, one text cell for each of `columns` that has any value.

    Args:
        rows: rows of one sweep, one step rule and one variant.
        x: T or m.
        columns: (column, column of its measurement error or None, heading).
        variant: written into the second column.
    """
    rows = with_terms(rows)
    found = {heading: select.over_seeds(rows, x, column, se).set_index("x") for column, se, heading in columns}
    lines = []
    for value in sorted(rows[x].unique()):
        line = {x: f"{value:,g}", "variant": variant, "seeds": str(rows.loc[rows[x] == value, "seed"].nunique())}
        for heading, summary in found.items():
            there = value in summary.index
            line[heading] = number(summary.loc[value, "mean"], summary.loc[value, "se"]) if there else ""
        lines.append(line)
    return pd.DataFrame(lines)


def by_variant(rows: pd.DataFrame, x: str, columns: Columns) -> pd.DataFrame:
    """`cells` of both variants, without columns that stay empty."""
    blocks = [
        cells(of_variant, x, columns, variant)
        for variant in VARIANTS
        if len(of_variant := select.only(rows, variant=variant))
    ]
    table = pd.concat(blocks, ignore_index=True)
    return table.loc[:, (table != "").any()]


@products.table("toy_table_T", TABLE, how=HOW, x="T")
@products.table("toy_table_m", TABLE, how=HOW, x="m")
def toy_sheet(results: Path, x: str) -> SummaryTable:
    """Bound, terms and test KL of the toy sweep over `x` (T or m)."""
    frame, source = sweep_T(results) if x == "T" else sweep_m(results)
    rows = select.only(frame, step_rule=select.preferred_rule(frame))
    title = f"Bound and test KL: {describe(rows, x)}"
    return SummaryTable(
        title, products.note(source, products.SEEDS_NOTE), by_variant(rows, x, (*BOUND_COLUMNS, *TOY_COLUMNS))
    )
