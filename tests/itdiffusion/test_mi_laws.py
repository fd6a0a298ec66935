"""Closed forms of the laws against densities, quadrature and sampling."""

import math

import numpy as np
import pytest
from scipy import stats

from itdiffusion.mi_table import (
    LAWS,
    additive_information,
    classes,
    dense,
    gaussian_information,
    information_of,
    sparse,
    spiral,
    student_information,
    swiss_roll,
    wiggle,
)


@pytest.mark.parametrize("name", LAWS)
def test_shapes_are_what_the_name_says_and_the_seed_decides(name):
    x, y = LAWS[name].sample(50, np.random.default_rng(0))
    again = LAWS[name].sample(50, np.random.default_rng(0))
    assert (x == again[0]).all()
    assert (y == again[1]).all()
    sizes = [part for part in name.split("-") if "+" in part and part[0].isdigit()]
    if sizes:
        assert f"{x.shape[1]}+{y.shape[1]}" == sizes[0]
    assert 0 <= LAWS[name].truth_nats < 4


@pytest.mark.parametrize(("d", "published"), [(2, 0.1108), (3, 0.1787), (5, 0.2985)])
def test_student_information_by_its_densities(d, published):
    # I = E log p(x, y) - log p(x) - log p(y), multivariate t densities.
    x, y = LAWS[f"student-{d}+{d}"].sample(40_000, np.random.default_rng(1))
    both, side = (stats.multivariate_t(np.zeros(k), np.eye(k), df=3) for k in (2 * d, d))
    values = both.logpdf(np.hstack([x, y])) - side.logpdf(x) - side.logpdf(y)
    assert student_information(d, 3.0) == pytest.approx(published, abs=5e-5)
    assert abs(values.mean() - student_information(d, 3.0)) < 4 * values.std() / 200


@pytest.mark.parametrize("width", [0.1, 0.3, 0.5, 0.75])
def test_additive_information_by_quadrature(width):
    # I = h(y) - h(u); the density of y = x + u is a trapezoid.
    y = np.linspace(-width, 1 + width, 2_000_001)
    density = (np.clip(y + width, 0, 1) - np.clip(y - width, 0, 1)) / (2 * width)
    entropy = -np.trapezoid(density * np.log(np.maximum(density, 1e-300)), y)
    assert additive_information(width) == pytest.approx(entropy - math.log(2 * width), abs=1e-6)


def test_gaussian_information():
    assert information_of(sparse(4, 2, 0.8)) == pytest.approx(gaussian_information(np.array([0.8, 0.8])))
    # Dense: one canonical correlation, that of the sums of both sides.
    d, rho = 3, 0.5
    assert information_of(dense(d, rho)) == pytest.approx(
        gaussian_information(np.array([d * rho / (1 + (d - 1) * rho)]))
    )


def test_label_information_by_sampling():
    label, y = classes(2.0, 3).sample(100_000, np.random.default_rng(0))
    loss = np.logaddexp(0, -2.0 * y[:, 0] * (2 * label[:, 0] - 1))
    assert abs(math.log(2) - loss.mean() - classes(2.0, 3).truth_nats) < 4 * loss.std() / math.sqrt(1e5)


def test_maps_are_invertible():
    x = np.linspace(-6, 6, 10_001)
    assert (np.diff(wiggle(x)) > 0).all()
    points = np.random.default_rng(0).standard_normal((100, 3))
    assert np.allclose(spiral(spiral(points, 0.7), -0.7), points)
    assert np.allclose(np.linalg.norm(spiral(points, 2.0), axis=1), np.linalg.norm(points, axis=1))
    roll = swiss_roll(x[:, None])
    radius = np.linalg.norm(roll, axis=1)
    assert (np.diff(radius) > 0).all()
