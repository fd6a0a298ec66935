"""One side of the pair made nearly Gaussian by an invertible map, ties made continuous, dependent rows noticed."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.stats import chi, iqr, norm, rankdata, t

from infolab.errors import UserError

# ----------
# Monotone maps fitted to samples: a smooth, invertible change of one coordinate that gives it a chosen distribution.

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
    """The map that gives `sample` (n,) the distribution with quantile function `quantile`, through about sqrt(n) knots.

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
    """The map of one coordinate (n,) to the standard normal distribution (its normal scores, smoothed)."""
    return fit_map(sample, norm.ppf)


def log_radius_map(log_radius: Array, d: int) -> MonotoneMap:
    """The map of log |x| (n,) to the distribution of log |g|, g ~ N(0, I) in d dimensions."""
    return fit_map(log_radius, lambda p: np.log(chi.ppf(p, d)))


def _invert(quantile: Callable[[Array], Array], levels: Array, n: int) -> Array:
    """The probabilities at which `quantile` takes these levels, by interpolation on a fine grid."""
    # Fine near both ends, where the quantile function is steep.
    t = np.linspace(norm.ppf(0.5 / n), norm.ppf(1 - 0.5 / n), 4001)
    p = norm.cdf(t)
    return np.interp(levels, quantile(p), p)


# ----------
# One side of the pair (x or y) made nearly Gaussian by an invertible map, which does not change mutual information.

LEAST_VARIANCE = 1e-8
"""Directions with less than this share of the largest variance are linear combinations of the others: dropped."""


@dataclass(frozen=True)
class Gaussianiser:
    """x -> white coordinates, with the log-density that the map gives to x if they are N(0, I).

    Attributes:
        name: "scores" (coordinate-wise normal scores), "radial" (the radius alone is mapped, which makes elliptical
            distributions with heavy tails Gaussian) or "scores+radial".
        columns: indices of the coordinates that vary.
        coordinates: one map for each of them; empty for "radial".
        center: (d,) subtracted before whitening.
        whiten: (d, d') matrix.
        radius: the map of log |white|, None for "scores".
    """

    name: str
    columns: Array
    coordinates: tuple[MonotoneMap, ...]
    center: Array
    whiten: Array
    radius: MonotoneMap | None

    def __call__(self, x: Array) -> Array:
        """White coordinates (n, d') of x (n, d)."""
        return self.map(x)[0]

    def map(self, x: Array) -> tuple[Array, Array]:
        """White coordinates (n, d') and the log-density (n,) of x, up to a constant that all three maps share."""
        values = x[:, self.columns]
        log_slope = np.zeros(len(x))
        if self.coordinates:
            values, slopes = _through(self.coordinates, values)
            log_slope = slopes.sum(1)
        white = (values - self.center) @ self.whiten
        log_slope = log_slope + np.log(np.linalg.svd(self.whiten, compute_uv=False)).sum()
        if self.radius is not None:
            white, stretch = _map_radius(self.radius, white)
            log_slope = log_slope + stretch
        return white, log_slope - 0.5 * np.square(white).sum(1)


