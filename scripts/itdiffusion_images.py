"""What is drawn of the image study, for every data set: MSE curves, progress, samples, and tables of the NLL."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scripts import products, select, style
from scripts.products import SummaryTable

NLL, CURVE, BASELINES = (f"itdiffusion/{name}" for name in ("nll", "mse_curve", "baselines"))
ARRAYS = "itdiffusion/images:{dataset}"
HOW = "sh itdiffusion/run_{dataset}.sh"
DATASETS = ("digits", "patches", "cifar10")
PRETRAINED = ("iddpm[", "ddpm[")
KINDS = ("mse", "mse_hard", "mse_soft")
GAUSSIAN_LINE: dict[str, Any] = {"color": "black", "linewidth": 0.9, "linestyle": (0, (1, 1))}
# Kong, Brekelmans and Ver Steeg 2023, Tables 1 and 2: bits per dimension on CIFAR-10's test set; not measured here.
PUBLISHED_MASS: Mapping[str, tuple[str, str, str]] = {
    "DDPM": ("3.37", "3.68", "3.51"),
    "IDDPM": ("2.94", "3.16", "3.17"),
    "DDPM, tuned": ("3.45", "3.48", "3.41"),
    "IDDPM, tuned": ("3.14", "3.15", "3.18"),
    "ensemble": ("", "2.90", "3.16"),
}
PUBLISHED_DENSITY: Mapping[str, tuple[str, str]] = {"IDDPM": ("-4.05", "-4.09"), "IDDPM, tuned": ("-3.85", "-4.28")}
DRAWS, DRAWN = 10, 100
Columns = list[tuple[str, dict[str, str | tuple[str, ...]]]]
"""(heading, which rows it shows) of each column."""


def of_dataset(frame: pd.DataFrame, dataset: str) -> pd.DataFrame:
    """The rows of one image set from the largest evaluations: no smoke run stands beside a real one.

    Raises:
        NoRowsError: there are none.
    """
    rows = select.some(select.only(frame, dataset=dataset), f"rows of {dataset}")
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


@products.figure("nll_{dataset}_cont_density", CURVE, how=HOW, of=DATASETS, mass=False)
@products.figure("nll_{dataset}_disc_density", CURVE, how=HOW, of=DATASETS, mass=True)
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
    for name, look in zip(rows["label"].unique(), style.LINES, strict=False):
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


@products.figure("nll_{dataset}_progress", NLL, CURVE, how=HOW, of=DATASETS)
def progress(results: Path, dataset: str) -> Figure:
    """Over the epochs of training or tuning: each model's NLL, and the MSE curve of the best one."""
    frame, source = select.rows_or_reference(results, NLL, partial(of_dataset, dataset=dataset))
    rows = frame[~frame["model"].str.startswith("ensemble[") & (frame["estimator"] != "variational")]
    counts = rows.groupby("model")["epoch"].nunique()
    rows = select.some(rows[rows["model"].isin(counts[counts > 1].index)], f"evaluations over epochs of {dataset}")
    fig = style.figure(style.PAGE, 3.2)
    left, right = fig.subplots(1, 2)
    for name, color in zip(rows["model"].unique(), style.LINES, strict=False):
        for estimator, look in zip(("discrete", "dequantized", "continuous"), style.LINES, strict=False):
            chosen = select.only(rows, model=name, estimator=estimator)
            chosen = chosen[chosen["rounding"].isin(["best", "none"])]
            if len(chosen):
                drawn = style.LineStyle(color.color, look.line, look.marker, look.hatch)
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
    for epoch, look in zip(shown, reversed(style.LINES), strict=False):
        one = select.only(rows, epoch=epoch).sort_values("logsnr")
        axes.plot(one["logsnr"], one[list(KINDS)].min(axis=1), color=look.color, linestyle=look.line,
                  label=f"curve, epoch {epoch:,}")  # fmt: skip
    name = label(model, 0).split(", ")[0]
    axes.set(xlabel="log-SNR (nats)", ylabel=r"E$|\epsilon-\hat\epsilon|^2$", title=f"MSE curve, {name}")


