"""Which rows of the scoregen tables a figure shows: the largest study of each kind, and how its settings are said."""

from pathlib import Path

import numpy as np
import pandas as pd
from scipy import optimize

from scripts import select

KL = "scoregen/kl"
RUN = ["n", "width", "network", "scaling", "init", "optimizer", "lr", "batch"]
"""Columns that say which study a row belongs to."""


def kl_rows(results: Path, sweep: str, **settings: object) -> tuple[pd.DataFrame, str]:
    """Rows of `scoregen/kl` of one sweep with these settings, and whose they are.

    Raises:
        NoRowsError: there are none.
    """

    return select.rows_or_reference(results, KL, lambda frame: kl_of(frame, sweep, **settings))


def kl_of(frame: pd.DataFrame, sweep: str, **settings: object) -> pd.DataFrame:
    """Of rows of `scoregen/kl`, those of one sweep with these settings.

    Raises:
        NoRowsError: there are none.
    """
    words = [sweep.replace("_", " "), *(f"{name} {item}" for name, item in settings.items())]
    return select.some(select.only(frame, sweep=sweep, **settings), f"rows of {', '.join(words)}")


def largest(rows: pd.DataFrame, by: list[str], count: str) -> pd.DataFrame:
    """Of the groups of equal `by`, the one with the most epochs, then the most values of `count`, then the widest.

    Raises:
        NoRowsError: there are no rows.
    """
    groups = select.some([group for _, group in rows.groupby(by)], "rows")
    best = max(
        groups, key=lambda group: (group["epoch"].max(), group[count].nunique(), group["width"].max(), len(group))
    )
    keys = [name for name in ("mu", "seed", "epoch", "x") if name in best]
    return best.drop_duplicates(keys, keep="last").sort_values(keys)


def at_best(rows: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """The row of least KL over training time (early stopping by the exact KL) of each group of equal `by`."""
    finite = rows.dropna(subset=["kl_nats"])
    return finite.loc[finite.groupby(by)["kl_nats"].idxmin()]


def setting(rows: pd.DataFrame) -> str:
    """Optimiser, batch and width of a study, for a panel's title."""
    first = rows.iloc[0]
    names = {"adam": "Adam", "sgd": "SGD", "flow": "gradient flow"}
    text = names[first["optimizer"]]
    if first["optimizer"] != "flow":
        text += f" {first['lr']:g}, " + ("full batch" if first["batch"] == first["n"] else f"batch {first['batch']:,}")
    return f"{text}, width {first['width']:,}"


def bound_terms(tau: np.ndarray, n: np.ndarray, m: np.ndarray) -> np.ndarray:
    """The four terms of the theorem's bound without their constants: tau^4/(m n), tau^3/m^2, 1/tau, 1/m; (rows, 4)."""
    return np.stack([tau**4 / (m * n), tau**3 / m**2, 1 / tau, 1 / m], axis=1)


def fit_bound(tau: np.ndarray, n: np.ndarray, m: np.ndarray, kl: np.ndarray) -> np.ndarray:
    """Constants c >= 0 (4,) of sum_i c_i term_i that follow `kl` best, by least squares on logs."""
    terms = bound_terms(tau, n, m)

    def residual(log_c: np.ndarray) -> np.ndarray:
        return np.log(terms @ np.exp(log_c)) - np.log(kl)

    # Each term alone, made as large as the KL allows at its largest and in its middle, are the starts.
    ratios = kl[:, None] / terms
    starts = [np.log(np.quantile(ratios, q, axis=0)) for q in (0.0, 0.05, 0.25)]
    fits = [optimize.least_squares(residual, start, bounds=(-200.0, 50.0)) for start in starts]
    return np.exp(min(fits, key=lambda fit: fit.cost).x)
