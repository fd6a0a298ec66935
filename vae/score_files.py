"""Memorization scores from a table of one's own: log p of each example under each run, and whether it was inside."""

import io
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from common import atomic
from common.config import parse_options
from common.errors import UserError
from common.files import contents, reading
from common.outputs import check_out
from common.results.quantiles import quantile
from vae.score_errors import IMAGES, MeanError, MeanErrors, over_images
from vae.scores import ScoreSums

COLUMNS = ("run", "index", "inside", "logpx")
ABSENT = {"run": [""], "index": [""], "inside": [""], "logpx": ["", "NA", "NaN", "nan", "None", "null"]}
"""What stands for no value: a run or an example may be called NA or None."""
WHOLE = r"-?[1-9]\d{0,17}|0"
QUANTILES = (0.5, 0.95, 0.999)


@dataclass(frozen=True)
class ScoreOptions:
    """Memorization scores from a table: log p(x) of each example under each run."""

    logpx: str = ""
    """A .csv (or .csv.gz) file with the columns run, index, inside (1: the run was trained on the example, 0: it never
    saw it) and logpx (nats); one line for each run and example, other columns are ignored."""
    out: str = ""
    """The .csv (or .csv.gz) file to write: index, logpx_in, logpx_out, score, score_se, runs_in, runs_out."""
    json: bool = False
    """Print one JSON object (mean and quantiles of the scores) on standard output and nothing else there."""


def score_file(words: list[str]) -> None:
    """`python -m vae.memorization scores`: read, score, write, and say the mean and the quantiles.

    Raises:
        UserError: a file or a column is missing, a value is not what it should be, or no example was both inside and
            outside.
    """
    options = parse_options(ScoreOptions, "python -m vae.memorization scores", words)
    if not options.logpx:
        raise UserError("--logpx is missing: give the path of a .csv file")
    out = check_out(options.out, "--out", "SCORES.csv", [options.logpx])
    long = read_long(Path(options.logpx))
    table = score_table(long)
    if table.empty:
        raise UserError(f"'{options.logpx}': no index is inside one run and outside another: no score can be computed")
    record = summary(table, long)
    _write(out, table)
    left_out = long["index"].nunique() - len(table)
    if left_out:
        sys.stderr.write(f"{left_out} examples that were not both inside and outside have no score\n")
    if record["score_nats"]["se_over"] == IMAGES:
        sys.stderr.write(
            "the error of the mean is over images only, the runs as they are: that of the runs takes repeats of a "
            "partition into folds (3 or more, or several repeats), each run outside of one, with log p of all of them\n"
        )
    if options.json:
        sys.stdout.write(json.dumps({**record, "out": str(out)}) + "\n")
        return
    mean, n = record["score_nats"], record["n"]
    error = "" if mean["se"] is None else f" +- {mean['se']:.4f}"
    sys.stdout.write(f"mean score       {mean['value']:.4f}{error} nats over {mean['se_over']}, {n:,} examples\n")
    for q in QUANTILES:
        found = record[f"score_quantile_{q:g}_nats"]
        low, high = ("open" if found[end] is None else f"{found[end]:.4f}" for end in ("low", "high"))
        sys.stdout.write(f"quantile {q:<7g} {found['value']:.4f} nats  (95%: {low} .. {high})\n")


def read_long(path: Path) -> pd.DataFrame:
    """The columns run, index, inside (bool) and logpx of a file, checked.

    Raises:
        UserError: see `score_file`.
    """
    what = f"a readable .csv file with the columns {', '.join(COLUMNS)}"
    with reading(path, what, "write it again"):
        frame = pd.read_csv(
            io.BytesIO(contents(path)), encoding="utf-8-sig", usecols=lambda name: name in COLUMNS,
            dtype={"run": str, "index": str}, keep_default_na=False, na_values=ABSENT,
        )  # fmt: skip
    missing = [name for name in COLUMNS if name not in frame]
    if missing:
        raise UserError(f"'{path}' has no column '{missing[0]}': expected {', '.join(COLUMNS)}")
    if frame.empty:
        raise UserError(f"'{path}' has no rows: expected one for each run and example")
    if frame.isna().any(axis=None):
        line, name = next((int(row) + 2, name) for name in COLUMNS for row in np.flatnonzero(frame[name].isna()))
        raise UserError(f"'{path}', line {line}: {name} is empty or not a number")
    if not frame["inside"].isin([0, 1]).all():
        line = next(row for row, good in enumerate(frame["inside"].isin([0, 1])) if not good)
        raise UserError(f"'{path}', line {line + 2}: inside is {frame['inside'].iloc[line]}, expected 0 or 1")
    if frame["index"].isin(["True", "False"]).all():
        raise UserError(f"'{path}': index is True or False, expected the number or name of each example")
    if frame["logpx"].dtype.kind not in "iuf" or not np.isfinite(frame["logpx"]).all():
        raise UserError(f"'{path}': logpx has values that are not finite numbers")
    twice = frame.duplicated(["run", "index"])
    if twice.any():
        row = frame[twice].iloc[0]
        raise UserError(f"'{path}': index {row['index']} stands twice in run {row['run']}: expected one line for each")
    index = frame["index"]
    if index.str.fullmatch(WHOLE).all():  # numbers are sorted as such; 007 is a name, and not 7
        index = index.astype(np.int64)
    return frame.assign(inside=frame["inside"].astype(bool), index=index)


