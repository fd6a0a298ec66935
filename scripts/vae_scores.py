"""Figures of memorization scores: quantiles, densities, against log p(x), against nearest neighbours."""

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from scipy import stats

from scripts import select, style
from scripts import vae_parts as parts
from scripts.registry import Product
from scripts.vae_curves import draw_quantile, how_grid

BINS = 60
DARKER = LinearSegmentedColormap.from_list("darker", ["0.8", "0.0"])
"""Greys in which one image is seen on white paper."""
FEW = 10
"""Images below which a bin of log p(x) shows no proportion."""


def quantiles(results: Path, dataset: str) -> Figure:
    """Quantiles of the score against epochs, one panel each, one line per learning rate."""
    scores, source = parts.grid_rows(results, dataset)
    fig = style.figure(style.PAGE, 2.9)
    panels = fig.subplots(1, 3)
    for axes, q in zip(panels, (0.5, 0.95, parts.HIGHEST), strict=True):
        for lr, look in zip(parts.rates(scores), style.LOOKS, strict=False):
            draw_quantile(axes, parts.quantiles(scores[scores["lr"] == lr], q), look, f"learning rate {lr:g}")
        axes.set(xlabel="epoch", ylabel="memorization score (nats)", title=f"quantile {q:g}")
    style.legend_below(fig, list(panels), 4)
    note = parts.band_note(scores)
    style.title(fig, f"Quantiles of the scores: {dataset}, {parts.describe(scores)}", [note], source)
    return fig


def densities(results: Path, dataset: str) -> Figure:
    """Histograms of the last epoch's scores: VAEs at each learning rate and, where there is one, a diffusion model."""
    scores, source = parts.grid_rows(results, dataset)
    drawn = [
        (f"VAE, learning rate {lr:g}", scores[scores["lr"] == lr], scores["model"].iloc[0])
        for lr in parts.rates(scores)
    ]
    try:
        other, _ = parts.grid_rows(results, dataset, diffusion=True)
        drawn += [
            ("diffusion model", other[other["lr"] == lr], other["model"].iloc[0]) for lr in parts.rates(other)[:1]
        ]
    except select.NoRowsError:
        pass
    fig = style.figure(style.PAGE, 3.0)
    left, right = fig.subplots(1, 2)
    final = [(label, parts.last(rows)["score"].to_numpy(float), rows["epoch"].max()) for label, rows, _ in drawn]
    everything = np.concatenate([found for _, found, _ in final])
    least, top = np.quantile(everything, [0.001, 0.99])
    edges = np.linspace(min(least, 0.0), top, BINS)
    for (label, found, epoch), look in zip(final, style.LOOKS, strict=False):
        text = f"{label}, epoch {epoch}"
        height = np.histogram(found, edges)[0] / (len(found) * np.diff(edges))
        left.stairs(height, edges, color=look.color, linestyle=look.line, linewidth=1.3, label=text)
        ordered = np.sort(found)
        above = np.arange(len(ordered), 0, -1)  # images at or above each score
        right.plot(ordered, above / len(ordered), color=look.color, linestyle=look.line, label=text)
        low, high = select.share_interval(above, len(ordered))
        right.fill_between(ordered, low, high, color=look.color, alpha=0.15, linewidth=0)
    left.axvline(0, color=style.GREY, linewidth=0.7)
    left.set(xlabel="memorization score (nats)", ylabel="density (1/nat)", title="Histogram")
    right.set(xlabel="memorization score (nats)", ylabel="share of images above", yscale="log", title="Upper tail")
    right.set_xscale("symlog", linthresh=2)
    right.xaxis.set_major_formatter(style.PLAIN)
    style.legend_below(fig, [left, right], 2)
    images = f"{dataset}, m = {scores['m'].iloc[0]:,}"
    notes = [", ".join(sorted({model for _, _, model in drawn})), "band: exact 95% interval of the share, over images"]
    if any(label == "diffusion model" for label, _, _ in drawn):
        notes.append("log p of what each model sees: the diffusion model of grey levels, Bernoulli VAEs of drawn bits")
    style.title(fig, f"Memorization scores: {images}", notes, source)
    return fig


def against_logpx(results: Path, dataset: str) -> Figure:
    """Scores against log p(x) in training, and the share of highly memorized images in bins of log p(x)."""
    scores, source = parts.grid_rows(results, dataset)
    shown = parts.rates(scores)
    fig = style.figure(max(style.COLUMN, style.PAGE * len(shown) / 2), 4.4)
    grid = fig.subplots(2, len(shown), squeeze=False)
    for (top, bottom), lr in zip(grid.T, shown, strict=True):
        rows = parts.last(scores[scores["lr"] == lr])
        x, y = rows["logpx_in"].to_numpy(float), rows["score"].to_numpy(float)
        top.hexbin(x, y, gridsize=(38, 22), bins="log", cmap=DARKER, mincnt=1, linewidths=0.1)
        top.axhline(rows["score"].quantile(parts.HIGH), color=style.LOOKS[1].color, linestyle="--", linewidth=1)
        top.set(xlabel="log p(x) in training (nats)", ylabel="memorization score (nats)")
        top.set_title(f"learning rate {lr:g}, epoch {rows['epoch'].iloc[0]}")
        low, wide = np.quantile(x, 0.002), np.quantile(x, 0.998)
        edges = np.linspace(low, wide, 13)
        table = shares(x, parts.high(rows), edges)
        bottom.bar(
            table["x"], table["share"], width=0.9 * np.diff(edges)[0], color=style.LOOKS[1].color,
            label=f"score above its {parts.HIGH:g} quantile",
        )  # fmt: skip
        bottom.errorbar(
            table["x"], table["share"], (table["share"] - table["low"], table["high"] - table["share"]), fmt="none",
            ecolor="black", elinewidth=0.8,
        )  # fmt: skip
        bottom.axhline(1 - parts.HIGH, color=style.GREY, linewidth=0.8, linestyle=":")
        bottom.set(xlabel="log p(x) in training (nats)", ylabel="proportion of the bin", ylim=(0, None))
        bottom.set_xlim(top.get_xlim())
        bottom.legend()
    notes = ["grey: number of images, log scale; dashed: 0.95 quantile", "bars: exact 95% interval over images"]
    style.title(fig, f"Scores against log p(x): {dataset}, {parts.describe(scores)}", notes, source)
    return fig


