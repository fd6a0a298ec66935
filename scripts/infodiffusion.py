"""Everything that is drawn for the models with a code (Wang et al. 2023): scores of codes, and pictures."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from scripts import products, select, style
from scripts.products import SummaryTable

QUALITY, SENSITIVITY = "infodiffusion/quality", "infodiffusion/sensitivity"
DATASETS = ("sprites", "digits", "fashion-mnist", "celeba")
SHOWN = {
    "dci_disentanglement": "DCI\ndisentanglement",
    "dci_completeness": "DCI\ncompleteness",
    "dci_informativeness": "DCI\ninformativeness",
    "mig": "MIG",
    "auroc": "latent AUROC",
    "accuracy": "latent accuracy",
}
"""Metrics in [0, 1] that one axis takes, and what it calls them."""
MOST_LINES = 10
"""Coordinates of a code that a figure shows."""
DISTORTIONS = {
    "noise": "noise (sd, grey levels of 255)", "blur": "blur (sigma, pixels)", "shift": "shift (pixels)",
    "mode": "share of a class left out",
}  # fmt: skip
"""Distortions in the order of the panels, and what their axes say."""
ASKED = 5.0
"""Standard errors by which noise of 40 must be seen (`infolab.metrics.sensitivity`, which needs torch)."""


def how(dataset: str) -> str:
    """The command that makes this data set's rows and pictures."""
    if dataset in ("sprites", "digits"):
        return f"sh infodiffusion/run_{dataset}.sh"
    return f"sh infodiffusion/run_train.sh paper --dataset {dataset}, then its other launchers"


def family(model: str) -> str:
    """What figures call a model.

    >>> family("diff[patch=4,32x1-2,a=10,mmd=0.1]")
    'diff'
    """
    return model.split("[")[0]


def of_codes(frame: pd.DataFrame, dataset: str) -> pd.DataFrame:
    """The metrics of codes of one data set, from the most epochs each model has; adds `name` and `family`.

    Raises:
        NoRowsError: there are none.
    """
    rows = select.some(select.only(frame, dataset=dataset, sampling="none"), f"metrics of codes of {dataset}")
    rows = rows[rows["n"] == rows.groupby("metric")["n"].transform("max")]
    named = rows.assign(name=rows["metric"].str.split("[").str[0], family=rows["model"].map(family))
    last = named.groupby("family")["epoch"].transform("max")
    return named[named["epoch"] == last].drop_duplicates(["name", "model", "seed", "prior"], keep="last")


@products.figure("info_sensitivity", SENSITIVITY, how="sh infodiffusion/run_sensitivity.sh")
def sensitivity(results: Path) -> Figure:
    """Standard errors of the FID by which each data set's network sees each distortion, over its strength."""
    rows, source = select.rows_or_reference(results, SENSITIVITY, lambda frame: frame)
    rows = rows[rows["seed"] == rows["seed"].min()].drop_duplicates(["dataset", "distortion", "strength"], keep="last")
    fig = style.figure(style.PAGE, 2.5)
    panels = fig.subplots(1, len(DISTORTIONS), sharey=True)
    held_out = []
    for (dataset, own), look in zip(rows.groupby("dataset", sort=False), style.LINES, strict=False):
        held_out.append(f"{dataset} {own['n'].max() + own['n_reference'].max():,}")
        for axes, name in zip(panels, DISTORTIONS, strict=True):
            shown = own[own["distortion"] == name].sort_values("strength")
            axes.plot(shown["strength"], shown["standard_errors"], color=look.color, marker=look.marker, label=dataset)
    for axes, (name, text) in zip(panels, DISTORTIONS.items(), strict=True):
        axes.axhline(ASKED, color="0.6", linewidth=0.8, linestyle=":")
        axes.set_xscale("log", base=2)
        ticks = sorted(rows.loc[rows["distortion"] == name, "strength"].unique())
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
        axes.set(xlabel=text, yscale="symlog", ylim=(-1, 300))
        axes.set_yticks([0, 1, 10, 100], ["0", "1", "10", "100"])
    panels[0].set_ylabel("standard errors of FID")
    style.legend_below(fig, list(panels), len(held_out))
    notes = [f"held-out images: {', '.join(held_out)}", "dotted: asked for, of noise 40"]
    style.title(fig, "What small feature networks see", notes, source)
    return fig


