"""What is drawn of a VAE over its epochs: bounds, losses, log p(x), imported losses; which rows that stands on."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scripts import products, select, style
from scripts.products import SummaryTable, number

CURVES, BOUNDS, LOSSES = (f"vae/{name}" for name in ("curves", "bounds", "imported_losses"))
DATASETS = ("digits", "fashion-mnist", "mnist", "cifar10", "celeba")
IMPORTED = ("mnist", "cifar10", "celeba")
HOW_IMPORTED = "python -m vae.memorization import DIR"
LEAST = 200
"""Images below which a grid is a smoke run, of which no figure is drawn."""
ESTIMATORS = {
    "untrained-decoder": "untrained decoder (published)",
    "ghost": "ghost decoder",
    "held-out": "held out (mean score)",
}
BAND = "bars: 95% interval over images"
EPOCHS = (6, 10, 20, 50, 100)
"""Epochs of the published table; the nearest measured ones are shown."""


def how(dataset: str) -> str:
    """The command that makes the curves of a data set."""
    return "sh vae/run_vae.sh" + ("" if dataset == "digits" else f" paper --dataset {dataset}")


def rows(
    results: Path, table: str, dataset: str, pick: Callable[[pd.DataFrame], pd.DataFrame]
) -> tuple[pd.DataFrame, str]:
    """What `pick` takes of the rows of one data set, and whose they are.

    Raises:
        NoRowsError: there are none.
    """

    def of_set(frame: pd.DataFrame) -> pd.DataFrame:
        mine = frame[(frame["dataset"] == dataset) & (frame["m"] >= LEAST if "m" in frame else True)]
        return pick(select.some(mine, f"rows of {dataset}"))

    return select.rows_or_reference(results, table, of_set)


def largest(frame: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Of the groups of equal `by`, the one with the most images, learning rates, epochs and runs.

    Raises:
        NoRowsError: there are no rows.
    """
    groups = select.some([group for _, group in frame.groupby(by)], "rows")
    runs = "L" if "L" in frame else "m"
    return max(
        groups, key=lambda group: (group["m"].max(), group["lr"].nunique(), group["epoch"].max(), group[runs].max())
    )


def full_rows(results: Path, dataset: str, table: str = CURVES) -> tuple[pd.DataFrame, str]:
    """Rows of the runs on all images and of their ghosts: the model and seed with the most images, rates and epochs."""

    def pick(frame: pd.DataFrame) -> pd.DataFrame:
        chosen = largest(frame[frame["mode"] != "cv"], ["model", "seed"])
        m = chosen.loc[chosen["mode"] == "full", "m"].max()
        return chosen[(chosen["mode"] == "ghost") | (chosen["m"] == m)]

    return rows(results, table, dataset, pick)


def imported_rows(results: Path, dataset: str) -> tuple[pd.DataFrame, str]:
    """Losses of imported networks: at each learning rate one grid, the one of the most networks and then epochs."""

    def pick(frame: pd.DataFrame) -> pd.DataFrame:
        chosen = largest(frame, ["model", "seed", "m"])
        kept = []
        for _, of_rate in chosen.groupby("lr"):
            grids = [group for _, group in of_rate.groupby("grid")]
            kept.append(max(grids, key=lambda group: (len(group[["repeat", "fold"]].drop_duplicates()), len(group))))
        return pd.concat(kept)

    return rows(results, LOSSES, dataset, pick)


def over_networks(frame: pd.DataFrame, y: str) -> pd.DataFrame:
    """Means of `y` over the networks of one grid at each epoch: columns x, mean, half, n, as `style.curve` draws them.

    Folds of one repeat share images, and their networks are no independent ones; repeats are drawn anew. With several
    repeats `half` is that of the 95% t-interval of the mean over repeats, with one the standard deviation over folds.
    """
    records = []
    for epoch, group in frame.groupby("epoch"):
        by_repeat = group.groupby("repeat")[y].mean()
        L = len(by_repeat)
        half = select.t_half(by_repeat.to_numpy(float)) if L > 1 else float(group[y].std())
        records.append({"x": epoch, "mean": by_repeat.mean(), "half": half, "n": max(L, len(group))})
    return pd.DataFrame(records)


def networks_note(frame: pd.DataFrame) -> str:
    """What the bands of `over_networks` are, for a title."""
    repeats = frame.groupby(["lr", "epoch"])["repeat"].nunique()
    high = int(repeats.max())
    if repeats.min() > 1:
        return f"band: 95% interval of the mean over {select.span(repeats)} repeats"
    if high == 1:
        return "one repeat; band: standard deviation over its folds, not an interval"
    return f"band: 95% interval over up to {high} repeats; with one repeat, deviation over its folds, not an interval"


def rates(frame: pd.DataFrame) -> list[float]:
    """Learning rates, the largest first."""
    return sorted(frame["lr"].unique(), reverse=True)


def describe(frame: pd.DataFrame) -> str:
    """Model, images and grid, for a title."""
    first = frame.iloc[0]
    text = f"{first['model']}, m = {first['m']:,}"
    return text + (f", K = {first['K']}, L = {first['L']}" if "L" in frame else "")


