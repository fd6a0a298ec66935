"""Tables of the image study: NLL of the mass (Table 1), of the density (Table 2), and spreads over draws of points."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from scripts import select, style
from scripts.itdiffusion_images import BASELINES, CURVE, DATASETS, KINDS, NLL, how, last_epochs, of_dataset
from scripts.registry import Product, Sheet
from scripts.summaries import NOTE, number

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


def mass_sheet(results: Path, dataset: str) -> Sheet:
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
    return Sheet(title, _note(source, dataset), cells)


def density_sheet(results: Path, dataset: str) -> Sheet:
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
    return Sheet(title, _note(source, dataset), cells.fillna(""))


def spread_sheet(results: Path, dataset: str) -> Sheet:
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
    note = "; ".join(part for part in (note, style.SOURCE_NOTE[source]) if part)
    return Sheet(f"Noise of the random integral over log-SNR: {dataset}", note, pd.DataFrame(lines))


def _weights(rows: pd.DataFrame) -> pd.Series:
    """1/density of the truncated logistic at each point: scale tanh(clip/2) / (s(u) s(-u)), u = (a - loc)/scale."""
    u = (rows["logsnr"] - rows["loc"]) / rows["scale"]
    return rows["scale"] * np.tanh(rows["clip"] / 2) * (1 + np.exp(-u)) * (1 + np.exp(u))


def _random_curves(frame: pd.DataFrame, dataset: str) -> pd.DataFrame:
    rows = select.only(of_dataset(frame, dataset), integrator="random")
    counts = rows.groupby(["model", "seed", "epoch", "bin_width"])["logsnr"].transform("size")
    rows = rows[counts > DRAWN]
    if rows.empty:
        raise select.NoRowsError(f"no curves of {dataset} at more than {DRAWN} random points")
    return rows


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
            line[heading] = _mean(chosen, "nll_bpd", "se_bpd")
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
            "IT discrete": _mean(select.only(frame, model=name).drop_duplicates("nll_bpd"), "nll_bpd", "nll_bpd_se"),
        }
        for name in names
    ).rename(columns={"IT discrete": "exact"})


def _mean(rows: pd.DataFrame, value: str, error: str) -> str:
    if rows.empty:
        return ""
    found = select.over_seeds(rows.assign(all=0), "all", value, error).iloc[0]
    return number(found["mean"], found["se"])


def _note(source: str, dataset: str) -> str:
    parts = [NOTE, "IT discrete takes the best rounding at each log-SNR, chosen on one half of the images"]
    if dataset == "cifar10":
        parts.append("published: Kong et al. 2023, for comparison, not measured here")
    return "; ".join(part for part in (*parts, style.SOURCE_NOTE[source]) if part)


def products() -> list[Product]:
    """The tables of every image data set."""
    sheets = (("mass", (NLL, BASELINES), mass_sheet), ("density", (NLL,), density_sheet))
    found = [
        Product(
            f"nll_{dataset}_table_{name}",
            "itdiffusion",
            sources,
            how(dataset),
            partial(build, dataset=dataset),
            "tables",
        )
        for dataset in DATASETS
        for name, sources, build in sheets
    ]  # fmt: skip
    found += [
        Product(
            f"nll_{dataset}_table_spread", "itdiffusion", (CURVE,), how(dataset),
            partial(spread_sheet, dataset=dataset), "tables",
        )
        for dataset in DATASETS
    ]  # fmt: skip
    return found
