"""What is drawn of the 1-D studies: KL over training, batches, densities, capacity, distance, sample size, bound."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scripts import products, select, slopes, style
from scripts import scoregen_parts as parts
from scripts.products import SummaryTable

CAPACITY, DENSITY = "scoregen/capacity", "scoregen/density"
HOW = "sh scoregen/run_mixture.sh"
FINE = "thin: single seeds; ring: the least mean"
OPTIMIZERS = ("sgd", "adam")
SWEEPS = {"samples_m=n": "m = n", "samples_fixed_m": "fixed m"}
MODELS = {"features": "random features, gradient flow", "swish": "Swish network, SGD"}
SHOWN_N = 5
"""Sample sizes whose curves over training time are drawn."""
LEAST_SIZES = 3
"""Sample sizes that a slope needs."""


def by_optimizer(results: Path, mu: float = 3.0) -> tuple[dict[str, pd.DataFrame], str]:
    """The KL curves of `dynamics` of each optimiser that has any, all of them the user's or all the reference's.

    Raises:
        NoRowsError: there are none.
    """
    rows, source = parts.kl_rows(results, "dynamics", mu=mu, network="swish", scaling="sqrt")
    there = [optimizer for optimizer in OPTIMIZERS if (rows["optimizer"] == optimizer).any()]
    return {optimizer: _published(select.only(rows, optimizer=optimizer)) for optimizer in there}, source


def dynamics(results: Path, optimizer: str, mu: float = 3.0) -> tuple[pd.DataFrame, str]:
    """The KL curves of one optimiser at the published settings, the batch size with the largest study first.

    Raises:
        NoRowsError: there are none, or the user has rows of the other optimiser only.
    """
    curves, source = by_optimizer(results, mu)
    if optimizer not in curves:
        raise select.NoRowsError(f"no rows of dynamics, optimizer {optimizer} in {parts.KL}")
    return curves[optimizer], source


def _published(rows: pd.DataFrame) -> pd.DataFrame:
    if (rows["optimizer"] == "sgd").all() and (rows["batch"] == 500).any():
        rows = select.only(rows, batch=500)
    return parts.largest(rows, parts.RUN, "seed")


@products.figure("score_kl_epochs", parts.KL, how=HOW)
def kl_epochs(results: Path) -> Figure:
    """KL against epoch for both optimisers, each seed and the mean with its band."""
    curves, source = by_optimizer(results)
    fig = style.figure(style.PAGE, 2.9)
    panels = fig.subplots(1, len(curves), sharey=True, squeeze=False)[0]
    for axes, rows, look in zip(panels, curves.values(), style.LINES, strict=False):
        _draw_seeds(axes, rows, look)
        summary = select.over_seeds(rows, "epoch", "kl_nats")
        style.curve(axes, summary.assign(half=summary["half"].fillna(0)), _without_marker(look), "mean", floor=0.01)
        least = summary.loc[summary["mean"].idxmin()]
        axes.plot(least["x"], least["mean"], "o", markersize=7, markerfacecolor="none", markeredgecolor=look.color)
        axes.annotate(f"{least['mean']:.2f} at {least['x']:,.0f}", (least["x"], least["mean"]), (0, -14),
                      textcoords="offset points", ha=_side(least["x"], summary["x"]), fontsize=6.5)  # fmt: skip
        axes.set(title=parts.setting(rows), xlabel="epoch")
    panels[0].set_ylabel("KL(p0 || p) (nats)")
    style.log_y(panels[0])
    first = rows.iloc[0]
    text = f"Exact KL over training: two modes at ±{first['mu']:g}, n = {first['n']:,}"
    style.title(fig, text, [f"{select.band_note(rows, 'epoch', 'kl_nats')}; {FINE}"], source)
    return fig


@products.figure("score_batches", parts.KL, how=HOW)
def batches(results: Path) -> Figure:
    """KL against epoch under SGD for every batch size of one width."""
    kind = {"optimizer": "sgd", "network": "swish", "scaling": "sqrt", "mu": 3.0}

    def pick(frame: pd.DataFrame) -> pd.DataFrame:
        parts.kl_of(frame, "dynamics", **kind)
        return parts.kl_of(frame, "dynamics")

    every, source = select.rows_or_reference(results, parts.KL, pick)
    rows = parts.kl_of(every, "dynamics", **kind)
    shared = parts.largest(rows, ["n", "width", "lr"], "batch")
    rows = rows.merge(shared[["n", "width", "lr"]].drop_duplicates())
    fig = style.figure(style.COLUMN * 1.35, 2.9)
    axes = fig.subplots()
    for batch, look in zip(sorted(rows["batch"].unique()), style.LINES, strict=False):
        own = parts.largest(select.only(rows, batch=batch), parts.RUN, "seed")
        label = "full batch" if batch == own["n"].iloc[0] else f"batch {batch:,}"
        style.curve(axes, select.over_seeds(own, "epoch", "kl_nats"), _without_marker(look), label, floor=0.01)
    axes.set(xlabel="epoch", ylabel="KL(p0 || p) (nats)")
    style.log_y(axes)
    axes.legend()
    text = f"SGD {rows['lr'].iloc[0]:g} by batch size, width {rows['width'].iloc[0]:,}"
    style.title(fig, text, [select.band_note(own, "epoch", "kl_nats"), *_divergence_note(every)], source)
    return fig


@products.figure("score_densities", DENSITY, how=HOW)
def densities(results: Path) -> Figure:
    """Learned densities at three epochs, near and distant modes, every seed, the target behind."""
    frame, source = select.rows_or_reference(results, DENSITY, _density_rows)
    modes = sorted(frame["mu"].unique())
    by_mode = [parts.largest(select.only(frame, mu=mu, optimizer="adam"), parts.RUN, "seed") for mu in modes]
    epochs = sorted(by_mode[0]["epoch"].unique())
    fig = style.figure(style.PAGE, 1.7 * len(modes) + 0.6)
    grid = fig.subplots(len(modes), len(epochs), squeeze=False, sharey="row", sharex="row")
    for line, rows in zip(grid, by_mode, strict=True):
        for axes, epoch in zip(line, epochs, strict=False):
            _draw_density(axes, select.only(rows, epoch=epoch))
            axes.set_title(f"modes at ±{rows['mu'].iloc[0]:g}, epoch {epoch:,}")
        line[0].set_ylabel("density")
    for axes in grid[-1]:
        axes.set_xlabel("x")
    style.legend_below(fig, [grid[0, 0]], 2)
    studies = [f"±{rows['mu'].iloc[0]:g}: {parts.setting(rows)}, {rows['seed'].nunique()} seeds" for rows in by_mode]
    style.title(fig, "Learned densities", studies, source)
    return fig


def _density_rows(frame: pd.DataFrame) -> pd.DataFrame:
    return select.some(select.only(frame, network="swish", optimizer="adam"), "densities")


def _draw_density(axes: Axes, rows: pd.DataFrame) -> None:
    target, learned = style.LINES[0], style.LINES[1]
    for index, (_, own) in enumerate(rows.groupby("seed")):
        own = own.sort_values("x")
        if index == 0:
            axes.fill_between(own["x"], own["target"], color=target.color, alpha=0.2, linewidth=0, label="target")
        label = "learned, each seed" if index == 0 else None
        axes.plot(own["x"], own["density"], color=learned.color, linewidth=0.7, alpha=0.8, label=label)


def _draw_seeds(axes: Axes, rows: pd.DataFrame, look: style.LineStyle) -> None:
    for _, own in rows.groupby("seed"):
        own = own.sort_values("epoch")
        axes.plot(own["epoch"], own["kl_nats"], color=look.color, linewidth=0.5, alpha=0.35)


def _side(x: float, every: pd.Series) -> str:
    """Alignment of a label at x that keeps it within the axes: it ends at the last epochs and starts at the first."""
    place = (x - every.min()) / max(every.max() - every.min(), 1)
    return "right" if place > 0.8 else "left" if place < 0.1 else "center"


def _without_marker(look: style.LineStyle) -> style.LineStyle:
    return style.LineStyle(look.color, look.line, "", look.hatch)


def _divergence_note(every: pd.DataFrame) -> list[str]:
    rows = select.only(every, scaling="standard")
    gone = rows[rows["diverged"].astype(bool)]
    if gone.empty:
        return []
    seeds, first = rows["seed"].nunique(), gone.groupby("seed")["epoch"].min()
    return [f"without the factor 1/√m: {len(first)} of {seeds} seeds diverge, by epoch {np.max(first):,}"]


@products.figure("score_capacity", CAPACITY, how="sh scoregen/run_capacity.sh")
def capacity(results: Path) -> Figure:
    """KL at epoch 1,000, and the first epoch with a small KL, against the width."""
    rows, source = select.rows_or_reference(results, CAPACITY, capacity_rows)
    fig = style.figure(style.PAGE, 2.8)
    left, right = fig.subplots(1, 2)
    look = style.LINES[0]
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
    right.scatter(never["width"] * shift, np.full(len(never), most), marker="x", s=22, color=style.LINES[1].color,
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
    groups = select.some(groups, "sweep over the width that reaches epoch 1,000")
    best = max(groups, key=lambda group: (group["max_epochs"].iloc[0], group["width"].nunique()))
    return best.drop_duplicates(["width", "seed"], keep="last").sort_values(["width", "seed"])


@products.figure("score_distance", parts.KL, how="sh scoregen/run_mixture.sh")
def distance(results: Path) -> Figure:
    """KL against the distance of the modes, and how wrongly the right mode is weighed."""
    rows, source = parts.kl_rows(results, "distance")
    rows = parts.largest(rows, parts.RUN, "mu")
    last = rows[rows["epoch"] == rows["epoch"].max()]
    best = parts.at_best(rows, ["mu", "seed"])
    fig = style.figure(style.PAGE, 2.8)
    left, right = fig.subplots(1, 2)
    for picked, look, label in (
        (last, style.LINES[0], f"epoch {rows['epoch'].max():,.0f}"),
        (best, style.LINES[1], "least"),
    ):
        style.curve(left, select.over_seeds(picked, "mu", "kl_nats"), look, label, floor=0.01)
    left.set(xlabel="modes at ±μ", ylabel="KL(p0 || p) (nats)")
    style.log_y(left)
    left.legend()
    near = _near(rows, 1000)
    for shift, epoch, look in ((-0.12, near, style.LINES[2]), (0.12, rows["epoch"].max(), style.LINES[0])):
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


@products.figure("score_samples", parts.KL, how="sh scoregen/run_samples.sh")
def samples(results: Path) -> Figure:
    """KL at the early-stopped time against n, with log-log slopes beside -2/5."""
    found, source = all_samples(results)
    shown = [sweep for sweep in SWEEPS if any(key[0] == sweep for key in found)]
    fig = style.figure(style.PAGE, 3.4)
    panels = fig.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    for axes, sweep in zip(panels, shown, strict=True):
        for (network, label), look in zip(MODELS.items(), style.LINES, strict=False):
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
        return select.some(frame[frame["sweep"].isin(SWEEPS) & frame["network"].isin(MODELS)], "sample-size sweep")

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


def _draw_slope(axes: Axes, best: pd.DataFrame, look: style.LineStyle, label: str) -> None:
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


@products.figure("score_bound_time", parts.KL, how="sh scoregen/run_features.sh")
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
    for size, look in zip(sizes[places], style.LINES, strict=False):
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


@products.table("score_table_minima", parts.KL, how="sh scoregen/run_mixture.sh")
def minima(results: Path) -> SummaryTable:
    """For each optimiser: epoch and value of the least KL, and the KL at the end, by seed and over seeds."""
    curves, source = by_optimizer(results)
    lines = []
    for rows in curves.values():
        best = parts.at_best(rows, ["seed"]).set_index("seed")
        last = rows[rows["epoch"] == rows["epoch"].max()].set_index("seed")
        before = int((best["epoch"] < rows["epoch"].max()).sum())
        rise = last["kl_nats"] / best["kl_nats"]
        lines.append(
            {
                "setting": parts.setting(rows),
                "seeds": str(len(best)),
                "least KL (nats)": select.mean_text(best, "kl_nats"),
                "at epoch": f"{best['epoch'].median():,.0f} ({best['epoch'].min():,.0f} to {best['epoch'].max():,.0f})",
                "before the end": f"{before} of {len(best)}",
                "last / least": f"{rise.median():.2f} ({rise.min():.2f} to {rise.max():.2f})",
                "right mode, last": select.mean_text(last, "mass_right"),
            }
        )
    note = "mean ± standard error over seeds; median (range) of epochs and ratios"
    return SummaryTable("Least KL over training and at its end", products.note(source, note), pd.DataFrame(lines))


@products.table("score_table_capacity", CAPACITY, how="sh scoregen/run_capacity.sh")
def capacity_sheet(results: Path) -> SummaryTable:
    """KL at epoch 1,000 and the first epoch with a small KL, by width."""
    rows, source = select.rows_or_reference(results, CAPACITY, capacity_rows)
    lines = []
    for width, own in rows.groupby("width"):
        first = [f"{value:,.0f}" if np.isfinite(value) else "never" for value in own["first_epoch_below"]]
        lines.append(
            {
                "width": f"{width:,}",
                "seeds": str(len(own)),
                "KL at epoch 1,000 (nats)": select.mean_text(own, "kl_at_1000"),
                "first epoch below": ", ".join(first),
                "least KL seen (nats)": select.mean_text(own, "kl_least"),
            }
        )
    threshold, most = rows["threshold"].iloc[0], rows["max_epochs"].iloc[0]
    note = f"mean ± standard error over seeds; small: KL <= {threshold:g} nats; never: not within {most:,} epochs"
    return SummaryTable("Capacity", products.note(source, note), pd.DataFrame(lines))


@products.table("score_table_slopes", parts.KL, how="sh scoregen/run_samples.sh")
def slope_sheet(results: Path) -> SummaryTable:
    """Log-log slopes of the early-stopped KL in n, with 95% intervals, beside -2/5."""
    found, source = all_samples(results)
    lines = []
    for (sweep, network), best in found.items():
        n = best["n"].to_numpy(float)
        kl, time = (slopes.power_law(n, best[column].to_numpy(float)) for column in ("kl_nats", "time"))
        lines.append(
            {
                "model": MODELS[network],
                "sweep": SWEEPS[sweep],
                "n": f"{n.min():,.0f} to {n.max():,.0f}",
                "slope of the least KL": kl.slope_text,
                "is it a line (p)": kl.p_text,
                "slope of its time": time.slope_text,
                "is that a line (p)": time.p_text,
                "theorem": "KL <= c n^(-2/5) at time n^(2/5)" if sweep == "samples_m=n" else "",
            }
        )
    note = f"{slopes.NOTE}; p from the spread over seeds; the theorem bounds the KL from above, at m = n"
    title = "Slopes of the early-stopped KL in the sample size"
    return SummaryTable(title, products.note(source, note), pd.DataFrame(lines))
