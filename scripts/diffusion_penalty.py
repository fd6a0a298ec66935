"""The bound as a regulariser: what its score-norm term, as a penalty of some weight, does to KL or bpd, L and bound."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scripts import diffusion_toy as toy
from scripts import products, select, style
from scripts.products import SummaryTable, number

TOY, IMAGE = "diffusion/toy_penalty", "diffusion/image_penalty"
FIXED = ["dataset", "model", "m", "d", "R", "sde_steps", "strata"]
WEIGHT = "penalty_weight"
HOW_TOY, HOW_DIGITS = "sh diffusion/run_penalty_toy.sh", "sh diffusion/run_penalty_digits.sh"
TOY_COLUMNS = (("kl_test_nats", "kl_test_se", "test KL (nats)"),)
IMAGE_COLUMNS = (
    ("bpd_ode", "bpd_ode_se", "test bpd, ODE"),
    ("bpd_elbo", "bpd_elbo_se", "test bpd, ELBO (upper bound)"),
)
BOUND_COLUMNS = (
    ("score_norm", None, "L"),
    ("scaled3", None, "√2 R T3"),
    ("score_loss_nats", "score_loss_se", "score loss (nats)"),
    ("bound_nats", None, "bound (nats)"),
)


def studies(results: Path, table: str) -> tuple[list[pd.DataFrame], str]:
    """The sweeps over the weight with the most epochs, one for each training set and T, and whose they are.

    Raises:
        NoRowsError: the weight does not vary.
    """
    frame, source = select.rows_or_reference(results, table, _swept)
    return [group for _, group in frame.groupby(["m", "T"])], source


def _swept(frame: pd.DataFrame) -> pd.DataFrame:
    frame = toy.with_terms(select.only(frame, variant="published", step_rule="fixed_number"))
    groups = [group for _, group in frame.groupby([*FIXED, "T", "epoch"]) if group[WEIGHT].nunique() > 1]
    found = pd.concat(select.some(groups, "sweep over the penalty's weight"), ignore_index=True)
    # Few-shot and full sets have their own numbers of epochs.
    sets = ["dataset", "split"] if "split" in found else ["dataset"]
    return found[found["epoch"] == found.groupby(sets)["epoch"].transform("max")]


@products.figure("toy_penalty", TOY, how=HOW_TOY, table=TOY)
@products.figure("digits_penalty", IMAGE, how=HOW_DIGITS, table=IMAGE)
def against_weight(results: Path, table: str) -> Figure:
    """Test KL or bits per dimension (above), and L and the bound (below), against the weight of the penalty."""
    groups, source = studies(results, table)
    columns = TOY_COLUMNS if table == TOY else IMAGE_COLUMNS
    fig = style.figure(style.COLUMN * 1.1 * max(len(groups), 1.4), 5.0)
    grid = fig.subplots(3, len(groups), squeeze=False, sharex="col")
    for line, rows in zip(grid.T, groups, strict=True):
        weights = sorted(rows[WEIGHT].unique())
        for (column, se, label), look in zip(columns, style.LINES[1:], strict=False):
            _curve(line[0], rows, weights, column, se, look, label)
        _curve(line[1], rows, weights, "score_norm", None, style.LINES[3], "L on the sampler's path")
        _curve(line[2], rows, weights, "bound_nats", None, style.LINES[0], "published bound")
        for axes, label in zip(line, (_quantity(table), "L (1/data unit)", "published bound (nats)"), strict=True):
            axes.set_ylabel(label)
            values = np.concatenate([part.get_ydata() for part in axes.get_lines()])
            style.log_if_wide(axes, np.asarray(values, float), ratio=5.0)
        line[-1].set_xlabel("weight w of the penalty (not to scale)")
        line[-1].set_xticks(range(len(weights)), [f"{weight:g}" for weight in weights])
        first = rows.iloc[0]
        line[0].set_title(f"m = {first['m']:,}, T = {first['T']:g}, R = {first['R']:,g}, {first['epoch']:,} epochs")
    style.legend_below(fig, list(grid.ravel()), 2)
    text = f"{groups[0]['dataset'].iloc[0].replace('_', ' ')}: the bound as a regulariser"
    style.title(fig, text, [select.band_note(groups[0], WEIGHT)], source)
    return fig


def _quantity(table: str) -> str:
    return "test KL (nats)" if table == TOY else "test bpd (bits/dim)"


def _curve(
    axes: Axes, rows: pd.DataFrame, weights: list[float], column: str, se: str | None, look: style.LineStyle, label: str
) -> None:
    summary = select.over_seeds(rows, WEIGHT, column, se)
    summary["x"] = summary["x"].map(weights.index).astype(float)
    style.curve(axes, summary, look, label, floor=0.1 * float(summary["mean"].min()))


@products.table("toy_penalty_table", TOY, how=HOW_TOY, table=TOY)
@products.table("digits_penalty_table", IMAGE, how=HOW_DIGITS, table=IMAGE)
def penalty_sheet(results: Path, table: str) -> SummaryTable:
    """What each weight comes to: KL or bpd, L, T3, score loss and bound, with errors over seeds."""
    groups, source = studies(results, table)
    columns = (*(TOY_COLUMNS if table == TOY else IMAGE_COLUMNS), *BOUND_COLUMNS)
    lines = []
    for rows in groups:
        summaries = {name: select.over_seeds(rows, WEIGHT, column, se).set_index("x") for column, se, name in columns}
        for weight in sorted(rows[WEIGHT].unique()):
            line = {"m": f"{rows['m'].iloc[0]:,}", "T": f"{rows['T'].iloc[0]:g}", "w": f"{weight:g}"}
            line["seeds"] = str(select.only(rows, **{WEIGHT: weight})["seed"].nunique())
            for name, summary in summaries.items():
                line[name] = number(summary.loc[weight, "mean"], summary.loc[weight, "se"])
            lines.append(line)
    first = groups[0].iloc[0]
    title = f"The bound as a regulariser: {first['dataset'].replace('_', ' ')}, R = {first['R']:,g}"
    return SummaryTable(title, products.note(source, products.SEEDS_NOTE), pd.DataFrame(lines))
