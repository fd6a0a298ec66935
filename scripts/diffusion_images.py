"""What is drawn of the diffusion paper's image experiments, for every data set: bpd, bound, terms, samples, table."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scripts import diffusion_toy as toy
from scripts import products, select, style
from scripts.products import SummaryTable

TABLE, ARRAYS = "diffusion/image_bound", "diffusion/images:{dataset}"
DATASETS = ("digits", "mnist", "fashion-mnist", "cifar10")
FIXED = ("dataset", "model", "split", "m", "d", "R")
RULES = ("fixed_size", "fixed_number")
"""The published image runs kept the step at 1e-3, so that rule is shown where a run has both."""
GREY_LEVELS = {"digits": 17}
"""Q of each data set; 256 where not listed."""
COLUMNS = (*toy.BOUND_COLUMNS, ("bpd_elbo", "bpd_elbo_se", "bpd, ELBO"), ("bpd_ode", "bpd_ode_se", "bpd, ODE"))


@dataclass(frozen=True)
class Pictures:
    """Images of one seed in [0, 1], (n, h, w) or (n, h, w, 3): samples by split and T, training images by split."""

    seed: int
    m: dict[str, int]
    samples: dict[tuple[str, float], np.ndarray]
    train: dict[str, np.ndarray]


def how(dataset: str) -> str:
    """The command that makes this data set's rows and pictures."""
    return f"sh diffusion/run_{dataset.replace('-', '_')}.sh"


def sweeps(results: Path, dataset: str) -> tuple[pd.DataFrame, str]:
    """The sweeps over T of one data set, one for each split that has one, and whose they are.

    Raises:
        NoRowsError: no split has a sweep.
    """
    return select.rows_or_reference(results, TABLE, lambda frame: _of_dataset(frame, dataset))


def _of_dataset(frame: pd.DataFrame, dataset: str) -> pd.DataFrame:
    rows = select.some(select.only(frame, dataset=dataset), f"rows of {dataset}")
    found = []
    for split in toy.SPLITS:
        of_split = select.only(rows, split=split)
        if len(of_split) and of_split["T"].nunique() > 1:
            found.append(select.sweep(of_split, "T", FIXED))
    return pd.concat(select.some(found, f"sweep over T of {dataset}"), ignore_index=True)


@products.figure("{dataset}_bpd_T", TABLE, how=how, of=DATASETS)
def bpd_T(results: Path, dataset: str) -> Figure:
    """Test bits per dimension by the ODE and by the ELBO against T, beside the histogram baseline and log2 Q."""
    frame, source = sweeps(results, dataset)
    fig, panels = _by_split(frame, 2.9)
    for axes, rows in panels:
        rows = select.only(rows, variant="published", step_rule=select.preferred_rule(rows, RULES))
        for column, look, label in (
            ("bpd_elbo", style.LINES[1], "ELBO (upper bound)"),
            ("bpd_ode", style.LINES[0], "probability-flow ODE"),
        ):
            summary = select.over_seeds(rows, "T", column, f"{column}_se")
            if len(summary):
                style.curve(axes, summary, look, label)
        axes.axhline(rows["bpd_histogram"].mean(), color="0.35", linestyle=(0, (5, 2)), label="per-pixel histogram")
        levels = GREY_LEVELS.get(dataset, 256)
        axes.axhline(np.log2(levels), color=style.GREY, linestyle=":", label=rf"uniform, $\log_2${levels}")
        style.log_if_wide(axes, rows[["bpd_elbo", "bpd_ode"]].to_numpy(float).ravel())
        axes.set(xlabel="diffusion time T", ylabel="test bpd (bits/dim)")
        style.ticks_at(axes, rows["T"].unique())
    style.legend_below(fig, [axes for axes, _ in panels], 4 if len(panels) > 1 else 2)
    style.title(fig, f"{dataset}: test bits per dimension", [select.band_note(frame, "T")], source)
    return fig


