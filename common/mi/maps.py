"""Monotone maps fitted to samples: a smooth, invertible change of one coordinate that gives it a chosen law."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.stats import chi, norm

Array = np.ndarray
KNOTS = (8, 100)
"""Least and largest number of knots. About sqrt(n) between them: few enough to smooth the noise of single points."""
FAR = 2.0
LEAST_SLOPE = 1e-12
"""Slopes of a map are at least this share of its mean slope."""


@dataclass(frozen=True)
class MonotoneMap:
    """An increasing, once differentiable map through knots (places, values), v -> f(v).

    Between the knots it is the monotone cubic of Fritsch and Carlson 1980; beyond them it goes on with the last slope
    and then logarithmically, and from e^FAR of the last steps beyond them on levels off: no outlier is sent more than
    FAR + 1 steps away, however far out it lies.

    Attributes:
        places: increasing (k,), in the unit of the data.
        values: increasing (k,), in the unit of the target.
    """

    places: Array
    values: Array

    def __call__(self, v: Array) -> tuple[Array, Array]:
        """Return f(v) and log f'(v), both of v's shape."""
        curve = PchipInterpolator(self.places, self.values)
        inside = np.clip(v, self.places[0], self.places[-1])
        mapped, slope = curve(inside), curve.derivative()(inside)
        for end, before, sign in ((-1, -2, 1.0), (0, 1, -1.0)):
            beyond = sign * (v - self.places[end])
            out = beyond > 0
            gap = abs(self.places[end] - self.places[before])
            step = abs(self.values[end] - self.values[before])
            far = np.log1p(np.maximum(beyond, 0) / gap)
            held = np.exp(-np.maximum(far - FAR, 0))  # 1 up to FAR, from where on the map levels off
            mapped = np.where(out, self.values[end] + sign * step * (np.minimum(far, FAR) + 1 - held), mapped)
            slope = np.where(out, held * step / (gap + np.maximum(beyond, 0)), slope)
        # Relative to the slope from end to end, so that the unit of the data does not matter.
        least = LEAST_SLOPE * (self.values[-1] - self.values[0]) / (self.places[-1] - self.places[0])
        return mapped, np.log(np.maximum(slope, least))


def fit_map(sample: Array, quantile: Callable[[Array], Array]) -> MonotoneMap:
    """The map that gives `sample` (n,) the law with quantile function `quantile`, through about sqrt(n) knots.

    The knots are evenly spaced in the target, from its 1/(2n) to its 1 - 1/(2n) quantile; where the sample has ties,
    knots that fall on one place are merged.

    >>> f = fit_map(np.exp(np.linspace(-2, 2, 101)), norm.ppf)
    >>> bool(abs(f(np.array([1.0]))[0][0]) < 0.05)
    True
    """
    n = len(sample)
    count = int(np.clip(np.sqrt(n), *KNOTS))
    low, high = quantile(np.array([0.5 / n, 1 - 0.5 / n]))
    levels = np.linspace(low, high, count)
    fractions = _invert(quantile, levels, n)
    places = np.quantile(sample, np.clip((fractions * n - 0.5) / (n - 1), 0, 1))
    places, first = np.unique(places, return_index=True)
    if len(places) < 2:
        places, first = np.array([sample.min(), sample.max()]), np.array([0, count - 1])
    return MonotoneMap(places, levels[first])


def normal_map(sample: Array) -> MonotoneMap:
    """The map of one coordinate (n,) to the standard normal law (its normal scores, smoothed)."""
    return fit_map(sample, norm.ppf)


def log_radius_map(log_radius: Array, d: int) -> MonotoneMap:
    """The map of log |x| (n,) to the law of log |g|, g ~ N(0, I) in d dimensions."""
    return fit_map(log_radius, lambda p: np.log(chi.ppf(p, d)))


def _invert(quantile: Callable[[Array], Array], levels: Array, n: int) -> Array:
    """The probabilities at which `quantile` takes these levels, by interpolation on a fine grid."""
    # Fine near both ends, where the quantile function is steep.
    t = np.linspace(norm.ppf(0.5 / n), norm.ppf(1 - 0.5 / n), 4001)
    p = norm.cdf(t)
    return np.interp(levels, quantile(p), p)
