"""Figures of the 1-D sweeps: capacity, distance of the modes, sample size, and the bound's curve over training time."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scripts import scoregen_parts as parts
from scripts import select, slopes, style
from scripts.registry import Product

CAPACITY = "scoregen/capacity"
SWEEPS = {"samples_m=n": "m = n", "samples_fixed_m": "fixed m"}
MODELS = {"features": "random features, gradient flow", "swish": "Swish network, SGD"}
SHOWN_N = 5
"""Sample sizes whose curves over training time are drawn."""
LEAST_SIZES = 3
"""Sample sizes that a slope needs."""


def capacity(results: Path) -> Figure:
    """KL at epoch 1,000, and the first epoch with a small KL, against the width."""
    rows, source = select.rows_or_reference(results, CAPACITY, capacity_rows)
    fig = style.figure(style.PAGE, 2.8)
    left, right = fig.subplots(1, 2)
    look = style.LOOKS[0]
    style.curve(left, select.over_seeds(rows, "width", "kl_at_1000"), look, "mean", floor=0.01)
    left.scatter(rows["width"], rows["kl_at_1000"], s=7, facecolor="none", edgecolor=look.color, linewidth=0.6)
    left.set(xlabel="hidden width m", ylabel="KL at epoch 1,000 (nats)")
    style.log_y(left)
    most, threshold = int(rows["max_epochs"].iloc[0]), rows["threshold"].iloc[0]
    reached = rows.dropna(subset=["first_epoch_below"])
    never = rows[rows["first_epoch_below"].isna()]
    right.scatter(reached["width"], reached["first_epoch_below"], s=14, facecolor="none", edgecolor=look.color,
                  label="reached, each seed")  # fmt: skip
    shift = 1 + 0.05 * (never.groupby("width").cumcount() - 1)  # crosses of several seeds beside each other
    right.scatter(never["width"] * shift, np.full(len(never), most), marker="x", s=22, color=style.LOOKS[1].color,
                  label=f"never within {most:,}")  # fmt: skip
    right.set(xlabel="hidden width m", ylabel=f"first epoch with KL ≤ {threshold:g} nats")
    style.log_y(right)
    right.legend()
    for axes in (left, right):
        style.log_ticks(axes, sorted(rows["width"].unique()))
    first = rows.iloc[0]
    text = f"Capacity: Adam {first['lr']:g}, modes at ±{first['mu']:g}, n = {first['n']:,}"
    style.title(fig, text, [f"left: {select.band_note(rows, 'width', 'kl_at_1000')}; rings: single seeds"], source)
    return fig


def capacity_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """The study of the most epochs and widths that reaches epoch 1,000."""
    groups = [
        group for _, group in frame.groupby(["max_epochs", "threshold", "n", "mu"]) if group["width"].nunique() > 1
    ]
    groups = [group for group in groups if group["kl_at_1000"].notna().any()]
    if not groups:
        raise select.NoRowsError("no sweep over the width that reaches epoch 1,000")
    best = max(groups, key=lambda group: (group["max_epochs"].iloc[0], group["width"].nunique()))
    return best.drop_duplicates(["width", "seed"], keep="last").sort_values(["width", "seed"])


def distance(results: Path) -> Figure:
    """KL against the distance of the modes, and how wrongly the right mode is weighed."""
    rows, source = parts.kl_rows(results, "distance")
    rows = parts.largest(rows, parts.RUN, "mu")
    last = rows[rows["epoch"] == rows["epoch"].max()]
    best = parts.at_best(rows, ["mu", "seed"])
    fig = style.figure(style.PAGE, 2.8)
    left, right = fig.subplots(1, 2)
    for picked, look, label in (
        (last, style.LOOKS[0], f"epoch {rows['epoch'].max():,.0f}"),
        (best, style.LOOKS[1], "least"),
    ):
        style.curve(left, select.over_seeds(picked, "mu", "kl_nats"), look, label, floor=0.01)
    left.set(xlabel="modes at ±μ", ylabel="KL(p0 || p) (nats)")
    style.log_y(left)
    left.legend()
    near = _near(rows, 1000)
    for shift, epoch, look in ((-0.12, near, style.LOOKS[2]), (0.12, rows["epoch"].max(), style.LOOKS[0])):
        picked = rows[rows["epoch"] == epoch]
        right.scatter(
            picked["mu"] + shift, picked["mass_right"], s=12, marker=look.marker, facecolor="none",
            edgecolor=look.color, label=f"epoch {epoch:,.0f}",
        )  # fmt: skip
    share = last.groupby("seed")["data_right"].mean()
    right.axhline(0.5, color="black", linewidth=0.7, label="truth")
    right.axhspan(share.min(), share.max(), color=style.GREY, alpha=0.25, linewidth=0, label="share in the data")
    right.set(xlabel="modes at ±μ", ylabel="learned mass of the right mode")
    right.legend()
    first = rows.iloc[0]
    text = f"Distance of the modes: {parts.setting(rows)}, n = {first['n']:,}"
    style.title(fig, text, [f"left: {select.band_note(last, 'mu', 'kl_nats')}; right: each seed"], source)
    return fig


def _near(rows: pd.DataFrame, epoch: int) -> int:
    known = np.sort(rows["epoch"].unique())
    return int(known[np.argmin(np.abs(known - epoch))])


def samples(results: Path) -> Figure:
    """KL at the early-stopped time against n, with log-log slopes beside -2/5."""
    found, source = all_samples(results)
    shown = [sweep for sweep in SWEEPS if any(key[0] == sweep for key in found)]
    fig = style.figure(style.PAGE, 3.4)
    panels = fig.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    for axes, sweep in zip(panels, shown, strict=True):
        for (network, label), look in zip(MODELS.items(), style.LOOKS, strict=False):
            if (sweep, network) not in found:
                continue
            rows = found[sweep, network]
            width = "" if sweep == "samples_m=n" else f", m = {rows['width'].iloc[0]:,}"
            _draw_slope(axes, rows, look, label + width)
        axes.set(title=SWEEPS[sweep], xlabel="training points n")
    for axes in panels:
        _draw_guide(axes)
        style.log_y(axes)
        style.log_ticks(axes, sorted({round(x) for line in axes.collections for x in line.get_offsets()[:, 0]}))
        axes.legend(loc="upper right", fontsize=5.8)
    panels[0].set_ylabel("least KL over training time (nats)")
    notes = [f"rings: single seeds; {slopes.NOTE}"]
    style.title(fig, "Early-stopped KL against the sample size", notes, source)
    return fig


def all_samples(results: Path) -> tuple[dict[tuple[str, str], pd.DataFrame], str]:
    """`of_samples` for each sweep over n and model that has three sample sizes, all the user's or all the reference's.

    Raises:
        NoRowsError: none has; where there are rows, the text names the sizes that they have.
    """
    frame, source = _sample_rows(results)
    found: dict[tuple[str, str], pd.DataFrame] = {}
    most: list[int] = []
    for sweep in SWEEPS:
        for network in MODELS:
            best = _early_stopped(frame, sweep, network)
            sizes = sorted(best["n"].unique())
            most = max(most, sizes, key=len)
            if len(sizes) >= LEAST_SIZES:
                found[sweep, network] = best
    if not found:
        there = ", ".join(f"{n:,}" for n in most) or "none with a finite KL"
        raise select.NoRowsError(
            f"no sample-size sweep in {parts.KL} has the {LEAST_SIZES} values of n that a slope needs (there: {there}; "
            "a smoke run has two)"
        )
    return found, source


def of_samples(results: Path, sweep: str, network: str) -> tuple[pd.DataFrame, str]:
    """Early-stopped rows of one sweep over n and one model: the widest fixed m, the longest training at each n.

    Raises:
        NoRowsError: there are fewer than `LEAST_SIZES` values of n.
    """
    frame, source = _sample_rows(results)
    best = _early_stopped(frame, sweep, network)
    if best["n"].nunique() < LEAST_SIZES:
        raise select.NoRowsError(f"fewer than {LEAST_SIZES} sample sizes of {sweep}, {network}")
    return best, source


def _sample_rows(results: Path) -> tuple[pd.DataFrame, str]:
    def pick(frame: pd.DataFrame) -> pd.DataFrame:
        rows = frame[frame["sweep"].isin(SWEEPS) & frame["network"].isin(MODELS)]
        if rows.empty:
            raise select.NoRowsError("no sample-size sweep")
        return rows

    return select.rows_or_reference(results, parts.KL, pick)


def _early_stopped(frame: pd.DataFrame, sweep: str, network: str) -> pd.DataFrame:
    rows = select.only(frame, sweep=sweep, network=network)
    return rows if rows.empty else parts.at_best(_one_width(rows, sweep), ["n", "seed"])


def _one_width(rows: pd.DataFrame, sweep: str) -> pd.DataFrame:
    if sweep == "samples_fixed_m":
        counts = rows.groupby("width")["n"].nunique()
        rows = rows[rows["width"] == max(counts.index, key=lambda width: (counts[width], width))]
    longest = rows.groupby("n")["time"].transform("max")
    group_end = rows.groupby(["n", "seed", "width", "lr", "batch"])["time"].transform("max")
    return rows[group_end >= longest * (1 - 1e-9)]


def _draw_slope(axes: Axes, best: pd.DataFrame, look: style.Look, label: str) -> None:
    n, kl = best["n"].to_numpy(float), best["kl_nats"].to_numpy(float)
    law = slopes.power_law(n, kl)
    axes.scatter(n, kl, s=8, facecolor="none", edgecolor=look.color, linewidth=0.6)
    x = np.unique(n)
    means = best.groupby("n")["kl_nats"].mean()
    axes.plot(means.index, means, color=look.color, linestyle="none", marker=look.marker)
    line = means if law.slope is None else law.slope.at(x)
    text = f"{label}: {law}"
    axes.plot(x, line, color=look.color, linestyle=look.line, marker=look.marker, markevery=[], label=text)


def _draw_guide(axes: Axes) -> None:
    """A line of slope -2/5, the theorem's rate at m = n, through the largest KL shown."""
    points = np.concatenate([np.asarray(one.get_offsets()) for one in axes.collections])
    x = np.unique(points[:, 0])
    level = float(np.median(points[points[:, 0] == x[0], 1]))
    axes.plot(x, level * (x / x[0]) ** -0.4, color="black", linewidth=0.7, linestyle=(0, (1, 2)), label="slope -2/5")


