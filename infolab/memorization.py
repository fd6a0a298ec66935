"""Memorization scores: log p(x) under networks that were trained on x against networks that were not, with errors."""

import io
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from scipy.special import logsumexp

from infolab import atomic
from infolab.arrays import check_out
from infolab.config import called_as, parse_options
from infolab.errors import UserError, run_main
from infolab.files import contents, reading
from infolab.quantiles import quantile

# ----------
# Memorization scores: log p(x) under networks that were trained on x, against networks that were not.
#
# The log of a mean over few networks is too low by Jensen's inequality: by about sigma^2 / 2 divided by their number,
# with sigma^2 the variance over networks of log p(x). A grid has L networks on one side and (K - 1) L on the other, so
# its scores are biased upward by about (sigma^2 / 2) (1/L - 1/((K - 1) L)), also where nothing is memorized.


@dataclass(frozen=True)
class Scores:
    """Scores of n images (at E epochs).

    Attributes:
        logpx_in: logmeanexp of log p(x_i) over networks trained on x_i, (..., n), nats; NaN where there are none.
        logpx_out: the same over networks that never saw x_i.
        runs_in: number of networks trained on x_i, (n,).
        runs_out: number of those that never saw it, (n,).
        score_se: standard error of the score over networks, taken as independent (those of one repeat share most of
            their training images), (..., n); NaN with fewer than two on one side.
    """

    logpx_in: np.ndarray
    logpx_out: np.ndarray
    runs_in: np.ndarray
    runs_out: np.ndarray
    score_se: np.ndarray

    @property
    def score(self) -> np.ndarray:
        """M_i = logpx_in - logpx_out, (..., n), nats."""
        return self.logpx_in - self.logpx_out


class _Side:
    """Sums of w = p(x) and of w^2 over networks, as logarithms."""

    def __init__(self, shape: tuple[int, ...]):
        self.log_sum, self.log_squares = np.full(shape, -np.inf), np.full(shape, -np.inf)
        self.count = np.zeros(shape[-1], dtype=np.int64)

    def add(self, rows: np.ndarray, logpx: np.ndarray) -> None:
        self.log_sum[..., rows] = np.logaddexp(self.log_sum[..., rows], logpx)
        self.log_squares[..., rows] = np.logaddexp(self.log_squares[..., rows], 2 * logpx)
        self.count[rows] += 1

    def log_mean(self) -> np.ndarray:
        return np.where(self.count > 0, self.log_sum - np.log(np.maximum(self.count, 1)), np.nan)

    def squared_error(self) -> np.ndarray:
        """Squared relative standard error of the mean of w: (n sum w^2 / (sum w)^2 - 1) / (n - 1)."""
        many = self.count > 1
        squares, total = (np.where(many, part, 0.0) for part in (self.log_squares, self.log_sum))
        spread = self.count * np.exp(squares - 2 * total) - 1
        return np.where(many, np.maximum(spread, 0.0) / np.maximum(self.count - 1, 1), np.nan)


class ScoreSums:
    """M_i = logmeanexp_in log p(x_i) - logmeanexp_out log p(x_i), one network after the other (section 3.2 there).

    Only the sums are kept, so that a grid of any number of networks takes the memory of one.

    Args:
        n: number of images.
        epochs: leading dimensions, (E,) or ().

    >>> sums = ScoreSums(1)
    >>> for logpx, inside in ((-1.0, True), (-3.0, True), (-4.0, False)):
    ...     sums.add(np.array([logpx]), np.array([inside]))
    >>> float(sums.scores().score[0].round(4)) == round(float(np.log((np.exp(-1) + np.exp(-3)) / 2) + 4), 4)
    True
    """

    def __init__(self, n: int, epochs: tuple[int, ...] = ()):
        self.n = n
        self._in, self._out = (_Side((*epochs, n)) for _ in range(2))

    def add(self, logpx: np.ndarray, inside: np.ndarray, rows: np.ndarray | None = None) -> None:
        """Add one network.

        Args:
            logpx: log p(x_i) in nats, (..., r).
            inside: whether it was trained on x_i, bool (r,).
            rows: which images, int (r,), each once; None: all of them.
        """
        rows = np.arange(self.n) if rows is None else rows
        logpx = np.asarray(logpx, dtype=np.float64)
        self._in.add(rows[inside], logpx[..., inside])
        self._out.add(rows[~inside], logpx[..., ~inside])

    def scores(self) -> Scores:
        """The scores of what was added so far."""
        error = np.sqrt(self._in.squared_error() + self._out.squared_error())
        return Scores(self._in.log_mean(), self._out.log_mean(), self._in.count, self._out.count, error)


# ----------
# The error of a mean memorization score, from what the networks of its repeats say of each other.


@dataclass(frozen=True)
class MeanError:
    """Standard error of a mean score.

    Attributes:
        se: standard error over `over`, nats; NaN for a single image.
        df: degrees of freedom of its square.
        over: "images and networks"; "images" where the networks' share cannot be told, so that they count as fixed.
    """

    se: float
    df: float
    over: str

    @property
    def half(self) -> float:
        """Half-width of the 95% interval, Student's t."""
        return float(self.se * stats.t.ppf(0.975, self.df))

    def __str__(self) -> str:
        """`0.01`, or `0.01 (over images only)`."""
        return f"{self.se:.2g}" + ("" if self.over == IMAGES_AND_NETWORKS else " (over images only)")


IMAGES_AND_NETWORKS, IMAGES = "images and networks", "images"


