"""Gaussianised sides: densities are those of the maps, the right map is chosen, ties are spread without loss."""

import numpy as np
import pytest
from scipy.stats import norm

from infolab.errors import RunFailedError
from infolab.mi.pairs import fit_canonical, null_edge, shrink
from infolab.mi.sides import _fit, fit_gaussianiser


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


def test_a_coordinate_may_vary_in_the_last_rows_only():
    x = np.random.default_rng(0).standard_normal((500, 3))
    x[:430, 1] = 0
    side = fit_gaussianiser(x)
    assert side.columns.tolist() == [0, 1, 2]
    assert np.isfinite(side(x)).all()
    x[:430] = 0
    assert np.isfinite(fit_gaussianiser(x)(x)).all()


@pytest.mark.parametrize("scale", [1e-9, 1e12])
def test_the_unit_of_the_data_does_not_matter(scale):
    x = np.random.default_rng(0).standard_t(4, (800, 2))
    plain, scaled = fit_gaussianiser(x), fit_gaussianiser(x * scale)
    assert plain.name == scaled.name
    assert np.allclose(plain(x), scaled(x * scale), atol=1e-6)


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


@pytest.mark.parametrize(("n", "dx", "dy"), [(400, 10, 150), (1000, 100, 300), (300, 4, 4)])
def test_the_edge_of_independent_sides(n, dx, dy):
    # Wachter's law has no mass above the edge; the largest sample value fluctuates about it by n^(-2/3).
    rng = np.random.default_rng(0)
    largest = []
    for _ in range(5):
        u, v = (np.linalg.qr(rng.standard_normal((n, d)))[0] for d in (dx, dy))
        largest.append(np.linalg.svd(u.T @ v, compute_uv=False)[0] ** 2)
    assert np.mean(largest) == pytest.approx(null_edge(n, dx, dy), abs=2 * n ** (-2 / 3))


def test_more_coordinates_than_pairs_are_no_evidence():
    assert null_edge(100, 60, 40) == 1
    assert (shrink(np.ones(40), 100, 60, 40) == 0).all()
    with pytest.raises(RunFailedError, match="one side determines the other"):
        shrink(np.array([1.0]), 100, 1, 1)