def fit_gaussianiser(x: Array) -> Gaussianiser:
    """The most likely of the three maps, each fitted on four fifths of x (n, d) and judged on the rest; then refitted.

    One coordinate has normal scores only: there they make it Gaussian.
    """
    names = ("scores", "radial", "scores+radial")
    columns, cut = varying(x), len(x) * 4 // 5
    judged = varying(x[:cut])  # a coordinate may vary in a few rows only
    if len(judged) < 2:
        return _fit("scores", x, columns)
    fitted = [_fit(name, x[:cut], judged) for name in names]
    # A fifth may hold a value so far out that its density decides alone: the trimmed mean does not hang on it.
    scores = [np.sort(one.map(x[cut:])[1])[len(x) // 200 :].mean() for one in fitted]
    return _fit(names[int(np.argmax(scores))], x, columns)


def varying(x: Array) -> Array:
    """Indices of the coordinates of x (n, d) that are not constant."""
    return np.flatnonzero(np.ptp(x, axis=0) > 0)


def _fit(name: str, x: Array, columns: Array) -> Gaussianiser:
    values = x[:, columns]
    maps = tuple(normal_map(column) for column in values.T)
    scores = _through(maps, values)[0] if maps else values
    if name == "radial":
        # The covariance of heavy tails hardly settles: correlations of normal scores and quartiles do.
        center, quartiles = np.median(values, axis=0), iqr(values, axis=0) / (2 * norm.ppf(0.75))
        scale = np.where(quartiles > 0, quartiles, values.std(0))
        covariance = np.atleast_2d(np.corrcoef(scores.T)) * scale * scale[:, None]
    else:
        center = scores.mean(0)
        covariance = np.cov(scores.T).reshape(len(columns), len(columns))
    whiten = _whitening(covariance)
    radius = None
    if name != "scores":
        white = ((scores if name != "radial" else values) - center) @ whiten
        radius = log_radius_map(np.log(np.linalg.norm(white, axis=1) + 1e-12), white.shape[1])
    return Gaussianiser(name, columns, () if name == "radial" else maps, center, whiten, radius)


def _through(maps: tuple[MonotoneMap, ...], values: Array) -> tuple[Array, Array]:
    mapped = [one(column) for one, column in zip(maps, values.T, strict=True)]
    return np.stack([value for value, _ in mapped], 1), np.stack([slope for _, slope in mapped], 1)


def _whitening(covariance: Array) -> Array:
    variances, directions = np.linalg.eigh(covariance)
    kept = variances > LEAST_VARIANCE * max(variances.max(initial=0.0), 1e-300)
    return directions[:, kept] / np.sqrt(variances[kept])


def _map_radius(radius: MonotoneMap, white: Array) -> tuple[Array, Array]:
    """x rho(r)/r and its log-determinant: log rho'(r) + (d-1) log(rho/r) = log(d log rho / d log r) + d log(rho/r)."""
    log_r = np.log(np.linalg.norm(white, axis=1) + 1e-12)
    log_rho, log_slope = radius(log_r)
    return white * np.exp(log_rho - log_r)[:, None], log_slope + white.shape[1] * (log_rho - log_r)


# ----------
# Coordinates with atoms (zeros, clipped values, grey levels, counts) made continuous without loss of information.

LUMP = 0.01
"""A lump is a run of values that holds this share of the examples (four of them at least) ..."""
ROOM = 0.02
"""... in less than this share of the room that the standard normal law gives it, after the smooth map to that law."""


def spread_ties(x: Array, rng: np.random.Generator, groups: Array | None = None) -> Array:
    """Each coordinate of x (n, d) with tied values spread by uniform noise, so that it has no atoms.

    The noise keeps the order, so that each value can be read off again, and does not depend on the other side: mutual
    information stays what it was. A few ties (of rounding, say) are spread half-way to their neighbours. A coordinate
    with lumps, which the smooth map of `infolab.mi.sides` cannot flatten, becomes the normal scores of its ranks, with
    tied values at random within their ranks. Coordinates without ties and lumps, and constant ones, are returned as
    they are.

    Args:
        x: (n, d).
        rng: of the noise.
        groups: (n,) which rows are copies of one example, 0 .. k-1: copies are no ties and stay equal.
    """
    if groups is not None:
        _, first, place = np.unique(groups, return_index=True, return_inverse=True)
        if len(first) < len(x):
            return spread_ties(x[first], rng)[place.reshape(-1)]
    out = x.astype(np.float64)
    for column in out.T:
        levels, index, counts = np.unique(column, return_inverse=True, return_counts=True)
        if len(levels) == 1:
            continue
        if has_lumps(column):
            column[:] = _scores(column, counts[index], rng)
        elif len(levels) < len(column):
            column[:] = _within_steps(column, levels, index, counts, rng)
    return out


def has_lumps(column: Array) -> bool:
    """Whether the smooth map to a normal leaves lumps in this coordinate (n,): atoms, or values close to them.

    >>> rng = np.random.default_rng(0)
    >>> x = rng.exponential(size=500)
    >>> has_lumps(x), has_lumps(np.where(rng.random(500) < 0.3, 0, x))
    (False, True)
    """
    ordered = np.sort(column)
    n, size = len(ordered), max(int(LUMP * len(ordered)), 4)
    if n <= size:
        return False
    scores, _ = normal_map(ordered)(ordered)
    expected = norm.ppf((np.arange(n) + 0.5) / n)
    return bool((scores[size:] - scores[:-size] < ROOM * (expected[size:] - expected[:-size])).any())


def rank_scores(x: Array) -> Array:
    """Normal scores of the ranks of each coordinate of x (n, d); ties have the score of their middle rank."""
    return norm.ppf((rankdata(x, axis=0) - 0.5) / len(x))


def _scores(column: Array, counts: Array, rng: np.random.Generator) -> Array:
    lowest = rankdata(column, method="min") - 1
    within = np.where(counts > 1, rng.random(len(column)), 0.5)
    # A uniform number may be 0, whose score is infinite.
    return norm.ppf(np.maximum(lowest + counts * within, 1e-9) / len(column))


def _within_steps(column: Array, levels: Array, index: Array, counts: Array, rng: np.random.Generator) -> Array:
    """Tied values spread half-way to the neighbouring levels (at either end by as much as on the other side)."""
    half = np.diff(levels) / 2
    below, above = np.concatenate([half[:1], half]), np.concatenate([half, half[-1:]])
    u = rng.random(len(column))
    return np.where(counts[index] > 1, column - below[index] + u * (below + above)[index], column)


# ----------
# Rows that are not independent draws (time series, patches of one image): noticed, and taken in blocks on request.

LAGS = 8
DOUBT = 5.0
"""Standard errors 1/sqrt(n) by which a lag correlation must differ from 0 to be noticed ..."""
LEAST = 0.1
"""... and its least size."""
LEAST_BLOCKS = 10
Z95 = 1.96


def lag_correlation(side: Array) -> tuple[float, int]:
    """The largest correlation, in size, between the ranks of a coordinate of (n, d) and itself 1 to 8 rows on; its lag.

    >>> round(lag_correlation(np.arange(40.0)[:, None])[0], 1)
    0.9
    """
    columns = varying(side)
    if len(columns) == 0 or len(side) <= 2 * LAGS:
        return 0.0, 0
    scores = rank_scores(side[:, columns])
    scores = (scores - scores.mean(0)) / scores.std(0)
    n = len(scores)
    found = [float(np.abs((scores[lag:] * scores[:-lag]).sum(0) / n).max()) for lag in range(1, LAGS + 1)]
    return max(found), 1 + int(np.argmax(found))


def dependence_warning(x: Array, y: Array) -> str:
    """What to say where both sides are alike in rows that are close to each other; empty where they are not.

    Where only one side is, the pairs still say as much as independent ones of whether x and y depend on each other.
    """
    least = max(LEAST, DOUBT / math.sqrt(len(x)))
    (in_x, lag), (in_y, _) = lag_correlation(x), lag_correlation(y)
    if min(in_x, in_y) < least:
        return ""
    return (
        f"rows that are close to each other are alike (correlation up to {in_x:.2f} in x, at lag {lag}, and {in_y:.2f} "
        "in y): unless independent pairs were only sorted, the value and its error cannot be trusted; give --blocks N, "
        "N blocks of consecutive rows that are long enough to be nearly independent"
    )


def block_numbers(n: int, blocks: int) -> Array:
    """Which of `blocks` blocks of consecutive rows, of equal size up to one, each of n rows lies in.

    Raises:
        UserError: too few blocks for an error, or fewer than two rows a block.
    """
    if not LEAST_BLOCKS <= blocks <= n // 2:
        raise UserError(f"--blocks {blocks} of {n} rows: expected from {LEAST_BLOCKS} to {n // 2}")
    return np.arange(n) * blocks // n


def block_halves(numbers: Array) -> tuple[Array, Array]:
    """The first and the second half of the rows, cut between two blocks; as many rows of each."""
    n = len(numbers)
    starts = np.flatnonzero(np.diff(numbers)) + 1
    cut = int(starts[np.abs(starts - n // 2).argmin()])
    size = min(cut, n - cut)
    return np.arange(size), np.arange(cut, cut + size)


def widened(blocks: int) -> float:
    """By how much an error over so few blocks is too small for an interval of 1.96 of them: Student's t over it.

    >>> round(widened(20), 3)
    1.068
    """
    return float(t.ppf(0.975, blocks - 1)) / Z95