@products.figure("vae_bounds_{dataset}", BOUNDS, how=how, of=DATASETS)
def bounds(results: Path, dataset: str) -> Figure:
    """Our bound with each mutual-information term, the previous one and the test curve against epochs."""
    frame, source = full_rows(results, dataset, BOUNDS)
    fig, panels = _panels(rates(frame))
    for axes, lr in zip(panels, rates(frame), strict=True):
        rows = frame[frame["lr"] == lr]
        for (name, label), look in zip(ESTIMATORS.items(), (style.LINES[i] for i in (0, 3, 4)), strict=True):
            own = rows[rows["mi_estimator"] == name]
            half = f" (m = {own['m'].iloc[0]:,})" if name == "ghost" and len(own) else ""
            _line(axes, own, "ours_nats", look, f"ours, MI: {label}{half}")
        whole = rows[rows["mode"] == "full"].drop_duplicates("epoch")
        _line(axes, whole, "previous_nats", style.LINES[1], "previous bound: REC + √KL")
        _line(axes, whole, "test_nats", style.LINES[2], "test: REC + √KL")
        _from_above(axes, rows, "ours_nats", "previous_nats", "test_nats")
        axes.set(xlabel="epoch", ylabel="nats per image", title=f"learning rate {lr:g}")
    style.legend_below(fig, panels, 2)
    whole = frame[frame["mode"] == "full"]
    style.title(fig, f"Generalization bounds: {dataset}, {describe(whole)}", [BAND], source)
    return fig


@products.figure("vae_losses_{dataset}", CURVES, how=how, of=DATASETS)
def losses(results: Path, dataset: str) -> Figure:
    """Negative ELBO and importance-weighted log p(x) on training and test images against epochs."""
    frame, source = full_rows(results, dataset)
    frame = frame[frame["mode"] == "full"]
    fig = style.figure(style.PAGE, 2.9)
    left, right = fig.subplots(1, 2)
    looks = iter(style.LINES)
    for lr in rates(frame):
        for split in ("train", "test"):
            rows, look = frame[(frame["lr"] == lr) & (frame["split"] == split)], next(looks)
            label = f"{split}, learning rate {lr:g}"
            _line(left, rows, "loss_nats", look, label)
            _line(right, rows, "logpx_nats", look, label)
    _from_above(left, frame, "loss_nats")
    left.set(xlabel="epoch", ylabel="negative ELBO (nats per image)", title="Loss")
    right.set(xlabel="epoch", ylabel="log p(x) (nats per image)", title="Importance-weighted log p(x)")
    style.legend_below(fig, [left, right], 2)
    style.title(fig, f"Losses: {dataset}, {describe(frame)}", [BAND], source)
    return fig


@products.figure("vae_imported_{dataset}", LOSSES, how=HOW_IMPORTED, of=IMPORTED)
def imported(results: Path, dataset: str) -> Figure:
    """Loss curves of imported networks: mean over networks against epochs, training and held-out fold."""
    frame, source = imported_rows(results, dataset)
    fig, panels = _panels(rates(frame))
    for axes, lr in zip(panels, rates(frame), strict=True):
        for split, look in zip(("train", "test"), style.LINES[:2], strict=True):
            rows = frame[(frame["lr"] == lr) & (frame["split"] == split)]
            summary = over_networks(rows, "loss_nats")
            style.curve(axes, summary, look, "training" if split == "train" else "held-out fold")
        _from_above(axes, frame, "loss_nats")
        axes.set(xlabel="epoch", ylabel="negative ELBO (nats per image)", title=f"learning rate {lr:g}")
    style.legend_below(fig, panels, 2)
    style.title(fig, f"Imported losses: {dataset}, {describe(frame)}", [networks_note(frame)], source)
    return fig


@products.table("vae_table_bounds_{dataset}", BOUNDS, how=how, of=DATASETS)
def bounds_sheet(results: Path, dataset: str) -> SummaryTable:
    """Ours, previous and test at the epochs of the published table."""
    frame, source = full_rows(results, dataset, BOUNDS)
    lines = []
    for (lr, estimator), rows in frame.groupby(["lr", "mi_estimator"]):
        measured = rows["epoch"].unique()
        wanted = sorted(
            {min(measured, key=lambda epoch, aim=aim: abs(epoch - aim)) for aim in (*EPOCHS, max(measured))}
        )
        for epoch in wanted:
            row = rows[rows["epoch"] == epoch].iloc[-1]
            values = {
                name: number(row[f"{name}_nats"], row[f"{name}_se"]) for name in ("ours", "previous", "test", "mi")
            }
            lines.append(
                {"learning rate": f"{lr:g}", "MI": ESTIMATORS[str(estimator)], "m": f"{row['m']:,}",
                 "epoch": f"{epoch}", "ours (nats)": values["ours"], "previous (nats)": values["previous"],
                 "test (nats)": values["test"], "MI (nats)": values["mi"]}
            )  # fmt: skip
    note = "per image; ± standard error over images"
    return SummaryTable(
        f"Bounds: {dataset}, {frame['model'].iloc[0]}", products.note(source, note), pd.DataFrame(lines)
    )


def _line(axes: Axes, rows: pd.DataFrame, column: str, look: style.LineStyle, label: str) -> None:
    if rows[column].notna().any():
        error = column.removesuffix("_nats") + "_se"
        style.curve(axes, select.over_seeds(rows, "epoch", column, error), look, label)


def _panels(shown: list[float]) -> tuple[Figure, list[Axes]]:
    fig = style.figure(max(style.COLUMN * 1.2, style.PAGE * len(shown) / 2), 3.3)
    return fig, list(fig.subplots(1, len(shown), squeeze=False)[0])


def _from_above(axes: Axes, frame: pd.DataFrame, *columns: str) -> None:
    """Leave out what the first twentieth of the epochs has above the rest (published: epochs 6 to 100)."""
    later = frame.loc[frame["epoch"] > frame["epoch"].max() / 20, list(columns)].to_numpy(float)
    low, high = float(np.nanmin(later)), float(np.nanmax(later))
    axes.set_ylim(None, min(axes.get_ylim()[1], high + 0.2 * (high - low) + 1e-9))
