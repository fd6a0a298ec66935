"""Figures of the cluster study: loss and likelihood of the farthest and the nearest pair, and samples."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from infolab import results as tables
from scripts import select, style
from scripts.mosaic import mosaic
from scripts.registry import Product

TABLE = "scoregen/clusters"
PAIRS = ("farthest", "nearest")
DATASETS = ("mnist", "fashion-mnist", "digits")
PRESETS = {"paper": 2, "quick": 1}
HOW = "sh scoregen/run_clusters.sh"


def rows_by_set(results: Path) -> tuple[dict[str, pd.DataFrame], str]:
    """The longest study of each data set that has both pairs, and whose they are."""

    def pick(frame: pd.DataFrame) -> pd.DataFrame:
        found = []
        for _, own in frame.groupby("dataset"):
            both = [g for _, g in own.groupby(["model", "schedule", "n"]) if g["pair"].nunique() == 2]
            if both:
                best = max(both, key=lambda group: (group["epoch"].max(), group["seed"].nunique()))
                found.append(best.drop_duplicates(["pair", "seed", "epoch"], keep="last"))
        found = [group for group in found if group["epoch"].nunique() > 2]  # a smoke run is no curve
        if not found:
            raise select.NoRowsError("no curves of both pairs")
        return pd.concat(found)

    rows, source = select.rows_or_reference(results, TABLE, pick)
    return {name: rows[rows["dataset"] == name] for name in DATASETS if (rows["dataset"] == name).any()}, source


def difference(rows: pd.DataFrame, column: str = "loss") -> tuple[float, float, int]:
    """loss(farthest) - loss(nearest) at the last epoch, paired by seed: mean, standard error over seeds, seeds."""
    last = rows[rows["epoch"] == rows["epoch"].max()]
    wide = last.pivot_table(index="seed", columns="pair", values=column).dropna()
    gap = (wide["farthest"] - wide["nearest"]).to_numpy(float)
    return float(gap.mean()), float(gap.std(ddof=1) / np.sqrt(len(gap))) if len(gap) > 1 else float("nan"), len(gap)


def loss(results: Path) -> Figure:
    """Loss on training and held-out images against epoch, both pairs."""
    by_set, source = rows_by_set(results)
    fig = style.figure(max(style.COLUMN * 1.25, style.PAGE * len(by_set) / 2), 3.1)
    panels = fig.subplots(1, len(by_set), squeeze=False)[0]
    for axes, (name, rows) in zip(panels, by_set.items(), strict=True):
        looks = iter(style.LOOKS)
        for pair in PAIRS:
            own = rows[rows["pair"] == pair]
            distance = own["centre_distance"].iloc[0]
            for column, label in (("loss", "training"), ("loss_test", "held out")):
                summary = select.over_seeds(own, "epoch", column, f"{column}_se")
                floor = 0.5 * float(summary["mean"].min())
                style.curve(axes, summary, next(looks), f"{pair} (distance {distance:.1f}), {label}", floor=floor)
        gap, error, seeds = difference(rows)
        axes.set(xlabel="epoch", ylabel="loss (summed over pixels)")
        axes.set_title(
            f"{name}, n = {rows['n'].iloc[0]:,}\nfarthest - nearest: {gap:.2f} ± {error:.2f} ({seeds} seeds)"
        )
        style.log_y(axes)
        axes.legend(fontsize=5.8)
    first = next(iter(by_set.values()))
    style.title(
        fig, "One model on each pair of clusters", [select.band_note(first, "epoch"), "±: standard error"], source
    )
    return fig


def samples(results: Path) -> Figure:
    """Training images and samples of one seed for both pairs."""
    chosen, source = _pictures(results)
    fig = style.figure(style.PAGE, 0.5 + 1.75 * len(chosen))
    grid = fig.subplots(len(chosen), 4, squeeze=False)
    for line, (dataset, by_pair) in zip(grid, chosen.items(), strict=True):
        shown = [(pair, kind) for pair in PAIRS for kind in ("train", "samples")]
        for axes, (pair, kind) in zip(line, shown, strict=True):
            axes.set_axis_off()
            if pair in by_pair:
                arrays = by_pair[pair]
                axes.imshow(mosaic(arrays[kind] / (int(arrays["levels"]) - 1)), cmap="gray", vmin=0, vmax=1)
                axes.set_title(f"{dataset}, {pair}: " + ("training" if kind == "train" else "samples"), fontsize=6.5)
    style.title(
        fig, "Training images and samples of the two pairs", ["one seed, evenly chosen training images"], source
    )
    return fig


def _pictures(results: Path) -> tuple[dict[str, dict[str, dict[str, np.ndarray]]], str]:
    for root, source in ((results, "yours"), (results / "reference", "reference")):
        found: dict[str, dict[str, dict[str, np.ndarray]]] = {}
        for dataset in DATASETS:
            files = (
                tables.read_arrays(root, "scoregen", f"clusters-{dataset}")
                if (root / "scoregen/images").is_dir()
                else []
            )
            ranked = sorted((one for one in files if one[0]["preset"] in PRESETS), key=_rank)
            of_set = {str(arrays["pair"]): arrays for _, arrays in ranked}  # the last of a pair stays
            if of_set:
                found[dataset] = of_set
        if found:
            return found, source
    raise select.NoRowsError("no pictures of clusters")


def _rank(one: tuple[dict, dict[str, np.ndarray]]) -> tuple[int, int]:
    provenance, arrays = one
    return PRESETS[provenance["preset"]], -int(arrays["seed"])


def products() -> list[Product]:
    """The figures of the clusters."""
    pictures = tuple(f"scoregen/images:clusters-{name}" for name in DATASETS)
    return [
        Product("score_clusters_loss", "scoregen", (TABLE,), HOW, loss),
        Product("score_clusters_samples", "scoregen", pictures, HOW, samples),
    ]
