"""Figures of the 1-D training dynamics: KL against epoch, batch sizes, learned densities at three epochs."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scripts import scoregen_parts as parts
from scripts import select, style
from scripts.registry import Product

HOW = "sh scoregen/run_mixture.sh"
FINE = "thin: single seeds; ring: the least mean"
OPTIMIZERS = ("sgd", "adam")


def by_optimizer(results: Path, mu: float = 3.0) -> tuple[dict[str, pd.DataFrame], str]:
    """The KL curves of `dynamics` of each optimiser that has any, all of them the user's or all the reference's.

    Raises:
        NoRowsError: there are none.
    """
    rows, source = parts.kl_rows(results, "dynamics", mu=mu, network="swish", scaling="sqrt")
    there = [optimizer for optimizer in OPTIMIZERS if (rows["optimizer"] == optimizer).any()]
    return {optimizer: _published(select.only(rows, optimizer=optimizer)) for optimizer in there}, source


def dynamics(results: Path, optimizer: str, mu: float = 3.0) -> tuple[pd.DataFrame, str]:
    """The KL curves of one optimiser at the published settings, the batch size with the largest study first.

    Raises:
        NoRowsError: there are none, or the user has rows of the other optimiser only.
    """
    curves, source = by_optimizer(results, mu)
    if optimizer not in curves:
        raise select.NoRowsError(f"no rows of dynamics, optimizer {optimizer} in {parts.KL}")
    return curves[optimizer], source


def _published(rows: pd.DataFrame) -> pd.DataFrame:
    if (rows["optimizer"] == "sgd").all() and (rows["batch"] == 500).any():
        rows = select.only(rows, batch=500)
    return parts.largest(rows, parts.RUN, "seed")


def kl_epochs(results: Path) -> Figure:
    """KL against epoch for both optimisers, each seed and the mean with its band."""
    curves, source = by_optimizer(results)
    fig = style.figure(style.PAGE, 2.9)
    panels = fig.subplots(1, len(curves), sharey=True, squeeze=False)[0]
    for axes, rows, look in zip(panels, curves.values(), style.LOOKS, strict=False):
        _draw_seeds(axes, rows, look)
        summary = select.over_seeds(rows, "epoch", "kl_nats")
        style.curve(axes, summary.assign(half=summary["half"].fillna(0)), _without_marker(look), "mean", floor=0.01)
        least = summary.loc[summary["mean"].idxmin()]
        axes.plot(least["x"], least["mean"], "o", markersize=7, markerfacecolor="none", markeredgecolor=look.color)
        axes.annotate(f"{least['mean']:.2f} at {least['x']:,.0f}", (least["x"], least["mean"]), (0, -14),
                      textcoords="offset points", ha=_side(least["x"], summary["x"]), fontsize=6.5)  # fmt: skip
        axes.set(title=parts.setting(rows), xlabel="epoch")
    panels[0].set_ylabel("KL(p0 || p) (nats)")
    style.log_y(panels[0])
    first = rows.iloc[0]
    text = f"Exact KL over training: two modes at ±{first['mu']:g}, n = {first['n']:,}"
    style.title(fig, text, [f"{select.band_note(rows, 'epoch', 'kl_nats')}; {FINE}"], source)
    return fig


def batches(results: Path) -> Figure:
    """KL against epoch under SGD for every batch size of one width."""
    kind = {"optimizer": "sgd", "network": "swish", "scaling": "sqrt", "mu": 3.0}

    def pick(frame: pd.DataFrame) -> pd.DataFrame:
        parts.kl_of(frame, "dynamics", **kind)
        return parts.kl_of(frame, "dynamics")

    every, source = select.rows_or_reference(results, parts.KL, pick)
    rows = parts.kl_of(every, "dynamics", **kind)
    shared = parts.largest(rows, ["n", "width", "lr"], "batch")
    rows = rows.merge(shared[["n", "width", "lr"]].drop_duplicates())
    fig = style.figure(style.COLUMN * 1.35, 2.9)
    axes = fig.subplots()
    for batch, look in zip(sorted(rows["batch"].unique()), style.LOOKS, strict=False):
        own = parts.largest(select.only(rows, batch=batch), parts.RUN, "seed")
        label = "full batch" if batch == own["n"].iloc[0] else f"batch {batch:,}"
        style.curve(axes, select.over_seeds(own, "epoch", "kl_nats"), _without_marker(look), label, floor=0.01)
    axes.set(xlabel="epoch", ylabel="KL(p0 || p) (nats)")
    style.log_y(axes)
    axes.legend()
    text = f"SGD {rows['lr'].iloc[0]:g} by batch size, width {rows['width'].iloc[0]:,}"
    style.title(fig, text, [select.band_note(own, "epoch", "kl_nats"), *_divergence_note(every)], source)
    return fig


def densities(results: Path) -> Figure:
    """Learned densities at three epochs, near and distant modes, every seed, the target behind."""
    frame, source = select.rows_or_reference(results, "scoregen/density", _density_rows)
    modes = sorted(frame["mu"].unique())
    by_mode = [parts.largest(select.only(frame, mu=mu, optimizer="adam"), parts.RUN, "seed") for mu in modes]
    epochs = sorted(by_mode[0]["epoch"].unique())
    fig = style.figure(style.PAGE, 1.7 * len(modes) + 0.6)
    grid = fig.subplots(len(modes), len(epochs), squeeze=False, sharey="row", sharex="row")
    for line, rows in zip(grid, by_mode, strict=True):
        for axes, epoch in zip(line, epochs, strict=False):
            _draw_density(axes, select.only(rows, epoch=epoch))
            axes.set_title(f"modes at ±{rows['mu'].iloc[0]:g}, epoch {epoch:,}")
        line[0].set_ylabel("density")
    for axes in grid[-1]:
        axes.set_xlabel("x")
    style.legend_below(fig, [grid[0, 0]], 2)
    studies = [f"±{rows['mu'].iloc[0]:g}: {parts.setting(rows)}, {rows['seed'].nunique()} seeds" for rows in by_mode]
    style.title(fig, "Learned densities", studies, source)
    return fig


def _density_rows(frame: pd.DataFrame) -> pd.DataFrame:
    rows = select.only(frame, network="swish", optimizer="adam")
    if rows.empty:
        raise select.NoRowsError("no densities")
    return rows


def _draw_density(axes: Axes, rows: pd.DataFrame) -> None:
    target, learned = style.LOOKS[0], style.LOOKS[1]
    for index, (_, own) in enumerate(rows.groupby("seed")):
        own = own.sort_values("x")
        if index == 0:
            axes.fill_between(own["x"], own["target"], color=target.color, alpha=0.2, linewidth=0, label="target")
        label = "learned, each seed" if index == 0 else None
        axes.plot(own["x"], own["density"], color=learned.color, linewidth=0.7, alpha=0.8, label=label)


def _draw_seeds(axes: Axes, rows: pd.DataFrame, look: style.Look) -> None:
    for _, own in rows.groupby("seed"):
        own = own.sort_values("epoch")
        axes.plot(own["epoch"], own["kl_nats"], color=look.color, linewidth=0.5, alpha=0.35)


def _side(x: float, every: pd.Series) -> str:
    """Alignment of a label at x that keeps it within the axes: it ends at the last epochs and starts at the first."""
    place = (x - every.min()) / max(every.max() - every.min(), 1)
    return "right" if place > 0.8 else "left" if place < 0.1 else "center"


def _without_marker(look: style.Look) -> style.Look:
    return style.Look(look.color, look.line, "", look.hatch)


def _divergence_note(every: pd.DataFrame) -> list[str]:
    rows = select.only(every, scaling="standard")
    gone = rows[rows["diverged"].astype(bool)]
    if gone.empty:
        return []
    seeds, first = rows["seed"].nunique(), gone.groupby("seed")["epoch"].min()
    return [f"without the factor 1/√m: {len(first)} of {seeds} seeds diverge, by epoch {np.max(first):,}"]


def products() -> list[Product]:
    """The figures of the dynamics."""
    drawn = {"score_kl_epochs": kl_epochs, "score_batches": batches}
    figures = [Product(name, "scoregen", (parts.KL,), HOW, build) for name, build in drawn.items()]
    return [*figures, Product("score_densities", "scoregen", ("scoregen/density",), HOW, densities)]
