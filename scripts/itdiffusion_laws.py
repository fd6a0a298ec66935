"""What is drawn of the studies on distributions with known answers: NLL of 2-D sets, mutual information."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scripts import products, select, style
from scripts.products import SummaryTable, number

HOW_2D, HOW_MI = "sh itdiffusion/run_2d.sh", "make mi-table"
NLL, CURVE, GRID, SAMPLES = (f"itdiffusion/{name}" for name in ("nll", "mse_curve", "density_grid", "samples"))
MI, ARRAYS = "itdiffusion/mi", "itdiffusion/images:2d"
LEVELS = (-5.0, -4.0, -3.0, -2.0, -1.0)
"""Levels of log p in the contours, nats, as published."""
SHAPES = ("scg", "moons", "line", "circle", "ring", "swiss_roll", "letters", "points")
SEEDS_OF_COVERAGE = 5
"""A case with at least so many seeds at one n is a study of coverage: its seeds are counted, not listed."""
Z95 = 1.96
LIMITS = (0.05, 0.05)
"""What is marked as close: within so many nats, or within this share of the truth."""


def of_study(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of 2-D sets from the largest runs: no smoke run stands beside a real one.

    Raises:
        NoRowsError: there are none.
    """
    rows = select.some(frame[frame["dataset"].isin(SHAPES)], "rows of 2-D sets")
    if "n" in rows:
        rows = rows[rows["n"] == rows["n"].max()]
    return rows.sort_values("epoch", kind="stable")


def shapes_in(names: Iterable[str]) -> list[str]:
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


@products.figure("shapes_nll", NLL, how=HOW_2D)
def nll(results: Path) -> Figure:
    """Validation NLL over epochs, a line for each kind of network, with the exact NLL of the same points."""
    frame, source = select.rows_or_reference(results, NLL, of_study)
    rows = select.only(frame, estimator="continuous")
    shapes = shapes_in(rows["dataset"])
    fig, axes = panels(len(shapes), 1.5)
    for panel, name in zip(axes, shapes, strict=True):
        here = select.only(rows, dataset=name)
        for model, look in zip(models(rows), style.LINES, strict=False):
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


@products.figure("shapes_mse", CURVE, how=HOW_2D)
def mse(results: Path) -> Figure:
    """MSE curves of the networks beside their Gaussian's: half the area between them is what the NLL gains."""
    frame, source = select.rows_or_reference(results, CURVE, of_study)
    frame = last_of_each(frame)
    shapes = shapes_in(frame["dataset"])
    fig, axes = panels(len(shapes), 1.5)
    for panel, name in zip(axes, shapes, strict=True):
        here = select.only(frame, dataset=name)
        for model, look in zip(models(frame), style.LINES, strict=False):
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


@products.figure("shapes_contours", GRID, ARRAYS, how=HOW_2D)
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


@products.figure("shapes_samples", ARRAYS, how=HOW_2D)
def samples(results: Path) -> Figure:
    """Samples of the reverse process of one seed, training points behind in grey."""
    arrays, source = select.arrays_or_reference(results, [ARRAYS], _of_largest)
    seed = int(arrays["seed"].min())
    chosen = [i for i, one in enumerate(arrays["seed"]) if int(one) == seed]
    fig, axes = panels(len(chosen), 1.75)
    for panel, i in zip(axes, chosen, strict=True):
        drawn = arrays["samples"][i]
        half = 1.3 * float(np.abs(arrays["points"][i]).max())
        panel.scatter(
            arrays["points"][i][:, 0], arrays["points"][i][:, 1], s=3, color="0.6", linewidth=0, rasterized=True
        )
        style.cloud(panel, drawn, half, str(arrays["dataset"][i]))
    note = f"red: {arrays['samples'].shape[1]:,} samples; grey: {arrays['points'].shape[1]} training points"
    text = f"samples of the reverse process, {arrays['model']}, seed {seed}"
    style.title(fig, text, [note], source)
    return fig


@products.table("shapes_table", NLL, SAMPLES, how=HOW_2D)
def sheet(results: Path) -> SummaryTable:
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
                line[heading] = select.mean_text(
                    select.only(rows, estimator=estimator), "excess_nats", "excess_se_nats"
                )
            both = select.only(drawn, dataset=name, model=model)
            line["MMD² samples"] = select.mean_text(both, "mmd2", "mmd2_se")
            line["MMD² held-out"] = select.mean_text(both, "mmd2_heldout", "mmd2_heldout_se")
            lines.append(line)
    title = f"2-D study: validation NLL beyond the exact one (nats), {describe(last)}"
    return SummaryTable(title, products.note(source, products.SEEDS_NOTE), pd.DataFrame(lines))


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


def _last_samples(frame: pd.DataFrame) -> pd.DataFrame:
    return last_of_each(frame[frame["n"] == frame["n"].max()])


def _of_largest(files: list[select.File]) -> dict[str, np.ndarray]:
    """The arrays of the largest run, one with averaged weights first."""
    return max(files, key=lambda file: (select.rank(file[0]), "ema" in str(file[1]["model"])))[1]


def _points(results: Path) -> dict[str, np.ndarray]:
    try:
        arrays, _ = select.arrays_or_reference(results, [ARRAYS], _of_largest)
    except select.NoRowsError:
        return {}
    seed = arrays["seed"].min()
    return {
        str(name): cloud
        for name, one, cloud in zip(arrays["dataset"], arrays["seed"], arrays["points"], strict=True)
        if one == seed
    }


