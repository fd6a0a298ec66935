"""The choice of T by the bound: figures of the chosen T beside bound and test KL, of its training, and their table."""

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scripts import diffusion_toy as toy
from scripts import products, select, style
from scripts.products import SummaryTable

TABLE = "diffusion/toy_choice"
HOW = "sh diffusion/run_choose_T.sh"
FIXED = ["dataset", "model", "m", "d", "R", "sde_steps"]
RULES = {"gradient": "T by gradient", "search": "T by search"}
"""The rules that choose T, seed by seed, and their names."""


def choice(results: Path) -> tuple[pd.DataFrame, str]:
    """The study with the most epochs (published variant, fixed number of steps), and whose it is.

    Raises:
        NoRowsError: no study has a grid of networks of their own.
    """
    return select.rows_or_reference(results, TABLE, _longest)


def _longest(frame: pd.DataFrame) -> pd.DataFrame:
    frame = select.only(frame, variant="published", step_rule="fixed_number")
    whole = [group for _, group in frame.groupby(FIXED) if select.only(group, rule="grid")["T"].nunique() > 1]
    whole = select.some(whole, "grid over T")
    ends = [group[(group["network"] == "shared") | (group["epoch"] == group["epoch"].max())] for group in whole]
    return max(ends, key=lambda group: (group["epoch"].max(), len(group)))


def own(rows: pd.DataFrame, rule: str, weight: float = 0.0) -> pd.DataFrame:
    """The networks that were trained for their T alone, under this rule and weight of the penalty."""
    return select.only(rows, network="own", rule=rule, penalty_weight=weight)


def at_end(rows: pd.DataFrame, rule: str) -> pd.DataFrame:
    """The rows of the shared networks under this rule at the end of their training."""
    found = select.only(rows, network="shared", rule=rule)
    return found[found["epoch"] == found["epoch"].max()]


def best_T(rows: pd.DataFrame, column: str) -> float:
    """The T of the grid at which the mean over seeds of `column` is least, without penalty."""
    return float(own(rows, "grid").groupby("T")[column].mean().idxmin())


@products.figure("toy_choice_T", TABLE, how=HOW)
def choice_T(results: Path) -> Figure:
    """Bound and test KL against T, networks of their own on the grid, with the chosen T's and their test KL."""
    rows, source = choice(results)
    grid = own(rows, "grid")
    fig = style.figure(style.PAGE, 3.2)
    left, right = fig.subplots(1, 2)
    bound, kl, scan, first, second = style.LINES
    style.curve(left, select.over_seeds(grid, "T", "bound_nats"), bound, "bound, a network of its own at each T")
    style.curve(
        left, select.over_seeds(at_end(rows, "scan"), "T", "bound_nats"), scan, "bound, one network for every T"
    )
    style.curve(right, select.over_seeds(grid, "T", "kl_test_nats", "kl_test_se"), kl, "test KL, exact")
    for (rule, name), look in zip(RULES.items(), (first, second), strict=True):
        shared, chosen = at_end(rows, rule), own(rows, rule)
        _mark(left, shared["T"], shared["bound_nats"], look, name)
        _mark(right, chosen["T"], chosen["kl_test_nats"], look, name)
    for axes, label in ((left, "bound (nats)"), (right, "test KL (nats)")):
        axes.set(xlabel="diffusion time T", ylabel=label, ylim=(0, None))
        style.ticks_at(axes, grid["T"].unique())
    style.legend_below(fig, [left, right], 3)
    style.title(
        fig,
        toy.describe(grid, "T"),
        [select.band_note(grid, "T"), "points: each seed; upright lines: their mean T"],
        source,
    )
    return fig


def _mark(axes: Axes, T: pd.Series, y: pd.Series, look: style.LineStyle, name: str) -> None:
    axes.axvline(T.mean(), color="0.3", linestyle=look.line, linewidth=0.8)
    axes.scatter(
        T, y, s=16, marker=look.marker, color=look.color, edgecolor="black", linewidth=0.4, zorder=3, label=name
    )


@products.figure("toy_path_T", TABLE, how=HOW)
def path_T(results: Path) -> Figure:
    """T as it is trained beside the network, and the T that the search finds at the end."""
    rows, source = choice(results)
    trained = select.only(rows, network="shared", rule="gradient")
    fig = style.figure(style.COLUMN * 1.25, 2.7)
    axes = fig.subplots()
    for seed, path in trained.sort_values("epoch").groupby("seed"):
        axes.plot(path["epoch"], path["T"], color=style.LINES[0].color, linewidth=0.8, label="by gradient, each seed")
        found = select.only(at_end(rows, "search"), seed=seed)
        axes.plot(found["epoch"], found["T"], linestyle="", marker="s", color=style.LINES[1].color, label="by search")
    axes.set(xlabel="epoch", ylabel="diffusion time T")
    axes.xaxis.set_major_formatter(style.PLAIN)
    style.legend_below(fig, [axes], 2)
    first = trained.iloc[0]
    text = f"{first['dataset'].replace('_', ' ')}, m = {first['m']:,}: T trained through the bound"
    style.title(fig, text, [], source)
    return fig


@products.table("toy_choice_table", TABLE, how=HOW)
def choice_sheet(results: Path) -> SummaryTable:
    """Test KL at the T of each rule, with and without penalty, and the bound there; errors over seeds."""
    rows, source = choice(results)
    bound_best, oracle = best_T(rows, "bound_nats"), best_T(rows, "kl_test_nats")
    blocks = {
        "by gradient": lambda weight: own(rows, "gradient", weight),
        "by search": lambda weight: own(rows, "search", weight),
        "grid, least bound": lambda weight: select.only(own(rows, "grid", weight), T=bound_best),
        "grid, least test KL (oracle)": lambda weight: select.only(own(rows, "grid", weight), T=oracle),
    }
    lines = []
    for name, of_weight in blocks.items():
        line = {"rule": name, "T": select.mean_text(of_weight(0.0), "T").removesuffix(" ± 0")}
        for weight in sorted(rows.loc[rows["network"] == "own", "penalty_weight"].unique()):
            chosen = of_weight(weight)
            penalty = f"penalty {weight:g}" if weight else "no penalty"
            line[f"test KL (nats), {penalty}"] = select.mean_text(chosen, "kl_test_nats")
            line[f"bound (nats), {penalty}"] = select.mean_text(chosen, "bound_nats")
        lines.append(line)
    grid = own(rows, "grid")
    seeds = f"{products.SEEDS_NOTE}, {grid['seed'].nunique()} seeds"
    note = products.note(source, seeds, "the oracle looks at the test KL itself")
    cells = pd.DataFrame(lines)
    ordered = ["rule", "T", *sorted(cells.columns[2:], key=lambda name: name.startswith("bound"))]
    title = f"Choice of T by the bound: {toy.describe(grid, 'T')}"
    return SummaryTable(title, note, cells[ordered])
