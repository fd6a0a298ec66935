"""What is drawn of memorization scores: quantiles, densities, against log p(x) and neighbours, and the images."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from scipy import stats

from infolab.quantiles import quantile
from scripts import products, select, style
from scripts import vae_curves as curves
from scripts.products import SummaryTable, number
from scripts.vae_curves import DATASETS

SCORES, NEIGHBOURS, PICTURES = "vae/memorization", "vae/neighbours", "vae/images:memorization"
GRID = ["model", "seed", "m", "K", "L", "estimator"]
DIFFUSION = "i-mmse"
"""How the estimator of a diffusion model's rows begins."""
HIGHEST = 0.999
"""The highest quantile that is drawn."""
HIGH = 0.95
"""Images whose score is above this quantile are called highly memorized, as published."""
BINS = 60
DARKER = LinearSegmentedColormap.from_list("darker", ["0.8", "0.0"])
"""Greys in which one image is seen on white paper."""
FEW = 10
"""Images below which a bin of log p(x) shows no proportion."""
SHOWN = 15
GROUPS = ("most", "middle", "least")


def how(dataset: str) -> str:
    """The command that makes the grid of a data set."""
    return curves.how(dataset).replace("run_vae", "run_memorization")


def grid_rows(results: Path, dataset: str, *, diffusion: bool = False) -> tuple[pd.DataFrame, str]:
    """Scores of the largest grid of VAEs (or of diffusion models), at every learning rate and epoch."""

    def pick(frame: pd.DataFrame) -> pd.DataFrame:
        return curves.largest(frame[frame["estimator"].str.startswith(DIFFUSION) == diffusion], GRID)

    return curves.rows(results, SCORES, dataset, pick)


