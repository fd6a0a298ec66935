"""Figures of the image study, four for every data set: MSE curves of densities and of masses, progress, samples."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from infolab import results as tables
from scripts import select, style
from scripts.mosaic import mosaic
from scripts.registry import Product

NLL, CURVE, BASELINES = (f"itdiffusion/{name}" for name in ("nll", "mse_curve", "baselines"))
DATASETS = ("digits", "patches", "cifar10")
PRETRAINED = ("iddpm[", "ddpm[")
KINDS = ("mse", "mse_hard", "mse_soft")
PRESETS = {"paper": 2, "quick": 1}
GAUSSIAN_LINE: dict[str, Any] = {"color": "black", "linewidth": 0.9, "linestyle": (0, (1, 1))}


def of_dataset(frame: pd.DataFrame, dataset: str) -> pd.DataFrame:
    """The rows of one image set from the largest evaluations: no smoke run stands beside a real one.

    Raises:
        NoRowsError: there are none.
    """
    rows = frame[frame["dataset"] == dataset]
    if rows.empty:
        raise select.NoRowsError(f"no rows of {dataset}")
    return rows[rows["n"] == rows["n"].max()]


def last_epochs(rows: pd.DataFrame) -> pd.DataFrame:
    """Each model after its last epoch; a pre-trained one before tuning too. Adds the column `label`."""
    last = rows.groupby("model")["epoch"].transform("max")
    pretrained = rows["model"].str.startswith(PRETRAINED)
    kept = rows[(rows["epoch"] == last) | (pretrained & (rows["epoch"] == 0))]
    return kept.assign(label=[label(model, epoch) for model, epoch in zip(kept["model"], kept["epoch"], strict=True)])


def label(model: str, epoch: int) -> str:
    """What figures and tables call a model.

    >>> label("iddpm[cifar10_uncond_vlb_50M_500K]", 10), label("ddpm[ddpm-cifar10-32]", 0)
    ('IDDPM, tuned 10 epochs', 'DDPM')
    >>> label("unet[digits,levels]", 24), label("ensemble[a + b]", 24)
    ('levels head, 24 epochs', 'ensemble of 2')
    """
    if model.startswith(PRETRAINED):
        return model.split("[")[0].upper() + (f", tuned {_epochs(epoch)}" if epoch else "")
    if model.startswith("ensemble["):
        return f"ensemble of {model.count(' + ') + 1}"
    return f"{model.removesuffix(']').split(',')[-1]} head, {_epochs(epoch)}"


def _epochs(count: int) -> str:
    return "1 epoch" if count == 1 else f"{count:,} epochs"


def density(results: Path, dataset: str, mass: bool) -> Figure:
    """MSE curves of all models; for a density the gap to the Gaussian's is filled, for a mass all below the lowest."""
    frame, source = select.rows_or_reference(results, CURVE, partial(of_dataset, dataset=dataset))
    rows = last_epochs(frame)
    rows = rows[rows["seed"] == rows["seed"].min()]
    plain = not mass and bool((rows["bin_width"] == 0).any())
    rows = rows[(rows["bin_width"] == 0) == plain]
    lowest: pd.Series | None = None
    fig = style.figure(style.COLUMN * 1.45, 3.1)
    axes = fig.subplots()
    for name, look in zip(rows["label"].unique(), style.LOOKS, strict=False):
        of_model = select.only(rows, label=name).sort_values("logsnr").set_index("logsnr")
        of_model = of_model[~of_model.index.duplicated(keep="last")]
        values = of_model[list(KINDS)].min(axis=1) if mass else of_model["mse" if plain else "mse_dequantized"]
        axes.plot(values.index, values, color=look.color, linestyle=look.line, label=name)
        if lowest is None:
            lowest = values
        elif lowest.index.equals(values.index):
            lowest = np.minimum(lowest, values)
    if lowest is None:
        raise select.NoRowsError(f"no curves of {dataset}")
    gaussian = rows.groupby("logsnr")["mse_gaussian"].mean()
    axes.plot(gaussian.index, gaussian, label="Gaussian", **GAUSSIAN_LINE)
    top = 0 * lowest
    if not mass:  # the Gaussian is a member of every ensemble for a density: no gap is below 0
        d = float(rows["d"].iloc[0])
        lowest = np.minimum(lowest, gaussian.reindex(lowest.index))
        top = gaussian.reindex(lowest.index)
        axes.set_ylim(-0.03 * d, 1.15 * d)
    axes.fill_between(lowest.index, lowest, top, color=style.GREY, alpha=0.25, linewidth=0)
    what = "grey levels" if mass else "grey levels as points" if plain else "dequantised images"
    axes.set(xlabel="log-SNR (nats)", ylabel=r"E$|\epsilon-\hat\epsilon|^2$, summed over dimensions")
    style.legend_below(fig, [axes], 2)
    gap = "half the grey area: the NLL" if mass else "half the grey area: nats gained on the Gaussian"
    notes = [f"{rows['n'].iloc[0]:,} test images, seed {rows['seed'].iloc[0]}", gap]
    if mass:
        notes.append("each model's best of raw, hard- and soft-rounded at each log-SNR")
    style.title(fig, f"{dataset}: denoising error of {what}", notes, source)
    return fig


