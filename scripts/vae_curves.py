"""Figures of what a VAE does over its epochs: bounds, losses, log p(x), mutual information beside memorization."""

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scripts import select, style
from scripts import vae_parts as parts
from scripts.registry import Product

HOW = {"digits": "sh vae/run_vae.sh", "celeba": "sh vae/run_vae.sh paper --dataset celeba"}
BAND = "bars: 95% interval over images"


def how(dataset: str) -> str:
    """The command that makes the curves of a data set."""
    return HOW.get(dataset, f"sh vae/run_vae.sh paper --dataset {dataset}")


def how_grid(dataset: str) -> str:
    """The command that makes the grid of a data set."""
    return how(dataset).replace("run_vae", "run_memorization")


def _line(axes: Axes, rows: pd.DataFrame, column: str, look: style.Look, label: str) -> None:
    if rows[column].notna().any():
        error = column.removesuffix("_nats") + "_se"
        style.curve(axes, select.over_seeds(rows, "epoch", column, error), look, label)


def bounds(results: Path, dataset: str) -> Figure:
    """Our bound with each mutual-information term, the previous one and the test curve against epochs."""
    frame, source = parts.full_rows(results, dataset, parts.BOUNDS)
    fig, panels = _panels(parts.rates(frame))
    for axes, lr in zip(panels, parts.rates(frame), strict=True):
        rows = frame[frame["lr"] == lr]
        for (name, label), look in zip(parts.ESTIMATORS.items(), (style.LOOKS[i] for i in (0, 3, 4)), strict=True):
            own = rows[rows["mi_estimator"] == name]
            half = f" (m = {own['m'].iloc[0]:,})" if name == "ghost" and len(own) else ""
            _line(axes, own, "ours_nats", look, f"ours, MI: {label}{half}")
        whole = rows[rows["mode"] == "full"].drop_duplicates("epoch")
        _line(axes, whole, "previous_nats", style.LOOKS[1], "previous bound: REC + √KL")
        _line(axes, whole, "test_nats", style.LOOKS[2], "test: REC + √KL")
        _from_above(axes, rows, "ours_nats", "previous_nats", "test_nats")
        axes.set(xlabel="epoch", ylabel="nats per image", title=f"learning rate {lr:g}")
    style.legend_below(fig, panels, 2)
    whole = frame[frame["mode"] == "full"]
    style.title(fig, f"Generalization bounds: {dataset}, {parts.describe(whole)}", [BAND], source)
    return fig


def losses(results: Path, dataset: str) -> Figure:
    """Negative ELBO and importance-weighted log p(x) on training and test images against epochs."""
    frame, source = parts.full_rows(results, dataset)
    frame = frame[frame["mode"] == "full"]
    fig = style.figure(style.PAGE, 2.9)
    left, right = fig.subplots(1, 2)
    looks = iter(style.LOOKS)
    for lr in parts.rates(frame):
        for split in ("train", "test"):
            rows, look = frame[(frame["lr"] == lr) & (frame["split"] == split)], next(looks)
            label = f"{split}, learning rate {lr:g}"
            _line(left, rows, "loss_nats", look, label)
            _line(right, rows, "logpx_nats", look, label)
    _from_above(left, frame, "loss_nats")
    left.set(xlabel="epoch", ylabel="negative ELBO (nats per image)", title="Loss")
    right.set(xlabel="epoch", ylabel="log p(x) (nats per image)", title="Importance-weighted log p(x)")
    style.legend_below(fig, [left, right], 2)
    style.title(fig, f"Losses: {dataset}, {parts.describe(frame)}", [BAND], source)
    return fig


def imported(results: Path, dataset: str) -> Figure:
    """Loss curves of imported networks: mean over networks against epochs, training and held-out fold."""
    frame, source = parts.imported_rows(results, dataset)
    fig, panels = _panels(parts.rates(frame))
    for axes, lr in zip(panels, parts.rates(frame), strict=True):
        for split, look in zip(("train", "test"), style.LOOKS[:2], strict=True):
            rows = frame[(frame["lr"] == lr) & (frame["split"] == split)]
            summary = parts.over_networks(rows, "loss_nats")
            style.curve(axes, summary, look, "training" if split == "train" else "held-out fold")
        _from_above(axes, frame, "loss_nats")
        axes.set(xlabel="epoch", ylabel="negative ELBO (nats per image)", title=f"learning rate {lr:g}")
    style.legend_below(fig, panels, 2)
    style.title(fig, f"Imported losses: {dataset}, {parts.describe(frame)}", [parts.networks_note(frame)], source)
    return fig


