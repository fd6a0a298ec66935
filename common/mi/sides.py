"""One side of the pair (x or y) made nearly Gaussian by an invertible map, which does not change mutual information."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import iqr, norm

from common.mi.maps import MonotoneMap, log_radius_map, normal_map

Array = np.ndarray
LEAST_VARIANCE = 1e-8
"""Directions with less than this share of the largest variance are linear combinations of the others: dropped."""


@dataclass(frozen=True)
class Gaussianiser:
    """x -> white coordinates, with the log-density that the map gives to x if they are N(0, I).

    Attributes:
        name: "scores" (coordinate-wise normal scores), "radial" (the radius alone is mapped, which makes elliptical
            laws with heavy tails Gaussian) or "scores+radial".
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
