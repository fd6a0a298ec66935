"""Slopes on logarithmic axes: none is shown where the points lie on no line."""

from dataclasses import dataclass

import numpy as np
from scipy import stats

LEVEL = 0.01
"""p of a line below which no slope is shown."""
NOTE = f"slope: least squares on logs over all seeds, 95% interval; none where p < {LEVEL:g} for a line"
"""What a slope is, for a figure's title."""


@dataclass(frozen=True)
class Slope:
    """Exponent b of y = c x^b with its 95% interval (NaN with fewer than three points)."""

    value: float
    low: float
    high: float
    intercept: float

    def __str__(self) -> str:
        """`-0.51 [-0.60, -0.42]`."""
        interval = f" [{self.low:.2f}, {self.high:.2f}]" if np.isfinite(self.low) else ""
        return f"{self.value:.2f}{interval}"

    def at(self, x: np.ndarray) -> np.ndarray:
        """The fitted curve c x^b."""
        return np.exp(self.intercept) * x**self.value


def fit_slope(x: np.ndarray, y: np.ndarray) -> Slope:
    """Least squares of log y on log x; the interval is Student's, from the residuals.

    Args:
        x: positive, at least two different values.
        y: positive.

    Raises:
        ValueError: a value is not positive, or x does not vary.

    >>> f"{fit_slope(np.array([1.0, 10.0, 100.0]), np.array([3.0, 0.3, 0.03])).value:.6f}"
    '-1.000000'
    """
    if np.any(x <= 0) or np.any(y <= 0) or np.unique(x).size < 2:
        raise ValueError("a log-log slope takes positive values at two or more places")
    fit = stats.linregress(np.log(x), np.log(y))
    half = stats.t.ppf(0.975, len(x) - 2) * fit.stderr if len(x) > 2 else np.nan
    return Slope(float(fit.slope), float(fit.slope - half), float(fit.slope + half), float(fit.intercept))


def lack_of_fit(x: np.ndarray, y: np.ndarray) -> float:
    """p-value of log y being linear in log x, from the spread of repeated values at one x (seeds).

    F = (SS of the line - SS of a mean at each x) / (number of x - 2) over SS of the means / (n - number of x). Without
    repetitions the F of a square of log x that is added to the line. NaN with fewer than three different x, too few
    points for either, or points that leave no spread.

    Args:
        x, y: as in `fit_slope`.
    """
    log_x, log_y = np.log(x), np.log(y)
    groups = [log_y[x == value] for value in np.unique(x)]
    within = float(sum(np.square(group - group.mean()).sum() for group in groups))
    more, rest = len(groups) - 2, len(x) - len(groups)
    if rest == 0:
        within, more, rest = _left_over(log_x, log_y, 2), 1, len(x) - 3
    line = _left_over(log_x, log_y, 1)
    if len(groups) < 3 or rest < 1 or within <= 1e-12 * line:
        return float("nan")
    return float(stats.f.sf((line - within) / more / (within / rest), more, rest))


def _left_over(x: np.ndarray, y: np.ndarray, degree: int) -> float:
    """Sum of squares that a polynomial leaves."""
    fitted = np.polynomial.Polynomial.fit(x, y, min(degree, len(x) - 1))
    return float(np.square(y - fitted(x)).sum())


@dataclass(frozen=True)
class PowerLaw:
    """A fitted slope, or that there is none: the points lie on no line.

    Attributes:
        slope: the fit; None where it describes nothing, p < `LEVEL`.
        p: of a line on logs (`lack_of_fit`), NaN where it cannot be told.
    """

    slope: Slope | None
    p: float

    @property
    def slope_text(self) -> str:
        """The slope for a cell of a table, `none` where there is none."""
        return "none" if self.slope is None else str(self.slope)

    @property
    def p_text(self) -> str:
        """p for a cell of a table, empty where it cannot be told."""
        return f"{self.p:.2g}" if np.isfinite(self.p) else ""

    def __str__(self) -> str:
        """`slope -0.51 [-0.60, -0.42]`, or `no power law (p = 3e-10)`."""
        return f"no power law (p = {self.p:.2g})" if self.slope is None else f"slope {self.slope}"


def power_law(x: np.ndarray, y: np.ndarray) -> PowerLaw:
    """Least squares of log y on log x over all points, each seed one, where a line describes them.

    This is what every slope of a figure, a table or a README goes through. Which x belong to one regime is its
    caller's to say, before the fit.

    Args:
        x, y: as in `fit_slope`.

    Raises:
        ValueError: as `fit_slope`.
    """
    found, p = fit_slope(x, y), lack_of_fit(x, y)
    return PowerLaw(None if p < LEVEL else found, p)
