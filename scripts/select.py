"""Which rows a figure stands on: one sweep, at one epoch, without duplicates; means and intervals over seeds."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from infolab import results as tables


class NoRowsError(Exception):
    """There is nothing to draw; the text says what is missing."""


def rows_or_reference(
    results: Path, table: str, pick: Callable[[pd.DataFrame], pd.DataFrame]
) -> tuple[pd.DataFrame, str]:
    """Apply `pick` to the user's rows of `table` or, where it finds nothing in them, to the reference rows.

    Returns:
        The picked rows, and "yours" or "reference".

    Raises:
        NoRowsError: neither has them.
    """
    problem = f"no rows in {table}"
    for root, source in ((results, "yours"), (results / "reference", "reference")):
        frame = _read(root, table, _state(root, table))
        if len(frame):
            try:
                return pick(frame), source
            except NoRowsError as error:
                problem = f"{error} in {table}"
    raise NoRowsError(problem)


def _state(root: Path, table: str) -> tuple[tuple[str, int], ...]:
    return tuple((path.name, path.stat().st_mtime_ns) for path in tables.files(root, table))


@functools.lru_cache(maxsize=8)
def _read(root: Path, table: str, state: tuple[tuple[str, int], ...]) -> pd.DataFrame:
    # One process draws many figures from one table: it is read once for each state of its files. Nobody writes into it.
    return tables.read(root, table)


def sweep(frame: pd.DataFrame, x: str, fixed: Sequence[str]) -> pd.DataFrame:
    """The sweep over `x` (T or m) with the most epochs.

    Rows are grouped by the columns `fixed` and by epoch; a sweep is a group in which `x` has more than one value.
    Of the sweeps with the largest epoch, the one with the most values of `x` and then the most rows is taken. In it
    all rows of the rule `fixed_number` share one number of sampler steps, and no setting appears twice.

    Raises:
        NoRowsError: `x` does not vary in any group.
    """
    candidates = [group for _, group in frame.groupby([*fixed, "epoch"]) if group[x].nunique() > 1]
    if not candidates:
        raise NoRowsError(f"no sweep over {x}")
    best = max(candidates, key=lambda group: (group["epoch"].iloc[0], group[x].nunique(), len(group)))
    best = _one_grid(best, x).sort_values([x, "seed", "sde_steps"])
    return best.drop_duplicates([x, "seed", "step_rule", "variant"], keep="last")


def _one_grid(frame: pd.DataFrame, x: str) -> pd.DataFrame:
    fixed_number = frame["step_rule"] == "fixed_number"
    if not fixed_number.any():
        return frame
    counts = frame[fixed_number].groupby("sde_steps")[x].nunique()
    steps = counts[counts == counts.max()].index.max()
    return frame[~fixed_number | (frame["sde_steps"] == steps)]


def only(frame: pd.DataFrame, **settings: object) -> pd.DataFrame:
    """The rows with these settings; empty when there are none."""
    for column, wanted in settings.items():
        frame = frame[frame[column] == wanted]
    return frame


def preferred_rule(frame: pd.DataFrame, order: Sequence[str] = ("fixed_number", "fixed_size")) -> str:
    """The first step rule of `order` that has rows."""
    return next(rule for rule in order if (frame["step_rule"] == rule).any())


def over_seeds(frame: pd.DataFrame, x: str, y: str, se: str | None = None) -> pd.DataFrame:
    """Means over seeds of `y` at each value of `x`.

    Returns:
        Columns x, mean, se (s / sqrt(n)), half (half-width of the 95% t-interval of the mean) and n. With one seed, se
        is the measurement error in the column `se` and half is 1.96 times it; NaN without such a column. Empty values
        of `y` are left out.

    >>> frame = pd.DataFrame({"T": [1.0, 1.0], "y": [0.0, 2.0]})
    >>> over_seeds(frame, "T", "y")[["mean", "se", "n"]].values.tolist()
    [[1.0, 1.0, 2.0]]
    """
    records = []
    for value, group in frame.dropna(subset=[y]).groupby(x):
        values = group[y].to_numpy(float)
        n = len(values)
        if n > 1:
            error = values.std(ddof=1) / np.sqrt(n)
            half = t_half(values)
        else:
            error = float(group[se].iloc[0]) if se is not None else np.nan
            half = 1.96 * error
        records.append({"x": value, "mean": values.mean(), "se": error, "half": half, "n": n})
    return pd.DataFrame(records, columns=["x", "mean", "se", "half", "n"])


def t_half(values: np.ndarray) -> float:
    """Half-width of the 95% t-interval of the mean of n >= 2 independent values, t_{0.975, n-1} s / sqrt(n).

    >>> f"{t_half(np.array([0.0, 2.0])):.3f}"
    '12.706'
    """
    n = len(values)
    return float(values.std(ddof=1) / np.sqrt(n) * stats.t.ppf(0.975, n - 1))


def band_note(frame: pd.DataFrame, x: str, y: str | None = None) -> str:
    """What the bands of `over_seeds` are, for the title; of `y`, where given, whose empty values it leaves out.

    >>> band_note(pd.DataFrame({"T": [1.0, 1.0, 2.0, 2.0], "seed": [0, 1, 0, 1]}), "T")
    'band: 95% interval of the mean over 2 seeds'
    """
    there = frame if y is None else frame.dropna(subset=[y])
    counts = there.groupby(x)["seed"].nunique()
    low, high = int(counts.min()), int(counts.max())
    left_out = f"; {len(frame) - len(there):,} of {len(frame):,} without a value" if len(there) < len(frame) else ""
    if high == 1:
        return f"one seed; bars, where drawn: 95% interval of the measurement{left_out}"
    return f"band: 95% interval of the mean over {high if low == high else f'{low} to {high}'} seeds{left_out}"


def share_interval(k: np.ndarray, n: int | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Exact 95% interval of a proportion (Clopper and Pearson 1934), for k of n independent cases, elementwise.

    >>> low, high = share_interval(np.array([0, 1]), 1000)
    >>> [f"{1000 * value:.2f}" for value in (*low, *high)]
    ['0.00', '0.03', '3.68', '5.56']
    """
    k, n = np.broadcast_arrays(np.asarray(k, float), np.asarray(n, float))
    with np.errstate(invalid="ignore"):
        low = np.where(k > 0, stats.beta.ppf(0.025, k, n - k + 1), 0.0)
        high = np.where(k < n, stats.beta.ppf(0.975, k + 1, n - k), 1.0)
    return low, high
