"""Figures and table of the 2-D study: NLL over epochs, MSE curves, density contours over epochs, samples."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from infolab import results as tables
from scripts import select, style
from scripts.registry import Product, Sheet
from scripts.summaries import NOTE, number

HOW = "sh itdiffusion/run_2d.sh"
NLL, CURVE, GRID, SAMPLES = (f"itdiffusion/{name}" for name in ("nll", "mse_curve", "density_grid", "samples"))
ARRAYS = "itdiffusion/images:2d"
LEVELS = (-5.0, -4.0, -3.0, -2.0, -1.0)
"""Levels of log p in the contours, nats, as published."""
SHAPES = ("scg", "moons", "line", "circle", "ring", "swiss_roll", "letters", "points")
PRESETS = {"paper": 2, "quick": 1}


def of_study(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of 2-D sets from the largest runs: no smoke run stands beside a real one.

    Raises:
        NoRowsError: there are none.
    """
    rows = frame[frame["dataset"].isin(SHAPES)]
    if rows.empty:
        raise select.NoRowsError("no rows of 2-D sets")
    if "n" in rows:
        rows = rows[rows["n"] == rows["n"].max()]
    return rows.sort_values("epoch", kind="stable")


def shapes_in(names: Any) -> list[str]:
    """Those of `SHAPES` that are among `names`, in order."""
    there = set(names)
    return [name for name in SHAPES if name in there]


def panels(count: int, height: float) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels, four in a row."""
    columns = min(4, count)
    rows = -(-count // columns)
    fig = style.figure(style.PAGE, height * rows + 0.7)
    axes = list(np.atleast_1d(fig.subplots(rows, columns)).ravel())
    for spare in axes[count:]:
        spare.set_visible(False)
    return fig, axes[:count]


def nll(results: Path) -> Figure:
    """Validation NLL over epochs, a line for each kind of network, with the exact NLL of the same points."""
    frame, source = select.rows_or_reference(results, NLL, of_study)
    rows = select.only(frame, estimator="continuous")
    shapes = shapes_in(rows["dataset"])
    fig, axes = panels(len(shapes), 1.5)
    for panel, name in zip(axes, shapes, strict=True):
        here = select.only(rows, dataset=name)
        for model, look in zip(models(rows), style.LOOKS, strict=False):
            of_model = select.only(here, model=model)
            if len(of_model):
                style.curve(panel, select.over_seeds(of_model, "epoch", "nll_nats", "excess_se_nats"), look, model)
        exact = float(here.drop_duplicates("seed")["reference_nats"].mean())
        panel.axhline(exact, color="black", linewidth=0.8, label="exact NLL of the same points")
        lowest = min(exact, float(here["nll_nats"].min()))
        # The first evaluation of averaged weights is far above: the scale is that of what comes after.
        later = here.loc[here["epoch"] > here["epoch"].min(), "nll_nats"]
        top = float((later if len(later) else here["nll_nats"]).max())
        panel.set(title=name, xlabel="epoch", ylabel="NLL (nats)")
        panel.set_ylim(lowest - 0.08 * (top - lowest) - 0.02, top + 0.12 * (top - lowest) + 0.02)
    style.legend_below(fig, axes, 1)
    style.title(fig, f"validation NLL, {describe(rows)}", [band_note(rows)], source)
    return fig


def mse(results: Path) -> Figure:
    """MSE curves of the networks beside their Gaussian's: half the area between them is what the NLL gains."""
    frame, source = select.rows_or_reference(results, CURVE, of_study)
    frame = last_of_each(frame)
    shapes = shapes_in(frame["dataset"])
    fig, axes = panels(len(shapes), 1.5)
    for panel, name in zip(axes, shapes, strict=True):
        here = select.only(frame, dataset=name)
        for model, look in zip(models(frame), style.LOOKS, strict=False):
            mean = select.only(here, model=model).groupby("logsnr")["mse"].mean()
            panel.plot(mean.index, mean, color=look.color, linestyle=look.line, label=model)
        gaussian = here.groupby("logsnr")["mse_gaussian"].mean()
        panel.plot(gaussian.index, gaussian, color="black", linewidth=0.9, linestyle=(0, (1, 1)), label="Gaussian")
        best = select.only(here, model=models(frame)[-1]).groupby("logsnr")["mse"].mean()
        panel.fill_between(best.index, best, gaussian.reindex(best.index), color=style.GREY, alpha=0.25, linewidth=0)
        panel.set(title=name, xlabel="log-SNR", ylabel="E|ε − ε̂|²")
    style.legend_below(fig, axes, 1)
    seeds = frame["seed"].nunique()
    note = f"{f'mean over {seeds} seeds' if seeds > 1 else 'one seed'}; grey: what the last network gains"
    style.title(fig, f"denoising error, {describe(frame)}", [note], source)
    return fig