def progress(results: Path, dataset: str) -> Figure:
    """Over the epochs of training or tuning: each model's NLL, and the MSE curve of the best one."""
    frame, source = select.rows_or_reference(results, NLL, partial(of_dataset, dataset=dataset))
    rows = frame[~frame["model"].str.startswith("ensemble[") & (frame["estimator"] != "variational")]
    counts = rows.groupby("model")["epoch"].nunique()
    rows = rows[rows["model"].isin(counts[counts > 1].index)]
    if rows.empty:
        raise select.NoRowsError(f"no evaluations over epochs of {dataset}")
    fig = style.figure(style.PAGE, 3.2)
    left, right = fig.subplots(1, 2)
    for name, color in zip(rows["model"].unique(), style.LOOKS, strict=False):
        for estimator, look in zip(("discrete", "dequantized", "continuous"), style.LOOKS, strict=False):
            chosen = select.only(rows, model=name, estimator=estimator)
            chosen = chosen[chosen["rounding"].isin(["best", "none"])]
            if len(chosen):
                drawn = style.Look(color.color, look.line, look.marker, look.hatch)
                summary = select.over_seeds(chosen, "epoch", "nll_bpd", "se_bpd")
                style.curve(left, summary, drawn, f"{label(name, 0).split(', ')[0]}, {estimator}")
    left.set(xlabel="epoch", ylabel="test NLL (bits/dim)", title="NLL")
    style.ticks_at(left, rows["epoch"].unique())
    last = rows[(rows["epoch"] == rows["epoch"].max()) & (rows["rounding"] == "best")]
    best = str(last.loc[last["nll_bpd"].idxmin(), "model"]) if len(last) else str(rows["model"].iloc[0])
    _curves_over_epochs(right, results, dataset, best)
    style.legend_below(fig, [left, right], 4)
    style.title(fig, f"{dataset}: over the epochs of training", [select.band_note(rows, "epoch")], source)
    return fig


def _curves_over_epochs(axes: Axes, results: Path, dataset: str, model: str) -> None:
    frame, _ = select.rows_or_reference(results, CURVE, partial(of_dataset, dataset=dataset))
    rows = select.only(frame, model=model)
    rows = rows[(rows["seed"] == rows["seed"].min()) & (rows["bin_width"] > 0)]
    epochs = sorted(rows["epoch"].unique())
    shown = epochs if len(epochs) <= 5 else [epochs[round(i * (len(epochs) - 1) / 4)] for i in range(5)]
    for epoch, look in zip(shown, reversed(style.LOOKS), strict=False):
        one = select.only(rows, epoch=epoch).sort_values("logsnr")
        axes.plot(one["logsnr"], one[list(KINDS)].min(axis=1), color=look.color, linestyle=look.line,
                  label=f"curve, epoch {epoch:,}")  # fmt: skip
    name = label(model, 0).split(", ")[0]
    axes.set(xlabel="log-SNR (nats)", ylabel=r"E$|\epsilon-\hat\epsilon|^2$", title=f"MSE curve, {name}")


def samples(results: Path, dataset: str) -> Figure:
    """Training images and samples of every member of one run, the largest there is."""
    arrays, source = _arrays(results, dataset)
    names = [str(name) for name in arrays["names"]]
    shown = [arrays["train"], *[arrays[f"samples_{index}"] for index in range(len(names))]]
    titles = ["training images", *[label(name, 0).split(", ")[0] for name in names]]
    levels = int(arrays["levels"])
    fig = style.figure(min(style.PAGE, 1.75 * len(shown)), 2.3)
    for axes, images, text in zip(fig.subplots(1, len(shown), squeeze=False)[0], shown, titles, strict=True):
        axes.imshow(mosaic(images / (levels - 1)), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axes.set_title(text, fontsize=6.5)
        axes.set_axis_off()
    style.title(fig, f"{dataset}: samples by the reverse process", [f"seed {int(arrays['seed'])}"], source)
    return fig


def _arrays(results: Path, dataset: str) -> tuple[dict[str, np.ndarray], str]:
    for root, source in ((results, "yours"), (results / "reference", "reference")):
        if (root / "itdiffusion" / "images").is_dir():
            files = [file for file in tables.read_arrays(root, "itdiffusion", dataset) if "names" in file[1]]
            if files:
                rank = max(PRESETS.get(str(provenance["preset"]), 0) for provenance, _ in files)
                kept = [file for file in files if PRESETS.get(str(file[0]["preset"]), 0) == rank]
                return min(kept, key=lambda file: int(file[1]["seed"]))[1], source
    raise select.NoRowsError(f"no arrays of {dataset} in itdiffusion/images")


def how(dataset: str) -> str:
    """The command that makes this data set's rows and pictures."""
    return f"sh itdiffusion/run_{dataset}.sh"


def products() -> list[Product]:
    """The figures of every image data set."""
    found = []
    for dataset in DATASETS:
        drawn: list[tuple[str, tuple[str, ...], Callable[..., Figure]]] = [
            ("cont_density", (CURVE,), partial(density, mass=False)),
            ("disc_density", (CURVE,), partial(density, mass=True)),
            ("progress", (NLL, CURVE), progress),
            ("samples", (f"itdiffusion/images:{dataset}",), samples),
        ]
        for name, sources, build in drawn:
            stem = f"nll_{dataset}_{name}"
            found.append(Product(stem, "itdiffusion", sources, how(dataset), partial(build, dataset=dataset)))
    return found