def score_table(long: pd.DataFrame) -> pd.DataFrame:
    """Scores of each index that was inside one run and outside another, sorted by index.

    Args:
        long: columns run, index, inside (bool), logpx (nats).

    >>> long = pd.DataFrame({"run": ["a", "b"], "index": [7, 7], "inside": [True, False], "logpx": [-1.0, -3.5]})
    >>> score_table(long)[["index", "score", "runs_in", "runs_out"]].values.tolist()
    [[7.0, 2.5, 1.0, 1.0]]
    """
    place, index = pd.factorize(long["index"], sort=True)
    sums = ScoreSums(len(index))
    inside, logpx = long["inside"].to_numpy(), long["logpx"].to_numpy(float)
    for rows in long.groupby("run", sort=True).indices.values():
        sums.add(logpx[rows], inside[rows], place[rows])
    found = sums.scores()
    table = pd.DataFrame(
        {
            "index": index, "logpx_in": found.logpx_in, "logpx_out": found.logpx_out, "score": found.score,
            "score_se": found.score_se, "runs_in": found.runs_in, "runs_out": found.runs_out,
        }
    )  # fmt: skip
    return table[(table["runs_in"] > 0) & (table["runs_out"] > 0)].reset_index(drop=True)


def summary(table: pd.DataFrame, long: pd.DataFrame) -> dict[str, Any]:
    """Number of examples, mean score with its error (`mean_error`) and what that is over, and quantiles, as JSON.

    The quantiles' bands are 95% over examples (`common.results.quantiles`); an end is null where the examples are too
    few to bound it.

    Args:
        table: what `score_table` gives.
        long: the table that it was made of.
    """
    scores = table["score"].to_numpy(float)
    error = mean_error(table, long)
    known = np.isfinite(error.se)
    mean = {"value": float(scores.mean()), "se": error.se if known else None, "df": error.df if known else None}
    record: dict[str, Any] = {"n": len(scores), "score_nats": mean | {"se_over": error.over}}
    for q in QUANTILES:
        found = quantile(scores, q)
        record[f"score_quantile_{q:g}_nats"] = {
            "value": found.value,
            "low": None if found.open_below else found.low,
            "high": None if found.open_above else found.high,
        }
    return record


def mean_error(table: pd.DataFrame, long: pd.DataFrame) -> MeanError:
    """The error of the mean score: over images and networks (`MeanErrors`) where the runs are repeats of a partition.

    Each run must then have log p of all scored examples, and the runs fall into groups in which every example is
    outside of one run, in the order of their names. Of other designs, random halves for one, it is that over images.
    """
    scores = table["score"].to_numpy(float)
    held = long[long["index"].isin(table["index"])]
    logpx = held.pivot_table(index="run", columns="index", values="logpx").reindex(columns=table["index"])
    inside = held.pivot_table(index="run", columns="index", values="inside").reindex(columns=table["index"])
    repeats = None if logpx.isna().any(axis=None) else partitions(~inside.to_numpy().astype(bool))
    if repeats is None or len(scores) < 2:
        return over_images(scores)
    errors = MeanErrors(len(scores))
    for rows, fold in repeats:
        errors.add(logpx.to_numpy()[rows][:, None], fold)
    return errors.found()[0]


def partitions(outside: np.ndarray) -> list[tuple[list[int], np.ndarray]] | None:
    """The repeats that runs make up: their runs, and which of them each example is outside of; None: they are none.

    A run joins the first repeat, in the order of the runs, in which none of its examples is outside yet.

    Args:
        outside: which examples each run never saw, bool (runs, n).

    >>> halves = np.array([[1, 1, 0, 0], [1, 0, 1, 0], [0, 1, 0, 1]], bool)
    >>> [runs for runs, _ in partitions(np.vstack([halves, ~halves[0]]))]
    [[0, 3], [1, 2]]
    >>> partitions(halves) is None
    True
    """
    found: list[tuple[list[int], np.ndarray]] = []
    for run, places in enumerate(outside):
        if not places.any():
            continue
        group = next((one for one in found if (one[1][places] < 0).all()), None)
        if group is None:
            group = ([], np.full(outside.shape[1], -1))
            found.append(group)
        group[1][places] = len(group[0])
        group[0].append(run)
    return found if found and all((fold >= 0).all() and len(runs) > 1 for runs, fold in found) else None


def _write(out: Path, table: pd.DataFrame) -> None:
    buffer = io.BytesIO()
    options: dict[str, Any] = {"method": "gzip", "mtime": 0} if out.suffix == ".gz" else {"method": None}
    table.to_csv(buffer, index=False, compression=options, lineterminator="\n")
    atomic.write_bytes(out, buffer.getvalue())
