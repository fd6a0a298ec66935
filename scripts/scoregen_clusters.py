"""What is drawn of the cluster study: loss and likelihood of the farthest and the nearest pair, and samples."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from scripts import products, select, style
from scripts.products import SummaryTable, number

TABLE = "scoregen/clusters"
PAIRS = ("farthest", "nearest")
DATASETS = ("mnist", "fashion-mnist", "digits")
ARRAYS = [f"scoregen/images:clusters-{name}" for name in DATASETS]
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
        return pd.concat(select.some(found, "curves of both pairs"))

    rows, source = select.rows_or_reference(results, TABLE, pick)
    return {name: rows[rows["dataset"] == name] for name in DATASETS if (rows["dataset"] == name).any()}, source


def difference(rows: pd.DataFrame, column: str = "loss") -> tuple[float, float, int]:
    """loss(farthest) - loss(nearest) at the last epoch, paired by seed: mean, standard error over seeds, seeds."""
    last = rows[rows["epoch"] == rows["epoch"].max()]
    wide = last.pivot_table(index="seed", columns="pair", values=column).dropna()
    gap = (wide["farthest"] - wide["nearest"]).to_numpy(float)
    return float(gap.mean()), float(gap.std(ddof=1) / np.sqrt(len(gap))) if len(gap) > 1 else float("nan"), len(gap)


@products.figure("score_clusters_loss", TABLE, how=HOW)
def loss(results: Path) -> Figure:
    """Loss on training and held-out images against epoch, both pairs."""
    by_set, source = rows_by_set(results)
    fig = style.figure(max(style.COLUMN * 1.25, style.PAGE * len(by_set) / 2), 3.1)
    panels = fig.subplots(1, len(by_set), squeeze=False)[0]
    for axes, (name, rows) in zip(panels, by_set.items(), strict=True):
        looks = iter(style.LINES)
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


@products.figure("score_clusters_samples", *ARRAYS, how=HOW)
def samples(results: Path) -> Figure:
    """Training images and samples of one seed for both pairs."""
    chosen, source = select.arrays_or_reference(results, ARRAYS, _by_set)
    fig = style.figure(style.PAGE, 0.5 + 1.75 * len(chosen))
    grid = fig.subplots(len(chosen), 4, squeeze=False)
    for line, (dataset, by_pair) in zip(grid, chosen.items(), strict=True):
        shown = [(pair, kind) for pair in PAIRS for kind in ("train", "samples")]
        for axes, (pair, kind) in zip(line, shown, strict=True):
            axes.set_axis_off()
            if pair in by_pair:
                arrays = by_pair[pair]
                text = f"{dataset}, {pair}: " + ("training" if kind == "train" else "samples")
                image = style.mosaic(arrays[kind] / (int(arrays["levels"]) - 1))
                style.picture(axes, image, text, interpolation=None)
    style.title(
        fig, "Training images and samples of the two pairs", ["one seed, evenly chosen training images"], source
    )
    return fig


def _by_set(files: list[select.File]) -> dict[str, dict[str, dict[str, np.ndarray]]]:
    """By data set and pair, the arrays of the largest run, of its first seed."""
    found: dict[str, dict[str, dict[str, np.ndarray]]] = {}
    for provenance, arrays in sorted(files, key=lambda file: (select.rank(file[0]), -int(file[1]["seed"]))):
        if select.rank(provenance):
            dataset = str(provenance["experiment"]).removeprefix("clusters-")
            found.setdefault(dataset, {})[str(arrays["pair"])] = arrays  # the last of a pair stays
    select.some(found, "pictures of clusters but a smoke run's")
    return {name: found[name] for name in DATASETS if name in found}


@products.table("score_table_clusters", TABLE, how=HOW)
def cluster_sheet(results: Path) -> SummaryTable:
    """Both pairs of each data set: clusters, distance, last losses, NLL, and the difference of the pairs."""
    by_set, source = rows_by_set(results)
    lines = []
    for name, rows in by_set.items():
        last = rows[rows["epoch"] == rows["epoch"].max()]
        for pair in PAIRS:
            own = last[last["pair"] == pair]
            lines.append(
                {
                    "data set": name,
                    "pair": pair,
                    "clusters": own["clusters"].iloc[0],
                    "centre distance": f"{own['centre_distance'].iloc[0]:.2f}",
                    "loss": select.mean_text(own, "loss"),
                    "loss, held out": select.mean_text(own, "loss_test"),
                    "bits/dim, held out": select.mean_text(own, "nll_bpd"),
                    "histogram": select.mean_text(own, "histogram_bpd"),
                }
            )
        gaps = [number(*difference(rows, column)[:2]) for column in ("loss", "loss_test", "nll_bpd")]
        labels = {"data set": name, "pair": "farthest - nearest", "clusters": "", "centre distance": ""}
        lines.append(
            {**labels, "loss": gaps[0], "loss, held out": gaps[1], "bits/dim, held out": gaps[2], "histogram": ""}
        )
    note = "mean ± standard error over seeds, differences paired by seed; NLL by I-MMSE, an upper bound"
    return SummaryTable("Farthest and nearest pair of clusters", products.note(source, note), pd.DataFrame(lines))
