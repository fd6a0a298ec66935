"""Figures of the diffusion paper's toy experiment: bound and test KL against T and m, the terms, and samples by T."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scripts import diffusion_arrays as arrays
from scripts import diffusion_parts as parts
from scripts import select, slopes, style
from scripts.registry import Product

TABLE = "diffusion/toy_bound"
FIXED_T = ("dataset", "model", "m", "d", "R")
FIXED_M = ("dataset", "model", "T", "d", "R")


def sweep_T(results: Path) -> tuple[pd.DataFrame, str]:
    """The sweep over T, and whose it is."""
    return select.rows_or_reference(results, TABLE, lambda frame: select.sweep(frame, "T", FIXED_T))


def sweep_m(results: Path) -> tuple[pd.DataFrame, str]:
    """The sweep over m, and whose it is."""
    return select.rows_or_reference(results, TABLE, lambda frame: select.sweep(frame, "m", FIXED_M))


def bound_T(results: Path) -> Figure:
    """Bound (left axis) and test KL (right axis) against T, as published, with the kernel estimate and its floor."""
    frame, source = sweep_T(results)
    rows = select.only(frame, variant="published", step_rule=select.preferred_rule(frame))
    fig = style.figure(style.COLUMN * 1.25, 3.3)
    left = fig.subplots()
    right = left.twinx()
    bound, kl, kde, _, _ = style.LOOKS
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
    style.title(fig, parts.describe(rows, "T"), [select.band_note(rows, "T")], source)
    return fig


def bound_m(results: Path) -> Figure:
    """Bound (both variants) and test KL against m on logarithmic axes, with fitted slopes."""
    frame, source = sweep_m(results)
    rows = select.only(frame, step_rule=select.preferred_rule(frame))
    fig = style.figure(style.PAGE, 2.9)
    left, right = fig.subplots(1, 2)
    for variant, look in zip(parts.VARIANTS, style.LOOKS, strict=False):
        _draw_bound_m(left, select.only(rows, variant=variant), look, f"bound, {variant}")
    _draw_kl_m(right, select.only(rows, variant="published"), style.LOOKS[1])
    for axes, label in ((left, "bound (nats)"), (right, "test KL (nats)")):
        axes.set(xlabel="training examples m", ylabel=label)
        style.log_y(axes)
        style.log_ticks(axes, sorted(rows["m"].unique()))
        if axes.get_legend_handles_labels()[0]:
            axes.legend()
    notes = [f"left: {select.band_note(rows, 'm')}", f"{slopes.NOTE}; m from {FIT_FROM}"]
    style.title(fig, parts.describe(rows, "m"), notes, source)
    return fig


def terms_T(results: Path) -> Figure:
    """The terms of the bound stacked against T, the total as a line, for both variants."""
    frame, source = sweep_T(results)
    rows = select.only(frame, step_rule=select.preferred_rule(frame))
    fig = style.figure(style.PAGE, 3.0)
    panels = fig.subplots(1, 2)
    for axes, variant in zip(panels, parts.VARIANTS, strict=True):
        _draw_stack(axes, parts.with_terms(select.only(rows, variant=variant)))
        axes.set(title=f"{variant} variant", xlabel="diffusion time T", ylabel="nats")
    style.legend_below(fig, list(panels), 5)
    style.title(fig, parts.describe(rows, "T"), [parts.seeds_note(rows, "T")], source)
    return fig


def variants_T(results: Path) -> Figure:
    """The bound's two variants side by side, each under both step rules."""
    frame, source = sweep_T(results)
    fig = style.figure(style.PAGE, 2.8)
    panels = fig.subplots(1, 2)
    for axes, variant in zip(panels, parts.VARIANTS, strict=True):
        for rule, look in zip(parts.RULES, style.LOOKS, strict=False):
            rows = select.only(frame, variant=variant, step_rule=rule)
            if len(rows):
                style.curve(axes, select.over_seeds(rows, "T", "bound_nats"), look, parts.rule_label(rows))
        axes.set(title=f"{variant} variant", xlabel="diffusion time T", ylabel="bound (nats)")
        style.ticks_at(axes, frame["T"].unique())
    style.legend_below(fig, list(panels), 2)
    style.title(fig, parts.describe(frame, "T", steps=False), [select.band_note(frame, "T")], source)
    return fig