def bound_time(results: Path) -> Figure:
    """KL of the theorem's model against training time for several m = n, and the bound with fitted constants."""
    rows, source = parts.kl_rows(results, "samples_m=n", network="features")
    # A time at which a seed's flow overflows has no mean: that of the others would look better than it is.
    means = rows.groupby(["n", "time"])["kl_nats"].agg(["mean", "count", "size"]).reset_index()
    rows = means[means["count"] == means["size"]].rename(columns={"mean": "kl_nats"})
    sizes = np.sort(rows["n"].unique())
    if len(sizes) < 2:
        raise select.NoRowsError(f"no sweep over n in {parts.KL}")
    fig = style.figure(style.COLUMN * 1.5, 3.3)
    axes = fig.subplots()
    n, tau = rows["n"].to_numpy(float), rows["time"].to_numpy(float)
    constants = parts.fit_bound(tau, n, n, rows["kl_nats"].to_numpy(float))
    places = np.unique(np.linspace(0, len(sizes) - 1, SHOWN_N).round().astype(int))
    for size, look in zip(sizes[places], style.LOOKS, strict=False):
        own = select.only(rows, n=size)
        t = own["time"].to_numpy(float)
        axes.plot(t, own["kl_nats"], color=look.color, marker=look.marker, markevery=4, linestyle="none", markersize=3)
        bound = parts.bound_terms(t, np.full(len(t), size), np.full(len(t), size)) @ constants
        axes.plot(t, bound, color=look.color, linestyle=look.line, label=f"n = m = {size:,}")
    axes.set(xscale="log", xlabel="training time τ of the gradient flow", ylabel="KL(p0 || p) (nats)")
    style.log_y(axes)
    axes.legend()
    seeds = "means over seeds (marks); lines: c1 τ⁴/(mn) + c2 τ³/m² + c3/τ + c4/m fitted to all"
    values = ", ".join(f"c{i + 1} = {value:.2g}" for i, value in enumerate(constants))
    style.title(fig, "The theorem's model over training time", [seeds, values], source)
    return fig


def products() -> list[Product]:
    """The figures of the sweeps."""
    runs = {"capacity": "capacity", "distance": "mixture", "samples": "samples", "bound_time": "features"}
    tables = {name: CAPACITY if name == "capacity" else parts.KL for name in runs}
    drawn = {"capacity": capacity, "distance": distance, "samples": samples, "bound_time": bound_time}
    return [
        Product(f"score_{name}", "scoregen", (tables[name],), f"sh scoregen/run_{runs[name]}.sh", build)
        for name, build in drawn.items()
    ]
