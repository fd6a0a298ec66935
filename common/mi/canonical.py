"""Canonical coordinates of a pair: both sides white, and correlated coordinate by coordinate."""

from dataclasses import dataclass

import numpy as np

from common.errors import RunFailedError
from common.mi.sides import Gaussianiser, fit_gaussianiser

Array = np.ndarray
LARGEST_RHO2 = 1 - 1e-12
"""Squared correlations from here on (13.8 nats a coordinate) cannot be told from 1 in double precision."""
DETERMINED = (
    "the estimate of the mutual information is not finite: where one side determines the other it is infinite; "
    "check the data for coordinates that x and y share"
)


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


def fit_canonical(x: Array, y: Array, draws: int | None = None) -> Canonical:
    """Canonical correlation analysis of the Gaussianised sides of pairs x (n, dx), y (n, dy).

    Args:
        x: one side.
        y: the other.
        draws: how many independent draws the n pairs are worth; None: n.

    Raises:
        RunFailedError: one side determines a coordinate of the other.
    """
    x_side, y_side = fit_gaussianiser(x), fit_gaussianiser(y)
    u, v = x_side(x), y_side(y)
    u, v = u - u.mean(0), v - v.mean(0)
    # Radial maps leave the sides white up to sampling error: the cross-covariance is taken between whitened ones.
    left, found, right = np.linalg.svd(_inverse_root(u) @ (u.T @ v / len(u)) @ _inverse_root(v), full_matrices=True)
    rho = np.zeros(u.shape[1])
    rho[: len(found)] = shrink(found, draws or len(u), u.shape[1], v.shape[1])
    return Canonical(x_side, y_side, left, right.T, rho)


def null_edge(n: int, dx: int, dy: int) -> float:
    """The largest squared sample canonical correlation of n pairs of independent sides (Wachter 1980).

    (sqrt(c1 (1 - c2)) + sqrt(c2 (1 - c1)))^2 with c1 = dx/n, c2 = dy/n; 1 where c1 + c2 >= 1.

    >>> round(null_edge(200, 10, 150), 3), null_edge(100, 90, 10)
    (0.914, 1.0)
    """
    c1, c2 = dx / n, dy / n
    if c1 + c2 >= 1:
        return 1.0
    return float((np.sqrt(c1 * (1 - c2)) + np.sqrt(c2 * (1 - c1))) ** 2)


def shrink(rho: Array, n: int, dx: int, dy: int) -> Array:
    """Canonical correlations without what n independent pairs would show: rho^2 -> (rho^2 - c)/(1 - c), at least 0.

    c is `null_edge`: correlations below it are no evidence of any.

    >>> shrink(np.array([0.05, 0.9]), 1000, 2, 2).round(3).tolist()
    [0.0, 0.899]

    Raises:
        RunFailedError: a correlation cannot be told from 1, which n independent pairs would not show.
    """
    c = null_edge(n, dx, dy)
    if c >= 1:
        return np.zeros_like(rho)
    if np.square(rho).max(initial=0.0) >= LARGEST_RHO2:
        raise RunFailedError(DETERMINED)
    return np.sqrt(np.clip((np.square(rho) - c) / (1 - c), 0, 1))


def _inverse_root(u: Array) -> Array:
    variances, directions = np.linalg.eigh(u.T @ u / len(u))
    return (directions / np.sqrt(np.maximum(variances, 1e-12))) @ directions.T