@products.figure("nll_{dataset}_samples", ARRAYS, how=HOW, of=DATASETS)
def samples(results: Path, dataset: str) -> Figure:
    """Training images and samples of every member of one run, the largest there is."""
    arrays, source = select.arrays_or_reference(results, [ARRAYS.format(dataset=dataset)], _of_largest)
    names = [str(name) for name in arrays["names"]]
    shown = [arrays["train"], *[arrays[f"samples_{index}"] for index in range(len(names))]]
    titles = ["training images", *[label(name, 0).split(", ")[0] for name in names]]
    levels = int(arrays["levels"])
    fig = style.figure(min(style.PAGE, 1.75 * len(shown)), 2.3)
    for axes, images, text in zip(fig.subplots(1, len(shown), squeeze=False)[0], shown, titles, strict=True):
        style.picture(axes, style.mosaic(images / (levels - 1)), text)
    style.title(fig, f"{dataset}: samples by the reverse process", [f"seed {int(arrays['seed'])}"], source)
    return fig


def _of_largest(files: list[select.File]) -> dict[str, np.ndarray]:
    """The arrays of samples of the largest run, of its first seed."""
    drawn = select.some([file for file in files if "names" in file[1]], "samples")
    return min(drawn, key=lambda file: (-select.rank(file[0]), int(file[1]["seed"])))[1]


@products.table("nll_{dataset}_table_mass", NLL, BASELINES, how=HOW, of=DATASETS)
def mass_sheet(results: Path, dataset: str) -> SummaryTable:
    """Table 1: variational bound, I-MMSE on grey levels and on dequantised images, beside the simple baselines."""
    rows, source = _last(results, dataset)
    columns: Columns = [
        ("variational", {"estimator": "variational"}),
        ("IT discrete", {"rounding": "best"}),
        ("hard-rounded", {"estimator": "discrete", "rounding": "hard"}),
        ("soft-rounded", {"estimator": "discrete", "rounding": "soft"}),
        ("IT dequantised", {"estimator": ("dequantized", "ensemble"), "rounding": "none"}),
    ]
    cells = _cells(rows[rows["bin_width"] > 0], columns)
    if dataset == "cifar10":
        heads = ("published variational", "published IT discrete", "published IT dequantised")
        cells = _with_published(cells, PUBLISHED_MASS, heads)
    cells = pd.concat([cells, _baselines(results, dataset, source)], ignore_index=True).fillna("")
    title = f"Test NLL of the grey levels, bits/dim: {dataset}, {rows['n'].iloc[0]:,} test images"
    return SummaryTable(title, _note(source, dataset), cells)


@products.table("nll_{dataset}_table_density", NLL, how=HOW, of=DATASETS)
def density_sheet(results: Path, dataset: str) -> SummaryTable:
    """Table 2: variational bound and I-MMSE of the density of images in [-1, 1]."""
    rows, source = _last(results, dataset)
    density = rows[rows["bin_width"] == 0]
    if not (density["estimator"] == "continuous").any():
        raise select.NoRowsError(f"no continuous NLL of {dataset}")
    columns: Columns = [
        ("variational", {"estimator": "variational"}),
        ("IT continuous", {"estimator": ("continuous", "ensemble")}),
    ]
    cells = _cells(density, columns)
    if dataset == "cifar10":
        cells = _with_published(cells, PUBLISHED_DENSITY, ("published variational", "published IT"))
    title = f"Test NLL of the density on [-1, 1], bits/dim: {dataset}, {rows['n'].iloc[0]:,} test images"
    return SummaryTable(title, _note(source, dataset), cells.fillna(""))


@products.table("nll_{dataset}_table_spread", CURVE, how=HOW, of=DATASETS)
def spread_sheet(results: Path, dataset: str) -> SummaryTable:
    """Spread of the integral over ten draws of 100 of the random log-SNR points, bits/dim."""
    frame, source = select.rows_or_reference(results, CURVE, partial(_random_curves, dataset=dataset))
    lines = []
    for (name, width), rows in last_epochs(frame).groupby(["label", "bin_width"], sort=False):
        one = rows[rows["seed"] == rows["seed"].min()]
        mse = one[list(KINDS)].min(axis=1) if width else one["mse"]
        values = 0.5 * (mse * _weights(one)).to_numpy(float) / (one["d"].iloc[0] * np.log(2))
        rng = np.random.default_rng(0)
        draws = [values[rng.permutation(len(values))[:DRAWN]].mean() for _ in range(DRAWS)]
        whole = values.mean()
        lines.append(
            {
                "model": str(name),
                "integrand": "discrete, best rounding" if width else "continuous",
                "points": f"{len(values):,}",
                "integral, all points": f"{whole:.3f}",
                f"sd of {DRAWS} draws of {DRAWN}": f"{np.std(draws, ddof=1):.3f}",
                "least draw": f"{min(draws):.3f}",
                "largest draw": f"{max(draws):.3f}",
                "standard error, all points": f"{values.std(ddof=1) / np.sqrt(len(values)):.3f}",
            }
        )
    note = "1/2 of the integral of the error over log-SNR, without tails and constants; spread over points alone"
    return SummaryTable(
        f"Noise of the random integral over log-SNR: {dataset}", products.note(source, note), pd.DataFrame(lines)
    )