@products.figure("info_{dataset}_scores", QUALITY, how=how, of=DATASETS)
def scores(results: Path, dataset: str) -> Figure:
    """Each metric of the codes by model: mean over seeds with its interval, and every seed as a dot."""
    rows, source = select.rows_or_reference(results, QUALITY, partial(of_codes, dataset=dataset))
    names = select.some([name for name in SHOWN if name in set(rows["name"])], f"metrics in [0, 1] of {dataset}")
    fig = style.figure(max(4.6, 1.15 * len(names)), 2.9)
    axes = fig.subplots()
    families = list(rows["family"].unique())
    for place, (one, look) in enumerate(zip(families, style.LINES, strict=False)):
        offset = (place - (len(families) - 1) / 2) * 0.22
        for position, name in enumerate(names):
            values = rows[(rows["family"] == one) & (rows["name"] == name)]
            if values.empty:
                continue
            summary = select.over_seeds(values.assign(x=position), "x", "value", "se").iloc[0]
            axes.errorbar(position + offset, summary["mean"], yerr=np.nan_to_num(summary["half"]), color=look.color,
                          marker=look.marker, linestyle="none", capsize=2, label=one)  # fmt: skip
            axes.scatter(
                np.full(len(values), position + offset + 0.07), values["value"], s=4, color=look.color, alpha=0.6
            )
    axes.set_xticks(range(len(names)), [SHOWN[name] for name in names])
    axes.set(ylabel="score (1 is best)", ylim=(0, 1.02))
    style.legend_below(fig, [axes], len(families))
    notes = [
        select.band_note(rows, "name").replace("band", "bars"),
        f"codes of {rows['n'].iloc[0]:,} {rows['images'].iloc[0]} images; dots: seeds",
    ]
    style.title(fig, f"{dataset}: what the codes know of the factors", notes, source)
    return fig


@products.table("info_{dataset}_table", QUALITY, how=how, of=DATASETS)
def sheet(results: Path, dataset: str) -> SummaryTable:
    """All metrics of one data set, of codes and of samples: mean over seeds and standard error."""
    rows, source = select.rows_or_reference(
        results, QUALITY, lambda frame: select.some(select.only(frame, dataset=dataset), f"metrics of {dataset}")
    )
    lines = []
    for (model, prior, epoch, metric, sampling), group in rows.groupby(
        ["model", "prior", "epoch", "metric", "sampling"], sort=False
    ):
        values = group.drop_duplicates("seed", keep="last")
        several = len(values) > 1
        se = values["value"].std() / np.sqrt(len(values)) if several else values["se"].iloc[0]
        error = "" if pd.isna(se) else f" ± {se:.3f}"
        lines.append(
            {
                "model": model, "prior": prior, "epochs": str(epoch), "metric": metric, "samples": sampling,
                "seeds": str(len(values)), "value": f"{values['value'].mean():.3f}{error}",
            }
        )  # fmt: skip
    note = "mean ± standard error over seeds; of one seed the metric's own error"
    return SummaryTable(f"{dataset}: metrics of codes and samples", products.note(source, note), pd.DataFrame(lines))


def pictures(results: Path, mode: str, dataset: str) -> tuple[list[dict[str, np.ndarray]], str]:
    """The arrays of one mode, of each model the last ones, and whose they are.

    Raises:
        NoRowsError: there are none.
    """

    def pick(files: list[select.File]) -> list[dict[str, np.ndarray]]:
        in_order = sorted(files, key=lambda file: str(file[0]["finished"]))
        return list({str(arrays["model"]): arrays for _, arrays in in_order}.values())[:4]

    return select.arrays_or_reference(results, [f"infodiffusion/images:{mode}-{dataset}"], pick)


