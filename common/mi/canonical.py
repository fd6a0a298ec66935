"""Canonical coordinates of a pair: both sides white, and correlated coordinate by coordinate."""

from dataclasses import dataclass

import numpy as np

from common.mi.sides import Gaussianiser, fit_gaussianiser

Array = np.ndarray
LARGEST_RHO2 = 1 - 1e-9


@dataclass(frozen=True)
class Canonical:
    """Maps of both sides, fitted on one half of the data.

    Attributes:
        x_side: the invertible map of x to white coordinates.
        y_side: the same of y.
        x_rotation: orthogonal (dx, dx).
        y_rotation: orthogonal (dy, dy).
        rho: (dx,) correlations of the first min(dx, dy) coordinates, shrunk; 0 for the others.
    """

    x_side: Gaussianiser
    y_side: Gaussianiser
    x_rotation: Array
    y_rotation: Array
    rho: Array

    def __call__(self, x: Array, y: Array) -> tuple[Array, Array]:
        """Canonical coordinates (n, dx') and (n, dy') of pairs x, y."""
        return self.x_side(x) @ self.x_rotation, self.y_side(y) @ self.y_rotation


def fit_canonical(x: Array, y: Array) -> Canonical:
    """Canonical correlation analysis of the Gaussianised sides of pairs x (n, dx), y (n, dy)."""
    x_side, y_side = fit_gaussianiser(x), fit_gaussianiser(y)
    u, v = x_side(x), y_side(y)
    u, v = u - u.mean(0), v - v.mean(0)
    # Radial maps leave the sides white up to sampling error: the cross-covariance is taken between whitened ones.
    left, found, right = np.linalg.svd(_inverse_root(u) @ (u.T @ v / len(u)) @ _inverse_root(v), full_matrices=True)
    rho = np.zeros(u.shape[1])
    rho[: len(found)] = shrink(found, len(u), u.shape[1], v.shape[1])
    return Canonical(x_side, y_side, left, right.T, rho)


def shrink(rho: Array, n: int, dx: int, dy: int) -> Array:
    """Canonical correlations without what n independent pairs would show: rho^2 -> (rho^2 - c)/(1 - c), at least 0.

    c = (sqrt(dx) + sqrt(dy))^2 / n is the largest squared correlation of independent sides (Marchenko-Pastur).

    >>> shrink(np.array([0.05, 0.9]), 1000, 2, 2).round(3).tolist()
    [0.0, 0.899]
    """
    c = min((np.sqrt(dx) + np.sqrt(dy)) ** 2 / n, 0.5)
    return np.sqrt(np.clip((np.square(rho) - c) / (1 - c), 0, LARGEST_RHO2))


def _inverse_root(u: Array) -> Array:
    variances, directions = np.linalg.eigh(u.T @ u / len(u))
    return (directions / np.sqrt(np.maximum(variances, 1e-12))) @ directions.T
