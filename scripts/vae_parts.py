"""Which rows of the vae tables a figure shows: of one data set, the largest study, one line per learning rate."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from infolab.quantiles import quantile
from scripts import select

CURVES, BOUNDS, SCORES, NEIGHBOURS, DUPLICATES, LOSSES = (
    f"vae/{name}" for name in ("curves", "bounds", "memorization", "neighbours", "duplicates", "imported_losses")
)
DATASETS = ("digits", "fashion-mnist", "mnist", "cifar10", "celeba")
GRID = ["model", "seed", "m", "K", "L", "estimator"]
DIFFUSION = "i-mmse"
"""How the estimator of a diffusion model's rows begins."""
LEAST = 200
"""Images below which a grid is a smoke run, of which no figure is drawn."""
HIGHEST = 0.999
"""The highest quantile that is drawn."""
HIGH = 0.95
"""Images whose score is above this quantile are called highly memorized, as published."""
ESTIMATORS = {
    "untrained-decoder": "untrained decoder (published)",
    "ghost": "ghost decoder",
    "held-out": "held out (mean score)",
}


def rows(
    results: Path, table: str, dataset: str, pick: Callable[[pd.DataFrame], pd.DataFrame]
) -> tuple[pd.DataFrame, str]:
    """What `pick` takes of the rows of one data set, and whose they are.

    Raises:
        NoRowsError: there are none.
    """

    def of_set(frame: pd.DataFrame) -> pd.DataFrame:
        mine = frame[(frame["dataset"] == dataset) & (frame["m"] >= LEAST if "m" in frame else True)]
        if mine.empty:
            raise select.NoRowsError(f"no rows of {dataset}")
        return pick(mine)

    return select.rows_or_reference(results, table, of_set)


def grid_rows(results: Path, dataset: str, *, diffusion: bool = False) -> tuple[pd.DataFrame, str]:
    """Scores of the largest grid of VAEs (or of diffusion models), at every learning rate and epoch."""

    def pick(frame: pd.DataFrame) -> pd.DataFrame:
        return largest(frame[frame["estimator"].str.startswith(DIFFUSION) == diffusion], GRID)

    return rows(results, SCORES, dataset, pick)


def largest(frame: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Of the groups of equal `by`, the one with the most images, learning rates, epochs and runs.

    Raises:
        NoRowsError: there are no rows.
    """
    groups = [group for _, group in frame.groupby(by)]
    if not groups:
        raise select.NoRowsError("no rows")
    runs = "L" if "L" in frame else "m"
    return max(
        groups, key=lambda group: (group["m"].max(), group["lr"].nunique(), group["epoch"].max(), group[runs].max())
    )


def full_rows(results: Path, dataset: str, table: str = CURVES) -> tuple[pd.DataFrame, str]:
    """Rows of the runs on all images and of their ghosts: the model and seed with the most images, rates and epochs."""

    def pick(frame: pd.DataFrame) -> pd.DataFrame:
        chosen = largest(frame[frame["mode"] != "cv"], ["model", "seed"])
        m = chosen.loc[chosen["mode"] == "full", "m"].max()
        return chosen[(chosen["mode"] == "ghost") | (chosen["m"] == m)]

    return rows(results, table, dataset, pick)


def imported_rows(results: Path, dataset: str) -> tuple[pd.DataFrame, str]:
    """Losses of imported networks: at each learning rate one grid, the one of the most networks and then epochs."""

    def pick(frame: pd.DataFrame) -> pd.DataFrame:
        chosen = largest(frame, ["model", "seed", "m"])
        kept = []
        for _, of_rate in chosen.groupby("lr"):
            grids = [group for _, group in of_rate.groupby("grid")]
            kept.append(max(grids, key=lambda group: (len(group[["repeat", "fold"]].drop_duplicates()), len(group))))
        return pd.concat(kept)

    return rows(results, LOSSES, dataset, pick)


def over_networks(frame: pd.DataFrame, y: str) -> pd.DataFrame:
    """Means of `y` over the networks of one grid at each epoch: columns x, mean, half, n, as `style.curve` draws them.

    Folds of one repeat share images, and their networks are no independent ones; repeats are drawn anew. With several
    repeats `half` is that of the 95% t-interval of the mean over repeats, with one the standard deviation over folds.
    """
    records = []
    for epoch, group in frame.groupby("epoch"):
        by_repeat = group.groupby("repeat")[y].mean()
        L = len(by_repeat)
        half = select.t_half(by_repeat.to_numpy(float)) if L > 1 else float(group[y].std())
        records.append({"x": epoch, "mean": by_repeat.mean(), "half": half, "n": max(L, len(group))})
    return pd.DataFrame(records)


def networks_note(frame: pd.DataFrame) -> str:
    """What the bands of `over_networks` are, for a title."""
    repeats = frame.groupby(["lr", "epoch"])["repeat"].nunique()
    low, high = int(repeats.min()), int(repeats.max())
    if low > 1:
        return f"band: 95% interval of the mean over {low if low == high else f'{low} to {high}'} repeats"
    if high == 1:
        return "one repeat; band: standard deviation over its folds, not an interval"
    return f"band: 95% interval over up to {high} repeats; with one repeat, deviation over its folds, not an interval"


def rates(frame: pd.DataFrame) -> list[float]:
    """Learning rates, the largest first."""
    return sorted(frame["lr"].unique(), reverse=True)


def last(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of each learning rate's last epoch."""
    return frame[frame["epoch"] == frame.groupby("lr")["epoch"].transform("max")]


def quantiles(frame: pd.DataFrame, q: float) -> pd.DataFrame:
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
    """What the bands of `quantiles` are, for a title; `frame`: the scores that are drawn."""
    note = "band: 95% over images"
    smallest = int(frame.groupby(["lr", "epoch"]).size().min())
    limited = quantile(np.zeros(smallest), HIGHEST).open_above
    return f"{note}; arrows: {smallest:,} images do not bound quantile {HIGHEST:g} from above" if limited else note


def high(frame: pd.DataFrame) -> np.ndarray:
    """Which rows have a score above the `HIGH` quantile of `frame`."""
    return (frame["score"] > frame["score"].quantile(HIGH)).to_numpy()


def describe(frame: pd.DataFrame) -> str:
    """Model, images and grid, for a title."""
    first = frame.iloc[0]
    text = f"{first['model']}, m = {first['m']:,}"
    return text + (f", K = {first['K']}, L = {first['L']}" if "L" in frame else "")
