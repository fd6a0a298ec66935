"""Gaussianised sides: densities are those of the maps, the right map is chosen, ties are spread without loss."""

import numpy as np
import pytest
from scipy.stats import norm

from common.mi.canonical import fit_canonical, shrink
from common.mi.sides import _fit, fit_gaussianiser, spread_ties


def student(n, d, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, d)) * np.sqrt(3 / rng.chisquare(3, (n, 1)))


@pytest.mark.parametrize("name", ["scores", "radial", "scores+radial"])
def test_log_density_is_that_of_the_map(name):
    # The log-determinant of the map, by finite differences at single points.
    x = student(2000, 3)
    side = _fit(name, x, np.arange(3))
    points = x[:20]
    found = side.map(points)[1]
    h = 1e-6
    for point, log_density in zip(points, found, strict=True):
        steps = np.concatenate([point + h * np.eye(3), point - h * np.eye(3)])
        mapped = side(steps)
        jacobian = (mapped[:3] - mapped[3:]) / (2 * h)
        expected = np.linalg.slogdet(jacobian)[1] - 0.5 * np.square(side(point[None])).sum()
        assert log_density == pytest.approx(expected, abs=2e-3)


def test_the_map_suits_the_law():
    rng = np.random.default_rng(0)
    assert fit_gaussianiser(student(4000, 4)).name == "radial"
    assert fit_gaussianiser(rng.standard_normal((4000, 4)) ** 3).name == "scores"
    assert fit_gaussianiser(rng.random((4000, 1))).name == "scores"


@pytest.mark.parametrize("d", [1, 4])
def test_new_points_come_out_white(d):
    white = fit_gaussianiser(student(4000, d))(student(4000, d, 1))
    assert np.abs(np.cov(white.T).reshape(d, d) - np.eye(d)).max() < 0.12
    assert np.abs((white**4).mean(0) - 3).max() < 0.5


def test_constant_and_collinear_coordinates_are_dropped():
    x = np.random.default_rng(0).standard_normal((500, 2))
    wide = np.column_stack([x, np.full(500, 7.0), x[:, 0]])
    side = fit_gaussianiser(wide)
    assert side.columns.tolist() == [0, 1, 3]
    assert side(wide).shape == (500, 2)


def test_spread_ties_can_be_undone():
    rng = np.random.default_rng(0)
    levels = np.array([0.0, 1.0, 4.0, 9.0])
    x = np.column_stack([levels[rng.integers(0, 4, 1000)], rng.standard_normal(1000), np.full(1000, 2.0)])
    spread = spread_ties(x, rng)
    assert len(np.unique(spread[:, 0])) == 1000
    assert (levels[np.digitize(spread[:, 0], [0.5, 2.5, 6.5])] == x[:, 0]).all()
    assert (spread[:, 1:] == x[:, 1:]).all()


def test_canonical_correlations():
    rng = np.random.default_rng(0)
    n, rho = 20_000, np.array([0.9, 0.3])
    g = rng.standard_normal((n, 5))
    x = g[:, :2]
    y = np.column_stack([rho * x + np.sqrt(1 - rho**2) * g[:, 2:4], g[:, 4]])
    mix = rng.standard_normal((3, 3))
    found = fit_canonical(norm.cdf(x), y @ mix)
    # sd of a sample correlation is (1 - rho^2)/sqrt(n); normal scores and shrinking add a little.
    assert np.allclose(found.rho, rho, atol=6 / np.sqrt(n))
    u, v = found(norm.cdf(x), y @ mix)
    between = u.T @ v / n
    assert np.abs(between - np.diag(found.rho) @ np.eye(2, 3)).max() < 6 / np.sqrt(n)


def test_independent_sides_have_no_correlation_left():
    rng = np.random.default_rng(0)
    pairs = rng.standard_normal((5, 2, 600, 3))
    hits = [(fit_canonical(x, y).rho == 0).all() for x, y in pairs]
    assert sum(hits) >= 4
    assert shrink(np.array([0.999999]), 100, 1, 1)[0] < 1