def over_images(scores: np.ndarray) -> MeanError:
    """s / sqrt(n) of n scores: the networks as they are."""
    n = len(scores)
    return MeanError(float(np.std(scores, ddof=1) / n**0.5) if n > 1 else float("nan"), max(n - 1, 1), IMAGES)


class MeanErrors:
    """The error of the mean score of n images under L repeats of a partition into K folds, one repeat at a time.

    A network that is better than the others raises log p(x) of all images, on the outside in its fold and inside
    elsewhere: that cancels in the mean of a repeat, T_r, but in no sum over the images of a fold. So a fold is left out
    with its images and its network at once: T_r(-k) is the mean score of the images outside of fold k, by the other
    K - 1 networks, and any level that a network has cancels in it too. The delete-a-group jackknife

        v_r = (K - 1)/K sum_k (T_r(-k) - mean)^2

    is the variance of T_r over images and networks. The images are the same in every repeat: with A the share of what
    they have in common (the mean covariance over images of their scores in two repeats, over n), and R that of the
    networks and folds, estimated by s^2, the variance of T_r over repeats, with L - 1 degrees of freedom, and by the
    mean of v_r - A, with L (K - 1), each weighted by its own,

        Var = A + R / L,

    for L = 1 just v_1. Degrees of freedom are Satterthwaite's. With K = 2 nothing is left to be scored without a fold:
    then R is s^2 alone, and with one repeat the error is that over images, and says so. Where levels lie a nat apart
    the log of a mean follows the best networks: T_r is skewed, and 95% intervals of one repeat then cover 87% or so,
    while the score of several repeats together varies less than the mean of T_r, and is covered more often.

    Args:
        n: number of images, at least 2.
        epochs: leading dimension of log p(x), E.
    """

    def __init__(self, n: int, epochs: int = 1):
        self.n = n
        self._sum, self._within = np.zeros((epochs, n)), np.zeros(epochs)
        self._means: list[np.ndarray] = []
        self._jackknifed: list[np.ndarray] = []
        self._freedom = 0.0

    def add(self, logpx: np.ndarray, fold: np.ndarray) -> None:
        """Add one repeat.

        Args:
            logpx: log p(x_i) of every image under every network of the repeat, (K, E, n), nats.
            fold: the network, 0 .. K - 1, that never saw the image (n,).
        """
        K, image = len(logpx), np.arange(self.n)
        inside = np.array(logpx, dtype=np.float64)
        outside = inside[fold, :, image].T
        inside[fold, :, image] = -np.inf
        scores = logsumexp(inside, axis=0) - np.log(K - 1) - outside
        self._sum += scores
        self._within += scores.var(1, ddof=1)
        self._means.append(scores.mean(1))
        if K == 2:
            return
        without = _sums_without_one(inside)
        left = [
            (without[k][:, fold != k] - np.log(K - 2) - outside[:, fold != k]).mean(1) for k in range(K)
        ]  # fmt: skip
        self._jackknifed.append((K - 1) * np.var(left, axis=0))
        self._freedom += K - 1

    def found(self) -> list[MeanError]:
        """The error of the mean over what was added, at each epoch."""
        L = len(self._means)
        if not self._jackknifed and L == 1:
            return [over_images(row) for row in self._sum]
        jackknifed = np.mean(self._jackknifed, axis=0) if self._jackknifed else np.zeros(len(self._sum))
        if L == 1:
            return [MeanError(float(v) ** 0.5, self._freedom, IMAGES_AND_NETWORKS) for v in jackknifed]
        # sum_{r != s} cov(M_r, M_s) over images, from the variance of the sum less those of the repeats.
        common = (self._sum.var(1, ddof=1) - self._within) / (L * (L - 1))
        images = np.maximum(common, 0.0) / self.n
        spread = np.var(self._means, axis=0, ddof=1)
        freedom = self._freedom + L - 1
        networks = ((L - 1) * spread + self._freedom * np.maximum(jackknifed - images, 0.0)) / freedom / L
        variance = images + networks
        with np.errstate(divide="ignore", invalid="ignore"):
            df = np.square(variance) / (np.square(images) / (self.n - 1) + np.square(networks) / freedom)
        df = np.where(np.isfinite(df), df, freedom)
        return [MeanError(float(v) ** 0.5, float(d), IMAGES_AND_NETWORKS) for v, d in zip(variance, df, strict=True)]


def _sums_without_one(logs: np.ndarray) -> np.ndarray:
    """log sum_{j != k} exp(logs_j) for each k of the first axis, of the same shape."""
    nothing = np.full_like(logs[:1], -np.inf)
    before = np.concatenate([nothing, np.logaddexp.accumulate(logs[:-1])])
    after = np.concatenate([np.logaddexp.accumulate(logs[:0:-1])[::-1], nothing])
    return np.logaddexp(before, after)


# ----------
# Memorization scores from a table of one's own: log p of each example under each run, and whether it was inside.

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


def main() -> None:
    """`infolab memorization`: scores of the examples of --logpx, written to --out."""
    run_main(lambda: score_file(sys.argv[1:]))


def score_file(words: list[str]) -> None:
    """`python -m vae.memorization scores`: read, score, write, and say the mean and the quantiles.

    Raises:
        UserError: a file or a column is missing, a value is not what it should be, or no example was both inside and
            outside.
    """
    options = parse_options(ScoreOptions, called_as("python -m vae.memorization scores"), words)
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

    The quantiles' bands are 95% over examples (`infolab.quantiles`); an end is null where the examples are too
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