def mi(results: Path, dataset: str) -> Figure:
    """Quantiles of the memorization score and the root of the mutual-information terms against epochs."""
    scores, source = parts.grid_rows(results, dataset)
    try:
        terms, _ = parts.full_rows(results, dataset, parts.BOUNDS)
    except select.NoRowsError:
        terms = pd.DataFrame({"lr": []})
    shown = parts.rates(scores)
    fig = style.figure(max(style.COLUMN, style.PAGE * len(shown) / 2), 4.4)
    grid = fig.subplots(2, len(shown), squeeze=False, sharex="col")
    for (top, bottom), lr in zip(grid.T, shown, strict=True):
        own = scores[scores["lr"] == lr]
        for q, look in zip((0.95, parts.HIGHEST), style.LOOKS[:2], strict=True):
            draw_quantile(top, parts.quantiles(own, q), look, f"quantile {q:g}")
        top.set(xlabel="epoch", ylabel="memorization score (nats)", title=f"learning rate {lr:g}")
        top.legend()
        mine = terms[terms["lr"] == lr]
        for (name, label), look in zip(parts.ESTIMATORS.items(), style.LOOKS[2:], strict=True):
            rows = mine[mine["mi_estimator"] == name] if len(mine) else mine
            if len(rows):
                root = np.sqrt(rows["mi_nats"].clip(lower=0))
                bottom.plot(rows["epoch"], root, color=look.color, linestyle=look.line, marker=look.marker, label=label)
        bottom.set(xlabel="epoch", ylabel="√MI (√nats)", ylim=(0, None))
        if len(mine):
            bottom.legend()
    title = f"Memorization and mutual information: {dataset}, {parts.describe(scores)}"
    style.title(fig, title, [parts.band_note(scores)], source)
    return fig


def draw_quantile(axes: Axes, found: pd.DataFrame, look: style.Look, label: str) -> None:
    """A quantile against epochs with its band."""
    axes.plot(found["x"], found["mean"], color=look.color, linestyle=look.line, marker=look.marker, label=label)
    axes.fill_between(found["x"], found["low"], found["high"], color=look.color, alpha=0.18, linewidth=0)
    above = found[found["open"]]
    axes.plot(above["x"], above["high"], color=look.color, marker=r"$\uparrow$", linestyle="none", markersize=6)


def _panels(shown: list[float]) -> tuple[Figure, list[Axes]]:
    fig = style.figure(max(style.COLUMN * 1.2, style.PAGE * len(shown) / 2), 3.3)
    return fig, list(fig.subplots(1, len(shown), squeeze=False)[0])


def _from_above(axes: Axes, frame: pd.DataFrame, *columns: str) -> None:
    """Leave out what the first twentieth of the epochs has above the rest (published: epochs 6 to 100)."""
    later = frame.loc[frame["epoch"] > frame["epoch"].max() / 20, list(columns)].to_numpy(float)
    low, high = float(np.nanmin(later)), float(np.nanmax(later))
    axes.set_ylim(None, min(axes.get_ylim()[1], high + 0.2 * (high - low) + 1e-9))


def products() -> list[Product]:
    """The figures of each data set."""
    found = []
    for name in parts.DATASETS:
        found += [
            Product(f"vae_bounds_{name}", "vae", (parts.BOUNDS,), how(name), partial(bounds, dataset=name)),
            Product(f"vae_losses_{name}", "vae", (parts.CURVES,), how(name), partial(losses, dataset=name)),
            Product(f"vae_mi_{name}", "vae", (parts.SCORES, parts.BOUNDS), how_grid(name), partial(mi, dataset=name)),
        ]
        if name in ("mnist", "cifar10", "celeba"):
            command = "python -m vae.memorization import DIR"
            found.append(
                Product(f"vae_imported_{name}", "vae", (parts.LOSSES,), command, partial(imported, dataset=name))
            )
    return found
