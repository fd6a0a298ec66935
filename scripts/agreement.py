"""Do two sets of rows agree? Matching on settings, and a t-test of every measured column at one family-wise level."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from infolab.results import Column, Table

LEVEL = 0.01
"""Chance of a false alarm in the whole comparison, when nothing differs; half for single values, half for columns."""
SAME_SETTING = 1e-9
"""Settings that are numbers match within this relative difference."""
FLOOR = 1e-6
"""Relative standard error below which differences are rounding, not results."""


@dataclass(frozen=True)
class Matched:
    """The comparisons of one table, and the settings that only one side has.

    `tests` has one row for each setting and value column: the settings, column, yours and reference (means over seeds),
    se, z (difference over se), p, verdict ("same", "tested" or "one seed"). `missing` has a row where another share of
    a column's values is empty on one side than on the other: settings, column, empty_yours and empty_reference
    (shares), and `verdict`: "missing" where one side has no value and the other all of its own, over two seeds at
    least on both.
    """

    settings: list[str]
    tests: pd.DataFrame
    only_yours: pd.DataFrame
    only_reference: pd.DataFrame
    missing: pd.DataFrame


def compare(table: Table, yours: pd.DataFrame, reference: pd.DataFrame) -> Matched:
    """Match rows on every setting but the seed and test every value column.

    Args:
        table: the declaration of both frames' columns.
        yours: the user's rows.
        reference: the reference's rows.
    """
    settings = [column for column in table.columns if column.kind == "setting" and column.name != "seed"]
    names = [column.name for column in settings]
    labels = _labels(settings, yours, reference)
    mine, theirs = labels[: len(yours)], labels[len(yours) :]
    described = pd.concat([yours[names], reference[names]], ignore_index=True).groupby(labels).head(1)
    described.index = pd.Index(labels[described.index])
    errors = {column.error_of: column.name for column in table.columns if column.kind == "error"}
    tests = [
        pooled_test(_moments(yours, mine, name, errors.get(name)), _moments(reference, theirs, name, errors.get(name)))
        .assign(column=name)
        .join(described)
        for name in table.names("value")
    ]
    return Matched(
        names,
        pd.concat(tests).sort_index(kind="stable").reset_index(drop=True),
        described.loc[sorted(set(mine) - set(theirs))],
        described.loc[sorted(set(theirs) - set(mine))],
        pd.concat(
            [
                _missing(yours[name].isna(), mine, reference[name].isna(), theirs).assign(column=name).join(described)
                for name in table.names("value")
            ]
        ).reset_index(drop=True),
    )


def pooled_test(yours: pd.DataFrame, reference: pd.DataFrame) -> pd.DataFrame:
    """Student's t-test of two means over seeds with the pooled spread, the measurement errors added.

    se^2 = s^2 (1/n1 + 1/n2) + mean(e1^2)/n1 + mean(e2^2)/n2, at least FLOOR relative; s^2 is the variance over seeds
    pooled from both sides (if nothing differs it is one variance), e the standard error of one value. Degrees of
    freedom n1 + n2 - 2: exact for normal values, one seed on one side included. s holds the measurement errors already,
    so where there are any, and where both sides share seeds, the test is conservative. Where both sides have one seed,
    nothing tells a difference from chance and the verdict is "one seed". Values that are the same within FLOOR agree by
    definition.

    Args:
        yours: mean, var (empty for one seed), n, low, high and e2 (mean squared measurement error) by setting.
        reference: the same of the other side; settings of one side only are left out.

    Returns:
        Columns yours, reference, se, z, p, verdict by setting.
    """
    both = yours.add_suffix("_a").join(reference.add_suffix("_b"), how="inner")
    a, b = both["mean_a"], both["mean_b"]
    floor = FLOOR * np.maximum(a.abs(), b.abs())
    same = both["n_a"] == both["n_b"]
    for moment in ("mean", "low", "high"):
        same &= (both[f"{moment}_a"] - both[f"{moment}_b"]).abs() <= floor
    own_a, own_b = both["n_a"] - 1, both["n_b"] - 1
    spread = own_a * both["var_a"].fillna(0.0) + own_b * both["var_b"].fillna(0.0)
    freedom = own_a + own_b
    pooled = spread / freedom.where(freedom > 0)
    variance = pooled * (1 / both["n_a"] + 1 / both["n_b"]) + both["e2_a"] / both["n_a"] + both["e2_b"] / both["n_b"]
    se = np.sqrt(variance).clip(lower=floor)
    with np.errstate(divide="ignore", invalid="ignore"):
        z = ((a - b) / se).where(se > 0, 0.0)
    p = 2 * stats.t.sf(z.abs(), freedom)
    verdict = np.where(same, "same", np.where(variance.isna(), "one seed", "tested"))
    p = np.where(verdict == "tested", p, 1.0)
    return pd.DataFrame({"yours": a, "reference": b, "se": se, "z": z, "p": p, "verdict": verdict}, index=both.index)


def disagreeing(tests: pd.DataFrame) -> pd.DataFrame:
    """The tests whose p-value is below (LEVEL / 2) over their number (Bonferroni; identical values need no test)."""
    tested = tests[tests["verdict"] == "tested"]
    return tested[tested["p"] < LEVEL / 2 / max(1, len(tested))]


def disagreeing_columns(tests: pd.DataFrame) -> dict[str, float]:
    """Columns that are shifted as a whole, with their p-value: Simes' min over k of n p_(k) / k, over all settings.

    With few seeds one value must lie tens of standard errors off to stand out of hundreds; a shift of a whole column
    shows in far smaller ones. The level LEVEL / 2 is shared out over the columns of `tests` ("table: column").
    """
    tested = tests[tests["verdict"] == "tested"]
    combined = {}
    for name, p in tested.groupby("column")["p"]:
        ordered = np.sort(p.to_numpy(float))
        combined[str(name)] = float((len(ordered) * ordered / np.arange(1, len(ordered) + 1)).min())
    return {name: p for name, p in combined.items() if p < LEVEL / 2 / len(combined)}


def _missing(yours: pd.Series, mine: np.ndarray, reference: pd.Series, theirs: np.ndarray) -> pd.DataFrame:
    """Where the shares of empty values differ, by setting (see `Matched`)."""
    shares = [empty.groupby(labels).agg(["mean", "count"]) for empty, labels in ((yours, mine), (reference, theirs))]
    both = shares[0].add_suffix("_a").join(shares[1].add_suffix("_b"), how="inner")
    found = both[both["mean_a"] != both["mean_b"]]
    whole = (found["mean_a"] - found["mean_b"]).abs() == 1
    certain = whole & (found["count_a"] > 1) & (found["count_b"] > 1)
    return pd.DataFrame(
        {
            "empty_yours": found["mean_a"],
            "empty_reference": found["mean_b"],
            "verdict": np.where(certain, "missing", "some missing"),
        }
    )


def _moments(frame: pd.DataFrame, labels: np.ndarray, name: str, error: str | None) -> pd.DataFrame:
    rows = pd.DataFrame({"value": frame[name].to_numpy(float), "e2": 0.0, "label": labels})
    if error is not None:
        rows["e2"] = frame[error].to_numpy(float) ** 2
    groups = rows.dropna(subset=["value"]).groupby("label")
    moments = groups["value"].agg(mean="mean", var="var", n="count", low="min", high="max")
    return moments.assign(e2=groups["e2"].mean().fillna(0.0))


def _labels(settings: list[Column], yours: pd.DataFrame, reference: pd.DataFrame) -> np.ndarray:
    """An integer for every row of both frames, equal where all settings match."""
    codes = []
    for column in settings:
        both = pd.concat([yours[column.name], reference[column.name]], ignore_index=True)
        codes.append(_near(both.to_numpy(float)) if column.type is float else pd.factorize(both)[0])
    return np.unique(np.stack(codes, axis=1), axis=0, return_inverse=True)[1].ravel()


def _near(values: np.ndarray) -> np.ndarray:
    """Numbers of groups of values within SAME_SETTING of their neighbour in order; empty values are one group."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    with np.errstate(invalid="ignore"):
        apart = np.diff(ordered) > SAME_SETTING * np.abs(ordered[1:])
    apart |= np.isnan(ordered[1:]) & ~np.isnan(ordered[:-1])
    codes = np.empty(len(values), int)
    codes[order] = np.concatenate([[0], np.cumsum(apart)])
    return codes