def contours(results: Path) -> Figure:
    """log p on a grid over epochs, one row for each set, with training points on top."""
    frame, source = select.rows_or_reference(results, GRID, of_study)
    model = models(frame)[0]
    rows = select.only(frame, model=model)
    rows = rows[rows["seed"] == rows["seed"].min()]
    shapes, epochs = shapes_in(rows["dataset"]), sorted(rows["epoch"].unique())
    points = _points(results)
    fig = style.figure(0.95 * len(epochs) + 0.9, 0.95 * len(shapes) + 0.9)
    grid = fig.subplots(len(shapes), len(epochs), sharex=True, sharey=True, squeeze=False)
    for line, name in zip(grid, shapes, strict=True):
        for panel, epoch in zip(line, epochs, strict=True):
            table = select.only(rows, dataset=name, epoch=epoch).drop_duplicates(["x", "y"], keep="last")
            values = -table.pivot(index="y", columns="x", values="nll_nats")
            filled = panel.contourf(values.columns, values.index, values, LEVELS, extend="both", cmap="viridis")
            if name in points:
                dots = points[name]
                panel.scatter(dots[:, 0], dots[:, 1], s=0.5, color="black", alpha=0.5, linewidth=0, rasterized=True)
            panel.set(xlim=(-3, 3), ylim=(-3, 3), aspect="equal", xticks=(-2, 0, 2), yticks=(-2, 0, 2))
            if panel in grid[0]:
                panel.set_title(f"epoch {epoch:,}")
        line[0].set_ylabel(name)
    fig.colorbar(filled, ax=grid, shrink=0.4, label="log p (nats)")
    seed = rows["seed"].iloc[0]
    style.title(fig, f"density from denoising errors, {model}, seed {seed}", ["dots: 200 training points"], source)
    return fig


def samples(results: Path) -> Figure:
    """Samples of the reverse process of one seed, training points behind in grey."""
    arrays, source = _arrays(results)
    seed = int(arrays["seed"].min())
    chosen = [i for i, one in enumerate(arrays["seed"]) if int(one) == seed]
    fig, axes = panels(len(chosen), 1.75)
    for panel, i in zip(axes, chosen, strict=True):
        drawn = arrays["samples"][i]
        half = 1.3 * float(np.abs(arrays["points"][i]).max())
        panel.scatter(
            arrays["points"][i][:, 0], arrays["points"][i][:, 1], s=3, color="0.6", linewidth=0, rasterized=True
        )
        panel.scatter(drawn[:, 0], drawn[:, 1], s=1.2, color=style.LOOKS[1].color, linewidth=0, rasterized=True)
        panel.set(title=str(arrays["dataset"][i]), xlim=(-half, half), ylim=(-half, half), aspect="equal")
        outside = float((np.abs(drawn) > half).any(axis=1).mean())
        if outside:
            panel.text(0.03, 0.03, f"{outside:.1%} outside", transform=panel.transAxes, fontsize=5.5)
    note = f"red: {arrays['samples'].shape[1]:,} samples; grey: {arrays['points'].shape[1]} training points"
    text = f"samples of the reverse process, {arrays['model']}, seed {seed}"
    style.title(fig, text, [note], source)
    return fig


