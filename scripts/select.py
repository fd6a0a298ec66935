"""Which rows a figure shows: one sweep, at one epoch, without duplicates; means and intervals over seeds."""

import functools
from collections.abc import Callable, Sequence, Sized
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from scipy import stats

from infolab import results as tables
from scripts.products import number

File = tuple[dict[str, Any], dict[str, np.ndarray]]
"""Provenance and arrays of one file of pictures or points."""
Picked = TypeVar("Picked")
Found = TypeVar("Found", bound=Sized)
PRESETS = {"paper": 2, "quick": 1}


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


@functools.lru_cache(maxsize=16)
def _read(root: Path, table: str, state: tuple[tuple[str, int], ...]) -> pd.DataFrame:
    # One process draws many figures from one table: it is read once for each state of its files. Nobody writes into it.
    return tables.read(root, table)


def arrays_or_reference(
    results: Path, experiments: Sequence[str], pick: Callable[[list[File]], Picked]
) -> tuple[Picked, str]:
    """Apply `pick` to the user's array files of these experiments or, where it finds nothing there, to the reference's.

    Args:
        results: the results folder.
        experiments: of one paper, as a product's sources name them: `diffusion/images:toy`.
        pick: what is shown of the files of all of them; raises NoRowsError where that is nothing.

    Returns:
        What `pick` returned, and "yours" or "reference".

    Raises:
        NoRowsError: neither has them.
    """
    folder, names = experiments[0].split(":")[0], [one.split(":")[1] for one in experiments]
    problem = f"no arrays of {', '.join(names)} in {folder}"
    for root, source in ((results, "yours"), (results / "reference", "reference")):
        files = [file for name in names for file in _arrays(root, folder, name)]
        if files:
            try:
                return pick(files), source
            except NoRowsError as error:
                problem = f"{error} in {folder} ({', '.join(names)})"
    raise NoRowsError(problem)


def _arrays(root: Path, folder: str, name: str) -> list[File]:
    """The files below `root` itself (where it has none, the reader turns to its reference)."""
    if not (root / folder).is_dir():
        return []
    files = tables.read_arrays(root, folder.split("/")[0], name)
    return [file for file in files if (root / folder / f"{file[0]['run_id']}.npz").exists()]


def rank(provenance: dict[str, Any]) -> int:
    """Of two runs the one of the higher rank is shown; a smoke run (0) never stands in for a real one."""
    return PRESETS.get(str(provenance.get("preset")), 0)


def some(found: Found, what: str) -> Found:
    """`found`, rows or groups or files, if there are any.

    Raises:
        NoRowsError: there are none: "no `what`".
    """
    if len(found) == 0:
        raise NoRowsError(f"no {what}")
    return found


def sweep(frame: pd.DataFrame, x: str, fixed: Sequence[str]) -> pd.DataFrame:
    """The sweep over `x` (T or m) with the most epochs.

    Rows are grouped by the columns `fixed` and by epoch; a sweep is a group in which `x` has more than one value.
    Of the sweeps with the largest epoch, the one with the most values of `x` and then the most rows is taken. In it
    all rows of the rule `fixed_number` share one number of sampler steps, and no setting appears twice.

    Raises:
        NoRowsError: `x` does not vary in any group.
    """
    candidates = [group for _, group in frame.groupby([*fixed, "epoch"]) if group[x].nunique() > 1]
    best = max(
        some(candidates, f"sweep over {x}"), key=lambda group: (group["epoch"].iloc[0], group[x].nunique(), len(group))
    )
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


def mean_text(rows: pd.DataFrame, y: str, se: str | None = None) -> str:
    """Mean and standard error of `y` over all rows, one a seed, as a cell (see `over_seeds`); "" without values.

    >>> mean_text(pd.DataFrame({"y": [0.0, 2.0]}), "y")
    '1.0 ± 1.0'
    """
    summary = over_seeds(rows.assign(all=0), "all", y, se)
    return "" if summary.empty else number(summary["mean"].iloc[0], summary["se"].iloc[0])


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
    left_out = f"; {len(frame) - len(there):,} of {len(frame):,} without a value" if len(there) < len(frame) else ""
    if counts.max() == 1:
        return f"one seed; bars, where drawn: 95% interval of the measurement{left_out}"
    return f"band: 95% interval of the mean over {span(counts)} seeds{left_out}"


def span(counts: "pd.Series[int]") -> str:
    """The least and the largest count in words.

    >>> span(pd.Series([3, 3])), span(pd.Series([2, 3]))
    ('3', '2 to 3')
    """
    low, high = int(counts.min()), int(counts.max())
    return f"{low}" if low == high else f"{low} to {high}"


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