@products.figure("{dataset}_bound_T", TABLE, how=how, of=DATASETS)
def bound_T(results: Path, dataset: str) -> Figure:
    """The bound (both variants) against T; the T axis of the full set is logarithmic, as published."""
    frame, source = sweeps(results, dataset)
    fig, panels = _by_split(frame, 2.9)
    for axes, rows in panels:
        rows = select.only(rows, step_rule=select.preferred_rule(rows, RULES))
        for variant, look in zip(toy.VARIANTS, style.LINES, strict=False):
            summary = select.over_seeds(select.only(rows, variant=variant), "T", "bound_nats")
            if len(summary):
                style.curve(axes, summary, look, f"bound, {variant} variant")
        style.log_if_wide(axes, rows["bound_nats"].to_numpy(float), ratio=10.0)
        axes.set(xlabel="diffusion time T", ylabel="bound (nats)")
        ticks = style.log_ticks if rows["split"].iloc[0] == "full" else style.ticks_at
        ticks(axes, rows["T"].unique())
    style.legend_below(fig, [axes for axes, _ in panels], 2)
    style.title(fig, f"{dataset}: generalization bound", [select.band_note(frame, "T")], source)
    return fig


@products.figure("{dataset}_terms_T", TABLE, how=how, of=DATASETS)
def terms_T(results: Path, dataset: str) -> Figure:
    """The bound's terms against T on a logarithmic axis (with R in the thousands a stack would show two of them)."""
    frame, source = sweeps(results, dataset)
    splits = [split for split in toy.SPLITS if (frame["split"] == split).any()]
    fig = style.figure(style.PAGE, 2.3 * len(splits) + 0.7)
    grid = fig.subplots(len(splits), 2, squeeze=False, sharey="row")
    for line, split in zip(grid, splits, strict=True):
        of_split = select.only(frame, split=split)
        rows = select.only(of_split, step_rule=select.preferred_rule(of_split, RULES))
        for axes, variant in zip(line, toy.VARIANTS, strict=True):
            _draw_terms(axes, toy.with_terms(select.only(rows, variant=variant)))
            axes.set(title=f"{_panel_title(rows)}, {variant} variant", xlabel="diffusion time T")
            style.ticks_at(axes, rows["T"].unique())
        line[0].set_ylabel("nats")
    style.legend_below(fig, list(grid.ravel()), 5)
    style.title(fig, f"{dataset}: terms of the bound", [select.band_note(frame, "T")], source)
    return fig


@products.figure("{dataset}_samples_T", ARRAYS, how=how, of=DATASETS)
def samples_T(results: Path, dataset: str) -> Figure:
    """Sample grids by T, a line for each split, with training images at the left."""
    chosen, source = select.arrays_or_reference(results, [ARRAYS.format(dataset=dataset)], _pictures)
    splits = [split for split in toy.SPLITS if split in chosen.train]
    times = sorted({T for _, T in chosen.samples})
    width = min(style.PAGE, max(style.COLUMN, 1.2 * (len(times) + 1)))
    fig = style.figure(width, 0.3 + len(splits) * (0.25 + 0.92 * width / (len(times) + 1)))
    grid = fig.subplots(len(splits), len(times) + 1, squeeze=False)
    for line, split in zip(grid, splits, strict=True):
        shown = [chosen.train[split], *[chosen.samples.get((split, T)) for T in times]]
        for axes, images, label in zip(line, shown, ["training", *[f"T = {T:g}" for T in times]], strict=True):
            axes.set_axis_off()
            if images is not None:
                style.picture(axes, style.mosaic(images), label)
        line[0].text(
            -0.12, 0.5, f"{toy.SPLITS[split]}\nm = {chosen.m[split]:,}", transform=line[0].transAxes,
            rotation=90, ha="right", va="center", fontsize=6.5,
        )  # fmt: skip
    style.title(fig, f"{dataset}: training images and samples against T, seed {chosen.seed}", [], source)
    return fig