def sheet(results: Path) -> Sheet:
    """Excess NLL over the exact one, by I-MMSE and by the ODE, and MMD of samples, at the last epoch."""
    frame, source = select.rows_or_reference(results, NLL, of_study)
    last = last_of_each(frame)
    try:
        drawn = select.rows_or_reference(results, SAMPLES, _last_samples)[0]
    except select.NoRowsError:
        drawn = pd.DataFrame(columns=["dataset", "model"])
    lines = []
    for name in shapes_in(last["dataset"]):
        for model in models(last):
            rows = select.only(last, dataset=name, model=model)
            if rows.empty:
                continue
            line = {"data": name, "network": model, "seeds": str(rows["seed"].nunique())}
            line["epochs"] = f"{rows['epoch'].max():,}"
            line["exact NLL"] = f"{rows.drop_duplicates('seed')['reference_nats'].mean():.3f}"
            for estimator, heading in (("continuous", "excess, I-MMSE"), ("ode", "excess, ODE")):
                line[heading] = _mean(select.only(rows, estimator=estimator), "excess_nats", "excess_se_nats")
            both = select.only(drawn, dataset=name, model=model)
            line["MMD² samples"] = _mean(both, "mmd2", "mmd2_se")
            line["MMD² held-out"] = _mean(both, "mmd2_heldout", "mmd2_heldout_se")
            lines.append(line)
    title = f"2-D study: validation NLL beyond the exact one (nats), {describe(last)}"
    note = "; ".join(part for part in (NOTE, style.SOURCE_NOTE[source]) if part)
    return Sheet(title, note, pd.DataFrame(lines))


def models(frame: pd.DataFrame) -> list[str]:
    """The kinds of network, plainest first."""
    return sorted(frame["model"].unique(), key=lambda name: ("gaussian" in name, len(name), name))


def band_note(frame: pd.DataFrame) -> str:
    """What the bands or bars of the NLL are."""
    if frame["seed"].nunique() > 1:
        return select.band_note(frame, "dataset")
    return "one seed; bars: 95% interval of the difference to the exact NLL of the same points"


def describe(frame: pd.DataFrame) -> str:
    """`800 validation points, 160 epochs`, or 160 and 640 where networks differ."""
    epochs = sorted(frame.groupby("model")["epoch"].max().unique())
    return f"{frame['n'].iloc[0]:,} validation points, {' and '.join(f'{one:,}' for one in epochs)} epochs"


def last_of_each(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows at the last epoch of each kind of network."""
    return frame[frame["epoch"] == frame.groupby("model")["epoch"].transform("max")]


def _mean(rows: pd.DataFrame, value: str, error: str) -> str:
    if rows.empty:
        return ""
    found = select.over_seeds(rows.assign(all=0), "all", value, error).iloc[0]
    return number(found["mean"], found["se"])


def _last_samples(frame: pd.DataFrame) -> pd.DataFrame:
    if frame.empty:
        raise select.NoRowsError("no rows")
    return last_of_each(frame[frame["n"] == frame["n"].max()])


def _arrays(results: Path) -> tuple[dict[str, np.ndarray], str]:
    """The arrays of the largest run, one with averaged weights first, and whose they are."""
    for root, source in ((results, "yours"), (results / "reference", "reference")):
        if not (root / "itdiffusion" / "images").is_dir():
            continue  # read_arrays would look into the reference by itself
        files = tables.read_arrays(root, "itdiffusion", "2d")
        if files:
            _, arrays = max(files, key=lambda file: (_rank(file[0]), "ema" in str(file[1]["model"])))
            return arrays, source
    raise select.NoRowsError("no arrays of 2d in itdiffusion/images")


def _rank(provenance: dict[str, Any]) -> int:
    return PRESETS.get(str(provenance.get("preset")), 0)


def _points(results: Path) -> dict[str, np.ndarray]:
    try:
        arrays, _ = _arrays(results)
    except select.NoRowsError:
        return {}
    seed = arrays["seed"].min()
    return {
        str(name): cloud
        for name, one, cloud in zip(arrays["dataset"], arrays["seed"], arrays["points"], strict=True)
        if one == seed
    }


def products() -> list[Product]:
    """The figures of the 2-D study, and its table."""
    drawn = {
        "shapes_contours": ((GRID, ARRAYS), contours),
        "shapes_mse": ((CURVE,), mse),
        "shapes_nll": ((NLL,), nll),
        "shapes_samples": ((ARRAYS,), samples),
    }
    figures = [Product(name, "itdiffusion", sources, HOW, build) for name, (sources, build) in drawn.items()]
    return [*figures, Product("shapes_table", "itdiffusion", (NLL, SAMPLES), HOW, sheet, "tables")]