def _weights(rows: pd.DataFrame) -> pd.Series:
    """1/density of the truncated logistic at each point: scale tanh(clip/2) / (s(u) s(-u)), u = (a - loc)/scale."""
    u = (rows["logsnr"] - rows["loc"]) / rows["scale"]
    return rows["scale"] * np.tanh(rows["clip"] / 2) * (1 + np.exp(-u)) * (1 + np.exp(u))


def _random_curves(frame: pd.DataFrame, dataset: str) -> pd.DataFrame:
    rows = select.only(of_dataset(frame, dataset), integrator="random")
    counts = rows.groupby(["model", "seed", "epoch", "bin_width"])["logsnr"].transform("size")
    return select.some(rows[counts > DRAWN], f"curves of {dataset} at more than {DRAWN} random points")


def _last(results: Path, dataset: str) -> tuple[pd.DataFrame, str]:
    frame, source = select.rows_or_reference(results, NLL, partial(of_dataset, dataset=dataset))
    return last_epochs(frame), source


def _cells(rows: pd.DataFrame, columns: Columns) -> pd.DataFrame:
    """A line for each model, a text cell for each column: mean and error over seeds."""
    lines = []
    for name in rows["label"].unique():
        of_model = select.only(rows, label=name)
        line = {"model": str(name), "seeds": str(of_model["seed"].nunique())}
        for heading, wanted in columns:
            chosen = of_model
            for column, values in wanted.items():
                chosen = chosen[chosen[column].isin(values if isinstance(values, tuple) else (values,))]
            line[heading] = select.mean_text(chosen, "nll_bpd", "se_bpd")
        lines.append(line)
    return pd.DataFrame(lines)


def _with_published(
    cells: pd.DataFrame, published: Mapping[str, tuple[str, ...]], headings: tuple[str, ...]
) -> pd.DataFrame:
    """Columns of their own for the published numbers; models without a measurement here get a line of theirs."""
    keys = cells["model"].map(_published_key)
    for place, heading in enumerate(headings):
        cells[heading] = [published[key][place] if key in published else "" for key in keys]
    missing = [key for key in published if key not in set(keys)]
    lines = [
        {"model": f"{key} (not measured here)", **dict(zip(headings, published[key], strict=True))} for key in missing
    ]
    return pd.concat([cells, pd.DataFrame(lines)], ignore_index=True).fillna("")


def _published_key(name: str) -> str:
    if name.startswith("ensemble"):
        return "ensemble"
    return name.split(" 10 epochs")[0]


def _baselines(results: Path, dataset: str, source: str) -> pd.DataFrame:
    try:
        frame, own = select.rows_or_reference(results, BASELINES, partial(of_dataset, dataset=dataset))
    except select.NoRowsError:
        return pd.DataFrame()
    if own != source:
        return pd.DataFrame()
    names = frame["model"].unique()
    return pd.DataFrame(
        {
            "model": f"baseline: {name}",
            "seeds": str(select.only(frame, model=name)["seed"].nunique()),
            "IT discrete": select.mean_text(
                select.only(frame, model=name).drop_duplicates("nll_bpd"), "nll_bpd", "nll_bpd_se"
            ),
        }
        for name in names
    ).rename(columns={"IT discrete": "exact"})


def _note(source: str, dataset: str) -> str:
    parts = [
        products.SEEDS_NOTE,
        "IT discrete takes the best rounding at each log-SNR, chosen on one half of the images",
    ]
    if dataset == "cifar10":
        parts.append("published: Kong et al. 2023, for comparison, not measured here")
    return products.note(source, *parts)