def shares(x: np.ndarray, chosen: np.ndarray, edges: np.ndarray) -> pd.DataFrame:
    """Share of `chosen` among the x of each bin, with its exact 95% interval; bins of few images are left out."""
    place = np.digitize(x, edges) - 1
    records = []
    for bin_, centre in enumerate((edges[1:] + edges[:-1]) / 2):
        n, k = int((place == bin_).sum()), int(chosen[place == bin_].sum())
        if n >= FEW:
            low, high = (float(end) for end in select.share_interval(np.array(k), n))
            records.append({"x": centre, "n": n, "share": k / n, "low": low, "high": high})
    return pd.DataFrame(records, columns=["x", "n", "share", "low", "high"])


def neighbours(results: Path, dataset: str) -> Figure:
    """Histogram of the nearest-neighbour ratio, of all and of highly memorized images, and the two distances."""
    scores, source = parts.grid_rows(results, dataset)
    first = scores.iloc[0]
    kept = {name: first[name] for name in ("model", "seed", "m", "K")}
    near, _ = parts.rows(results, parts.NEIGHBOURS, dataset, lambda frame: select.only(frame, **kept))
    shown = [lr for lr in parts.rates(scores) if (near["lr"] == lr).any()]
    if not shown:
        raise select.NoRowsError(f"no neighbours of {dataset}")
    fig = style.figure(max(style.COLUMN, style.PAGE * len(shown) / 2), 4.6)
    grid = fig.subplots(2, len(shown), squeeze=False)
    edges = np.linspace(0, float(near["ratio"].quantile(0.998)), 24)
    for (top, bottom), lr in zip(grid.T, shown, strict=True):
        rows = parts.last(scores[scores["lr"] == lr])
        both = near[near["lr"] == lr].drop_duplicates("index", keep="last").merge(rows[["index", "score"]], on="index")
        marked = parts.high(both)
        groups = ((both[~marked], style.LOOKS[0], "regular"), (both[marked], style.LOOKS[1], "highly memorized"))
        for group, look, label in groups:
            height = np.histogram(group["ratio"].dropna(), edges)[0] / (len(group) * np.diff(edges))
            top.stairs(height, edges, color=look.color, linestyle=look.line, linewidth=1.3, label=label)
            bottom.plot(
                group["dist_heldout"], group["dist_sample"], color=look.color, linestyle="none", marker=look.marker,
                markersize=1.6 if label == "regular" else 3, alpha=0.5 if label == "regular" else 0.9, label=label,
            )  # fmt: skip
        top.axvline(1, color=style.GREY, linewidth=0.8, linestyle=":")
        rank = stats.spearmanr(both["ratio"], both["score"], nan_policy="omit").statistic
        top.set(xlabel="ρ = distance to test image / to sample", ylabel="density")
        top.set_title(f"learning rate {lr:g}\nrank correlation of ρ and score {rank:.2f}")
        top.legend()
        ends = np.array([0, max(bottom.get_xlim()[1], bottom.get_ylim()[1])])
        bottom.plot(ends, ends, color=style.GREY, linewidth=0.8, linestyle=":")
        bottom.set(xlabel="distance to nearest test image", ylabel="distance to nearest sample")
    note = (
        f"half resolution, {near['n'].iloc[0]:,} test images and as many decoder means; high: above the 0.95 quantile"
    )
    style.title(fig, f"Nearest neighbours: {dataset}, {parts.describe(scores)}", [note], source)
    return fig


def products() -> list[Product]:
    """The figures of each data set."""
    sources = (parts.SCORES,)
    found = []
    for name in parts.DATASETS:
        found += [
            Product(f"vae_quantiles_{name}", "vae", sources, how_grid(name), partial(quantiles, dataset=name)),
            Product(f"vae_densities_{name}", "vae", sources, how_grid(name), partial(densities, dataset=name)),
            Product(f"vae_score_logpx_{name}", "vae", sources, how_grid(name), partial(against_logpx, dataset=name)),
            Product(
                f"vae_neighbours_{name}", "vae", (*sources, parts.NEIGHBOURS), how_grid(name),
                partial(neighbours, dataset=name),
            ),
        ]  # fmt: skip
    return found