def samples_T(results: Path) -> Figure:
    """Samples of one seed's networks against T, the true test points behind in grey."""
    chosen, source = arrays.clouds_by_T(results)
    columns = min(5, len(chosen.samples))
    rows = -(-len(chosen.samples) // columns)
    fig = style.figure(max(style.COLUMN, 1.4 * columns), 1.45 * rows + 0.5)
    panels = np.atleast_1d(fig.subplots(rows, columns, sharex=True, sharey=True)).ravel()
    half = 1.25 * float(np.abs(chosen.test).max())
    for axes, (T, points) in zip(panels, chosen.samples.items(), strict=False):
        outside = float((np.abs(points) > half).any(axis=1).mean())
        axes.scatter(*chosen.test.T, s=1.2, color="0.72", linewidth=0, rasterized=True)
        axes.scatter(*points.T, s=1.2, color=style.LOOKS[1].color, linewidth=0, rasterized=True)
        axes.set(title=f"T = {T:g}", xlim=(-half, half), ylim=(-half, half), aspect="equal")
        if outside:
            axes.text(0.03, 0.03, f"{outside:.1%} outside", transform=axes.transAxes, fontsize=5.5)
    for axes in panels[len(chosen.samples) :]:
        axes.set_visible(False)
    text = f"samples against T, m = {chosen.m:,}, seed {chosen.seed}"
    style.title(fig, text, ["red: samples; grey: test points of the true law"], source)
    return fig


def _draw_kl(axes: Axes, rows: pd.DataFrame, x: str, look: style.Look, label: str) -> None:
    summary = select.over_seeds(rows, x, "kl_test_nats", "kl_test_se")
    if len(summary):
        style.curve(axes, summary, look, label)


FIT_FROM = 100
"""Smallest m of a slope in m: ten points leave most of the law without mass, another regime."""


def slope_m(rows: pd.DataFrame, column: str) -> slopes.PowerLaw | None:
    """The power law in m of a column's positive values, each seed one, from `FIT_FROM` on; None: a single m there."""
    fitted = rows[(rows["m"] >= FIT_FROM) & (rows[column] > 0)]
    if fitted["m"].nunique() < 2:
        return None
    return slopes.power_law(fitted["m"].to_numpy(float), fitted[column].to_numpy(float))


def _draw_kl_m(axes: Axes, rows: pd.DataFrame, look: style.Look) -> None:
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


def _draw_bound_m(axes: Axes, rows: pd.DataFrame, look: style.Look, name: str) -> None:
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


def _draw_line(axes: Axes, law: slopes.PowerLaw | None, m: np.ndarray, look: style.Look) -> None:
    if law is not None and law.slope is not None:
        x = m[m >= FIT_FROM]
        axes.plot(x, law.slope.at(x), color=look.color, linewidth=0.7, linestyle=(0, (1, 1)))


def _draw_stack(axes: Axes, rows: pd.DataFrame) -> None:
    means = rows.groupby("T")[[*parts.TERMS, "bound_nats"]].mean()
    T = means.index.to_numpy(float)
    width = 0.8 * float(np.diff(T).min())
    above = np.zeros(len(T))
    below = np.zeros(len(T))
    for (term, label), look in zip(parts.TERMS.items(), style.LOOKS[1:], strict=True):
        height = means[term].to_numpy(float)
        base = np.where(height >= 0, above, below)
        axes.bar(
            T, height, width, bottom=base, label=label,
            facecolor=look.color, edgecolor="white", hatch=look.hatch, linewidth=0.3,
        )  # fmt: skip
        above += np.maximum(height, 0)
        below += np.minimum(height, 0)
    total = style.LOOKS[0]
    axes.plot(T, means["bound_nats"], color=total.color, marker=total.marker, label="bound (sum)")
    axes.axhline(0, color="black", linewidth=0.7)
    style.ticks_at(axes, T)


def products() -> list[Product]:
    """The toy figures."""
    how = "sh diffusion/run_toy.sh"
    drawn = {
        "toy_bound_T": bound_T,
        "toy_bound_m": bound_m,
        "toy_terms_T": terms_T,
        "toy_variants_T": variants_T,
    }
    figures = [Product(name, "diffusion", (TABLE,), how, build) for name, build in drawn.items()]
    return [*figures, Product("toy_samples_T", "diffusion", ("diffusion/images:toy",), how, samples_T)]