def row_of(images: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
    """Images (n, h, w[, 3]) of 256 levels side by side, a white line between them."""
    gap = np.full((images[0].shape[0], 1, *images[0].shape[2:]), 255, images[0].dtype)
    return np.concatenate([part for image in images for part in (image, gap)][:-1], axis=1)


@products.figure("info_{dataset}_samples", "infodiffusion/images:eval-{dataset}", how=how, of=DATASETS)
def samples(results: Path, dataset: str) -> Figure:
    """Samples of every model beside training images."""
    found, source = pictures(results, "eval", dataset)
    shown = [("training images", found[0]["train"])]
    shown += [(family(str(arrays["model"])), arrays["samples"]) for arrays in found]
    fig = style.figure(1.75 * len(shown), 2.3)
    for axes, (text, images) in zip(fig.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        style.picture(axes, style.mosaic(images / 255), text)
    style.title(fig, f"{dataset}: samples", [f"seed {int(found[0]['seed'])}"], source)
    return fig


WITH_X_T = ("original", "with_x_T", "without_x_T")
CODED = (WITH_X_T, r"its code and $x_T$; its code, another $x_T$")
REBUILT = {"diff": CODED, "diffae": CODED, "vanilla": (WITH_X_T, r"its $x_T$; another $x_T$")}
"""Pictures of the reconstructions of a model, and what they are; a VAE has no x_T."""
REBUILT_VAE = (("original", "with_x_T"), "its code decoded")


@products.figure("info_{dataset}_strips", "infodiffusion/images:interpolate-{dataset}", how=how, of=DATASETS)
def strips(results: Path, dataset: str) -> Figure:
    """Of each model: ten images between two test images; those two decoded with their x_T and with another one."""
    found, source = pictures(results, "interpolate", dataset)
    fig = style.figure(style.PAGE, 0.6 * len(found) + 0.55)
    grid = fig.subplots(len(found), 2, squeeze=False, width_ratios=[10, 6])
    for (left, right), arrays in zip(grid, found, strict=True):
        model = family(str(arrays["model"]))
        style.picture(left, row_of(arrays["strip"]), f"{model}: between two test images")
        parts, rebuilt = REBUILT.get(model, REBUILT_VAE)
        both = [arrays[part][place] for place in range(2) for part in parts]
        style.picture(right, row_of(both), f"twice: image; {rebuilt}")
    style.title(fig, f"{dataset}: interpolation and reconstruction", [f"seed {int(found[0]['seed'])}"], source)
    return fig


@products.figure("info_{dataset}_traversals", "infodiffusion/images:disentangle-{dataset}", how=how, of=DATASETS)
def traversals(results: Path, dataset: str) -> Figure:
    """Of each model: one coordinate of a code a row, moved from -1.5 to 1.5."""
    found, source = pictures(results, "disentangle", dataset)
    width, lines = min(style.PAGE / len(found), 3.4), min(MOST_LINES, max(len(one["traversals"]) for one in found))
    fig = style.figure(width * len(found), 0.75 + lines * width / 11)
    for axes, arrays in zip(fig.subplots(1, len(found), squeeze=False)[0], found, strict=True):
        rows = [row_of(row) for row in arrays["traversals"][:MOST_LINES]]
        gap = np.full((1, *rows[0].shape[1:]), 255, rows[0].dtype)
        whole = np.concatenate([part for row in rows for part in (row, gap)][:-1])
        style.picture(axes, whole, f"{family(str(arrays['model']))}: a coordinate $a_k$ a row, -1.5 to 1.5")
    style.title(fig, f"{dataset}: traversals of a test image's code", [f"seed {int(found[0]['seed'])}"], source)
    return fig


@products.figure("info_{dataset}_redraws", "infodiffusion/images:latent_quality-{dataset}", how=how, of=DATASETS)
def redraws(results: Path, dataset: str) -> Figure:
    """One test image, and its code with several x_T."""
    found, source = pictures(results, "latent_quality", dataset)
    fig = style.figure(style.PAGE, 0.7 * len(found) + 0.5)
    for (axes,), arrays in zip(fig.subplots(len(found), 1, squeeze=False), found, strict=True):
        images = [arrays["original"][0], *arrays["samples"][:12]]
        style.picture(
            axes, row_of(images), f"{family(str(arrays['model']))}: a test image, then its code with other $x_T$"
        )
    style.title(fig, f"{dataset}: what the code leaves open", [f"seed {int(found[0]['seed'])}"], source)
    return fig


@products.figure("info_{dataset}_codes", "infodiffusion/images:plot_latent-{dataset}", how=how, of=DATASETS)
def scatter(results: Path, dataset: str) -> Figure:
    """The first two coordinates of test codes by label, over draws of the prior."""
    found, source = pictures(results, "plot_latent", dataset)
    fig = style.figure(max(style.COLUMN, 2.3 * len(found)), 2.6)
    values = np.unique(found[0]["labels"])
    edges = [*(values - 0.5), values[-1] + 0.5]
    colors = mpl.colors.BoundaryNorm(edges, 256)
    for axes, arrays in zip(fig.subplots(1, len(found), squeeze=False)[0], found, strict=True):
        prior, codes, labels = arrays["prior_draws"], arrays["codes"], arrays["labels"]
        axes.scatter(*prior.T, s=1, color="0.85", linewidths=0, label="prior")
        points = axes.scatter(*codes.T, s=2, c=labels, cmap="viridis", norm=colors, linewidths=0)
        axes.set(xlabel="$a_1$", ylabel="$a_2$", title=family(str(arrays["model"])))
    fig.colorbar(points, ax=axes, label="label", ticks=values if len(values) <= 12 else None)
    style.title(fig, f"{dataset}: codes (colour: label) and prior (grey)", [f"seed {int(found[0]['seed'])}"], source)
    return fig