def mi_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of the largest n and steps of each case and form, with `seeds` of its group; coverage studies apart."""
    keys = ["case", "form", "n", "minutes"]
    rows = frame.assign(seeds=frame.groupby(keys)["seed"].transform("nunique"))
    rows = rows.assign(covering=rows["seeds"] >= SEEDS_OF_COVERAGE)
    single = rows[~rows["covering"]]
    largest = single.groupby(["case", "form"])["n"].transform("max")
    return pd.concat([single[single["n"] == largest], rows[rows["covering"]]]).sort_values(
        ["covering", "dataset", "case", "form", "seed"], kind="stable"
    )


def close(rows: pd.DataFrame) -> pd.Series:
    """Whether each estimate is within 0.05 nats or 5% of the truth."""
    return (rows["mi_nats"] - rows["truth_nats"]).abs() <= np.maximum(LIMITS[0], LIMITS[1] * rows["truth_nats"])


def covered(rows: pd.DataFrame) -> pd.Series:
    """Whether each 95% interval holds the truth."""
    return (rows["mi_nats"] - rows["truth_nats"]).abs() <= Z95 * rows["se_nats"]


@products.figure("mi_truth", MI, how=HOW_MI)
def mi_truth(results: Path) -> Figure:
    """One line a case: the estimate minus the truth with its 95% interval; below, the seeds of the coverage study."""
    frame, source = select.rows_or_reference(results, MI, mi_rows)
    rows = select.some(frame.dropna(subset=["truth_nats"]), "rows with a known truth")
    lines = rows.drop_duplicates(["case", "form", "n", "minutes"]).reset_index(drop=True)
    fig = style.figure(style.PAGE, 1.4 + 0.17 * len(lines))
    axes = fig.subplots()
    labels = []
    for place, line in lines.iterrows():
        same = select.only(rows, case=line["case"], form=line["form"], n=line["n"], minutes=line["minutes"])
        _draw_line(axes, float(place), same)
        labels.append(_label(same))
    axes.axvline(0, color="black", linewidth=0.6)
    axes.set_yticks(range(len(lines)), labels, fontsize=6)
    axes.set(ylim=(len(lines) - 0.4, -0.6), xlabel="estimate - true mutual information (nats)")
    axes.margins(x=0.02)
    single = rows[~rows["covering"]]
    notes = [
        "bars: 95% interval; grey: within 0.05 nats or 5% of the truth, which "
        f"{int(close(single).sum())} of {len(single)} single estimates are"
    ]
    if rows["covering"].any():
        notes.append("triangles: one a seed; beside the case the share of its intervals that hold the truth")
    style.title(fig, "Mutual information from denoising errors", notes, source)
    return fig


def _draw_line(axes: Axes, place: float, rows: pd.DataFrame) -> None:
    truth = float(rows["truth_nats"].iloc[0])
    half = max(LIMITS[0], LIMITS[1] * truth)
    axes.barh(place, 2 * half, left=-half, height=0.8, color="0.92")
    look = style.LINES[1 if rows["form"].iloc[0] == "orthogonal" else 0]
    errors = rows["mi_nats"].to_numpy(float) - truth
    if not rows["covering"].iloc[0]:
        for error, se in zip(errors, rows["se_nats"], strict=True):
            axes.errorbar(error, place, xerr=Z95 * se, color=look.color, fmt=look.marker, markersize=3, linewidth=0.9)
        return
    spread = np.linspace(-0.3, 0.3, len(rows))
    axes.errorbar(
        errors, place + spread, xerr=Z95 * rows["se_nats"], color=style.LINES[2].color, fmt=style.LINES[2].marker,
        markersize=1.6, linewidth=0.4,
    )  # fmt: skip


def _label(rows: pd.DataFrame) -> str:
    line = rows.iloc[0]
    form = ", orthogonal" if line["form"] == "orthogonal" else ""
    seeds = f"; {covered(rows).mean():.0%} of {len(rows)} intervals" if line["covering"] else ""
    return f"{line['case']}{form} ({line['truth_nats']:.3g} nats, n = {line['n']:,}{seeds})"


@products.table("mi_table", MI, how=HOW_MI)
def mi_sheet(results: Path) -> SummaryTable:
    """Every case with its truth, estimate, deviation in standard errors and time; coverage as one line a case."""
    frame, source = select.rows_or_reference(results, MI, mi_rows)
    records = []
    for (_, case, form, n, _), rows in frame.groupby(["covering", "case", "form", "n", "minutes"], sort=False):
        first, known = rows.iloc[0], rows["truth_nats"].notna().all()
        several = bool(first["covering"])
        se = float(np.sqrt(np.square(rows["se_nats"]).mean()))
        error = rows["mi_nats"] - rows["truth_nats"]
        records.append({
            "kind": first["dataset"],
            "case": str(case),
            "form": str(form),
            "n": f"{n:,}",
            "seeds": str(len(rows)),
            "truth (nats)": f"{first['truth_nats']:.4f}" if known else "not known",
            "estimate (nats)": number(float(rows["mi_nats"].mean()), se),
            "close": ("yes" if close(rows).all() else f"{close(rows).mean():.0%}") if known else "",
            "(estimate - truth)/se": f"{(error / rows['se_nats']).mean():+.1f}" if known and se > 0 else "",
            "interval holds truth": f"{covered(rows).mean():.0%}" if known and several else "",
            "steps": f"{int(rows['steps'].median()):,}",
            "seconds": f"{rows['seconds'].median():.0f}",
        })  # fmt: skip
    note = (
        "estimate ± standard error (over several seeds: the mean, ± the standard error of one estimate); close: within "
        "0.05 nats or 5%; interval: ± 1.96 standard errors"
    )
    return SummaryTable(
        "Mutual information from denoising errors",
        products.note(source, note),
        pd.DataFrame(records),
    )