def last(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of each learning rate's last epoch."""
    return frame[frame["epoch"] == frame.groupby("lr")["epoch"].transform("max")]


def over_epochs(frame: pd.DataFrame, q: float) -> pd.DataFrame:
    """The q-quantile of the scores at each epoch: columns x, mean, low, high (95% band over images), open.

    `open` says that the images are too few to bound it from above: `high` is then the largest score.
    """
    records = []
    for epoch, group in frame.groupby("epoch"):
        found = quantile(group["score"].to_numpy(float), q)
        records.append(
            {"x": epoch, "mean": found.value, "low": found.low, "high": found.high, "open": found.open_above}
        )
    return pd.DataFrame(records)


def band_note(frame: pd.DataFrame) -> str:
    """What the bands of `over_epochs` are, for a title; `frame`: the scores that are drawn."""
    note = "band: 95% over images"
    smallest = int(frame.groupby(["lr", "epoch"]).size().min())
    limited = quantile(np.zeros(smallest), HIGHEST).open_above
    return f"{note}; arrows: {smallest:,} images do not bound quantile {HIGHEST:g} from above" if limited else note


def high(frame: pd.DataFrame) -> np.ndarray:
    """Which rows have a score above the `HIGH` quantile of `frame`."""
    return (frame["score"] > frame["score"].quantile(HIGH)).to_numpy()


@products.figure("vae_quantiles_{dataset}", SCORES, how=how, of=DATASETS)
def quantiles(results: Path, dataset: str) -> Figure:
    """Quantiles of the score against epochs, one panel each, one line per learning rate."""
    scores, source = grid_rows(results, dataset)
    fig = style.figure(style.PAGE, 2.9)
    panels = fig.subplots(1, 3)
    for axes, q in zip(panels, (0.5, 0.95, HIGHEST), strict=True):
        for lr, look in zip(curves.rates(scores), style.LINES, strict=False):
            draw_quantile(axes, over_epochs(scores[scores["lr"] == lr], q), look, f"learning rate {lr:g}")
        axes.set(xlabel="epoch", ylabel="memorization score (nats)", title=f"quantile {q:g}")
    style.legend_below(fig, list(panels), 4)
    note = band_note(scores)
    style.title(fig, f"Quantiles of the scores: {dataset}, {curves.describe(scores)}", [note], source)
    return fig


@products.figure("vae_densities_{dataset}", SCORES, how=how, of=DATASETS)
def densities(results: Path, dataset: str) -> Figure:
    """Histograms of the last epoch's scores: VAEs at each learning rate and, where there is one, a diffusion model."""
    scores, source = grid_rows(results, dataset)
    drawn = [
        (f"VAE, learning rate {lr:g}", scores[scores["lr"] == lr], scores["model"].iloc[0])
        for lr in curves.rates(scores)
    ]
    try:
        other, _ = grid_rows(results, dataset, diffusion=True)
        drawn += [
            ("diffusion model", other[other["lr"] == lr], other["model"].iloc[0]) for lr in curves.rates(other)[:1]
        ]
    except select.NoRowsError:
        pass
    fig = style.figure(style.PAGE, 3.0)
    left, right = fig.subplots(1, 2)
    final = [(label, last(rows)["score"].to_numpy(float), rows["epoch"].max()) for label, rows, _ in drawn]
    everything = np.concatenate([found for _, found, _ in final])
    least, top = np.quantile(everything, [0.001, 0.99])
    edges = np.linspace(min(least, 0.0), top, BINS)
    for (label, found, epoch), look in zip(final, style.LINES, strict=False):
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


@products.figure("vae_score_logpx_{dataset}", SCORES, how=how, of=DATASETS)
def against_logpx(results: Path, dataset: str) -> Figure:
    """Scores against log p(x) in training, and the share of highly memorized images in bins of log p(x)."""
    scores, source = grid_rows(results, dataset)
    shown = curves.rates(scores)
    fig = style.figure(max(style.COLUMN, style.PAGE * len(shown) / 2), 4.4)
    grid = fig.subplots(2, len(shown), squeeze=False)
    for (top, bottom), lr in zip(grid.T, shown, strict=True):
        rows = last(scores[scores["lr"] == lr])
        x, y = rows["logpx_in"].to_numpy(float), rows["score"].to_numpy(float)
        top.hexbin(x, y, gridsize=(38, 22), bins="log", cmap=DARKER, mincnt=1, linewidths=0.1)
        top.axhline(rows["score"].quantile(HIGH), color=style.LINES[1].color, linestyle="--", linewidth=1)
        top.set(xlabel="log p(x) in training (nats)", ylabel="memorization score (nats)")
        top.set_title(f"learning rate {lr:g}, epoch {rows['epoch'].iloc[0]}")
        low, wide = np.quantile(x, 0.002), np.quantile(x, 0.998)
        edges = np.linspace(low, wide, 13)
        table = shares(x, high(rows), edges)
        bottom.bar(
            table["x"], table["share"], width=0.9 * np.diff(edges)[0], color=style.LINES[1].color,
            label=f"score above its {HIGH:g} quantile",
        )  # fmt: skip
        bottom.errorbar(
            table["x"], table["share"], (table["share"] - table["low"], table["high"] - table["share"]), fmt="none",
            ecolor="black", elinewidth=0.8,
        )  # fmt: skip
        bottom.axhline(1 - HIGH, color=style.GREY, linewidth=0.8, linestyle=":")
        bottom.set(xlabel="log p(x) in training (nats)", ylabel="proportion of the bin", ylim=(0, None))
        bottom.set_xlim(top.get_xlim())
        bottom.legend()
    notes = ["grey: number of images, log scale; dashed: 0.95 quantile", "bars: exact 95% interval over images"]
    style.title(fig, f"Scores against log p(x): {dataset}, {curves.describe(scores)}", notes, source)
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


@products.figure("vae_neighbours_{dataset}", SCORES, NEIGHBOURS, how=how, of=DATASETS)
def neighbours(results: Path, dataset: str) -> Figure:
    """Histogram of the nearest-neighbour ratio, of all and of highly memorized images, and the two distances."""
    scores, source = grid_rows(results, dataset)
    first = scores.iloc[0]
    kept = {name: first[name] for name in ("model", "seed", "m", "K")}
    near, _ = curves.rows(results, NEIGHBOURS, dataset, lambda frame: select.only(frame, **kept))
    shown = select.some([lr for lr in curves.rates(scores) if (near["lr"] == lr).any()], f"neighbours of {dataset}")
    fig = style.figure(max(style.COLUMN, style.PAGE * len(shown) / 2), 4.6)
    grid = fig.subplots(2, len(shown), squeeze=False)
    edges = np.linspace(0, float(near["ratio"].quantile(0.998)), 24)
    for (top, bottom), lr in zip(grid.T, shown, strict=True):
        rows = last(scores[scores["lr"] == lr])
        both = near[near["lr"] == lr].drop_duplicates("index", keep="last").merge(rows[["index", "score"]], on="index")
        marked = high(both)
        groups = (
            (both[~marked], style.LINES[0], "regular"),
            (both[marked], style.LINES[1], "highly memorized"),
        )
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
    style.title(fig, f"Nearest neighbours: {dataset}, {curves.describe(scores)}", [note], source)
    return fig


@products.figure("vae_mi_{dataset}", SCORES, curves.BOUNDS, how=how, of=DATASETS)
def mi(results: Path, dataset: str) -> Figure:
    """Quantiles of the memorization score and the root of the mutual-information terms against epochs."""
    scores, source = grid_rows(results, dataset)
    try:
        terms, _ = curves.full_rows(results, dataset, curves.BOUNDS)
    except select.NoRowsError:
        terms = pd.DataFrame({"lr": []})
    shown = curves.rates(scores)
    fig = style.figure(max(style.COLUMN, style.PAGE * len(shown) / 2), 4.4)
    grid = fig.subplots(2, len(shown), squeeze=False, sharex="col")
    for (top, bottom), lr in zip(grid.T, shown, strict=True):
        own = scores[scores["lr"] == lr]
        for q, look in zip((0.95, HIGHEST), style.LINES[:2], strict=True):
            draw_quantile(top, over_epochs(own, q), look, f"quantile {q:g}")
        top.set(xlabel="epoch", ylabel="memorization score (nats)", title=f"learning rate {lr:g}")
        top.legend()
        mine = terms[terms["lr"] == lr]
        for (name, label), look in zip(curves.ESTIMATORS.items(), style.LINES[2:], strict=True):
            rows = mine[mine["mi_estimator"] == name] if len(mine) else mine
            if len(rows):
                root = np.sqrt(rows["mi_nats"].clip(lower=0))
                bottom.plot(rows["epoch"], root, color=look.color, linestyle=look.line, marker=look.marker, label=label)
        bottom.set(xlabel="epoch", ylabel="√MI (√nats)", ylim=(0, None))
        if len(mine):
            bottom.legend()
    title = f"Memorization and mutual information: {dataset}, {curves.describe(scores)}"
    style.title(fig, title, [band_note(scores)], source)
    return fig


def draw_quantile(axes: Axes, found: pd.DataFrame, look: style.LineStyle, label: str) -> None:
    """A quantile against epochs with its band."""
    axes.plot(found["x"], found["mean"], color=look.color, linestyle=look.line, marker=look.marker, label=label)
    axes.fill_between(found["x"], found["low"], found["high"], color=look.color, alpha=0.18, linewidth=0)
    above = found[found["open"]]
    axes.plot(above["x"], above["high"], color=look.color, marker=r"$\uparrow$", linestyle="none", markersize=6)


@products.figure("vae_memorized_{dataset}", PICTURES, how=how, of=DATASETS)
def memorized(results: Path, dataset: str) -> Figure:
    """Fifteen images each, with their scores, of the grid at its largest learning rate."""
    (provenance, arrays), source = _chosen(results, dataset)
    fig = style.figure(style.PAGE, 2.5)
    grid = fig.subplots(len(GROUPS), SHOWN)
    for line, name in zip(grid, GROUPS, strict=True):
        for axes, image, score in zip(line, _unit(arrays, name), arrays[f"{name}_score"], strict=False):
            _show(axes, image, f"{score:.2f}")
        line[0].set_ylabel(name, fontsize=7)
        for axes in line[len(arrays[name]) :]:
            axes.set_axis_off()
    config = provenance["config"]
    text = f"{config['model']}, learning rate {config['lr']:g}, epoch {config['epochs']}"
    style.title(fig, f"Most, middle and least memorized images, scores in nats: {dataset}", [text], source)
    return fig


@products.figure("vae_duplicates_{dataset}", PICTURES, how=how, of=DATASETS)
def duplicates(results: Path, dataset: str) -> Figure:
    """The ten closest pairs of training images, with their distances."""
    (_, arrays), source = _chosen(results, dataset)
    fig = style.figure(style.PAGE, 1.9)
    pairs = len(arrays["pair_a"])
    grid = fig.subplots(2, 10)
    for axes in grid.flat:
        axes.set_axis_off()
    for name, line in zip(("pair_a", "pair_b"), grid, strict=True):
        for axes, image, distance in zip(line, _unit(arrays, name), arrays["pair_distance"], strict=False):
            _show(axes, image, f"{distance:.3f}" if name == "pair_a" else "")
    near = int((arrays["pair_distance"] <= float(arrays["within"])).sum())
    found = f"at least {near}" if near == pairs else f"{near}"
    notes = [f"root mean square difference, fraction of the grey range; {found} within {float(arrays['within']):g}"]
    style.title(fig, f"The {pairs} closest pairs of training images: {dataset}", notes, source)
    return fig


def _show(axes: Axes, image: np.ndarray, text: str) -> None:
    axes.set_axis_on()
    axes.imshow(image, cmap="gray", vmin=0, vmax=1)
    axes.set(xticks=[], yticks=[])
    axes.set_xlabel(text, fontsize=6, labelpad=1.5)


def _chosen(results: Path, dataset: str) -> tuple[select.File, str]:
    """Provenance and pictures of the grid of the most images, at its largest learning rate; no smoke run's."""

    def pick(files: list[select.File]) -> select.File:
        mine = [one for one in files if one[0]["config"]["dataset"] == dataset and select.rank(one[0])]
        return max(
            select.some(mine, f"pictures of {dataset}"),
            key=lambda one: (select.rank(one[0]), int(one[1]["m"]), one[0]["config"]["lr"]),
        )

    return select.arrays_or_reference(results, [PICTURES], pick)


def _unit(arrays: dict[str, np.ndarray], name: str) -> np.ndarray:
    """Images (n, c, h, w) as pixels in [0, 1], (n, h, w) or (n, h, w, 3)."""
    images = arrays[name] / (int(arrays["levels"]) - 1)
    return images[:, 0] if images.shape[1] == 1 else images.transpose(0, 2, 3, 1)


@products.table("vae_table_scores_{dataset}", SCORES, how=how, of=DATASETS)
def scores_sheet(results: Path, dataset: str) -> SummaryTable:
    """Mean and quantiles of the last epoch's scores of every grid, VAEs and diffusion models."""
    frame, source = curves.rows(results, SCORES, dataset, lambda rows: rows)
    lines = []
    for keys, rows in frame.groupby([*GRID, "lr"]):
        named = dict(zip([*GRID, "lr"], keys, strict=True))
        last = rows[rows["epoch"] == rows["epoch"].max()]
        found = last["score"].to_numpy(float)
        cells = {"model": str(named["model"]), "log p(x) by": str(named["estimator"]), "m": f"{named['m']:,}"}
        cells |= {"K x L": f"{named['K']} x {named['L']}", "learning rate": f"{named['lr']:g}"}
        cells |= {
            "epoch": f"{last['epoch'].iloc[0]}",
            "mean (nats)": number(found.mean(), found.std(ddof=1) / len(found) ** 0.5),
        }
        for q in (0.5, 0.95, 0.999):
            band = quantile(found, q)
            high = "open" if band.open_above else f"{band.high:.2f}"
            cells[f"quantile {q:g} (nats)"] = f"{band.value:.2f} [{band.low:.2f}, {high}]"
        lines.append(cells)
    note = (
        "mean ± standard error over images, the networks as they are (the run says the error over networks too); "
        "quantiles with 95% bands over images, open where the images are too few to bound one"
    )
    return SummaryTable(f"Memorization scores: {dataset}", products.note(source, note), pd.DataFrame(lines))