@products.table("{dataset}_table_T", TABLE, how=how, of=DATASETS)
def image_sheet(results: Path, dataset: str) -> SummaryTable:
    """Bound, terms and test bits per dimension of one image data set against T, few-shot and full."""
    frame, source = sweeps(results, dataset)
    blocks = []
    for split in toy.SPLITS:
        rows = select.only(frame, split=split)
        if len(rows):
            rows = select.only(rows, step_rule=select.preferred_rule(rows, RULES))
            table = toy.by_variant(rows, "T", COLUMNS)
            table.insert(0, "split", toy.SPLITS[split])
            table.insert(1, "m", f"{rows['m'].iloc[0]:,}")
            table.insert(2, "epochs", f"{rows['epoch'].iloc[0]:,}")
            blocks.append(table)
    title = f"Bound and test bits per dimension: {dataset}"
    return SummaryTable(
        title, products.note(source, products.SEEDS_NOTE), pd.concat(blocks, ignore_index=True).fillna("")
    )


def _by_split(frame: pd.DataFrame, height: float) -> tuple[Figure, list[tuple[Axes, pd.DataFrame]]]:
    splits = [split for split in toy.SPLITS if (frame["split"] == split).any()]
    fig = style.figure(style.PAGE if len(splits) > 1 else style.COLUMN * 1.25, height)
    panels = []
    for axes, split in zip(fig.subplots(1, len(splits), squeeze=False)[0], splits, strict=True):
        rows = select.only(frame, split=split)
        shown = select.only(rows, step_rule=select.preferred_rule(rows, RULES))
        axes.set_title(_panel_title(shown))
        panels.append((axes, rows))
    return fig, panels


def _panel_title(rows: pd.DataFrame) -> str:
    first = rows.iloc[0]
    setting = f"{toy.SPLITS[first['split']]}, m = {first['m']:,}, R = {first['R']:,g}"
    return f"{setting}\n{first['epoch']:,} epochs, {toy.rule_label(rows)}"


def _draw_terms(axes: Axes, rows: pd.DataFrame) -> None:
    rows = rows.assign(term1=-rows["term1"])
    names = {**toy.TERMS, "term1": r"$-T_1$ (subtracted)", "bound_nats": "bound"}
    for (column, label), look in zip(names.items(), (*style.LINES[1:], style.LINES[0]), strict=True):
        summary = select.over_seeds(rows, "T", column)
        # What is at or below zero has no place on a logarithmic axis: leave a gap.
        summary.loc[summary["mean"] <= 0, "mean"] = np.nan
        if summary["mean"].notna().any():
            style.curve(axes, summary, look, label, floor=0.1 * float(summary["mean"].min()))
    style.log_y(axes)


def _pictures(files: list[select.File]) -> Pictures:
    largest = max(select.rank(provenance) for provenance, _ in files)
    by_seed: dict[int, list[dict[str, np.ndarray]]] = {}
    for provenance, arrays in files:
        if select.rank(provenance) == largest:
            by_seed.setdefault(int(arrays["seed"]), []).append(arrays)
    seed = max(by_seed, key=lambda seed: (len(by_seed[seed]), -seed))
    chosen = by_seed[seed]
    return Pictures(
        seed,
        {str(arrays["split"]): int(arrays["m"]) for arrays in chosen},
        {(str(arrays["split"]), toy.decimal(arrays["T"])): _unit(arrays, "samples") for arrays in chosen},
        {str(arrays["split"]): _unit(arrays, "train") for arrays in chosen},
    )


def _unit(arrays: dict[str, np.ndarray], name: str) -> np.ndarray:
    images = arrays[name].astype(np.float64) / (int(arrays["levels"]) - 1)
    channels_first = images.ndim == 4 and images.shape[1] == 3
    return images.transpose(0, 2, 3, 1) if channels_first else images
