"""Log-SNR ranges and integrators: weights that make integrals, ranges from spectra and curves, honest errors."""

import math

import pytest
import torch

from infolab.errors import UserError
from infolab.immse import LogsnrRange, make_grid
from infolab.noise import generator


def bump(a):
    """A smooth curve that vanishes on both sides; its integral is 1."""
    return torch.sigmoid(a - 2) * torch.sigmoid(2 - a)


def test_importance_weights_integrate():
    law = LogsnrRange(1.0, 2.0)
    u = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000
    a, weight = law.sample(u)
    assert float(a.min()) > law.low
    assert float(a.max()) < law.high
    inside = float(torch.sigmoid(torch.tensor(law.high - 2)) - torch.sigmoid(torch.tensor(law.low - 2)))
    assert float((weight * bump(a)).mean()) == pytest.approx(inside, abs=1e-6)
    assert float(weight.mean()) == pytest.approx(law.high - law.low, rel=1e-4)
    assert law.sample(torch.full((3, 2), 0.5))[0].shape == (3, 2)


def test_the_range_of_a_spectrum():
    logs = torch.tensor([-1.0, 0.0, 4.0], dtype=torch.float64)
    found = LogsnrRange.from_spectrum(logs.exp())
    assert found.loc == pytest.approx(-1.0)
    assert found.scale == pytest.approx(math.sqrt(1 + 3 / math.pi * float(logs.var(correction=0))))
    matched = LogsnrRange.from_spectrum(logs.exp(), c=3 / math.pi**2)
    assert matched.scale == pytest.approx(math.sqrt(1 + 3 / math.pi**2 * float(logs.var(correction=0))))
    with pytest.raises(UserError, match="floor"):
        LogsnrRange.from_spectrum(torch.tensor([0.0, 1.0]))


def test_the_range_of_a_measured_curve_is_exact_on_a_logistic():
    a = torch.linspace(-20, 30, 5001, dtype=torch.float64)
    found = LogsnrRange.from_curve(a, 7 * torch.sigmoid((a - 6.2) / 3.1), 7)
    assert found.loc == pytest.approx(6.2, abs=1e-4)
    assert found.scale == pytest.approx(3.1, abs=1e-4)
    with pytest.raises(UserError, match="wider range"):
        LogsnrRange.from_curve(a, torch.zeros_like(a), 7)


def test_ends():
    found = LogsnrRange.from_ends(-3.0, 9.0)
    assert (found.low, found.high) == (-3.0, 9.0)
    with pytest.raises(UserError, match="low < high"):
        LogsnrRange.from_ends(1.0, 1.0)
    with pytest.raises(UserError, match="above 0"):
        LogsnrRange(0.0, 0.0)


@pytest.mark.parametrize(("integrator", "tolerance"), [("deterministic", 1e-6), ("rqmc", 1e-3)])
def test_equal_steps_converge_fast(integrator, tolerance):
    grid = make_grid(LogsnrRange.from_ends(-10, 14), 100, integrator)
    outside = 2 / (1 + math.exp(12))
    assert abs(float(grid.integrate(bump(grid.logsnr))) - 1 + outside) < tolerance
    assert grid.error(bump(grid.logsnr)) < tolerance
    assert torch.equal(grid.logsnr, grid.logsnr.sort().values)
    assert float(grid.weights.sum()) == pytest.approx(24.0)


def test_random_points_are_unbiased_and_know_their_error():
    law = LogsnrRange(0.0, 3.0)
    values, errors = [], []
    for seed in range(300):
        grid = make_grid(law, 50, "random", seed)
        values.append(float(grid.integrate(bump(grid.logsnr))))
        errors.append(grid.error(bump(grid.logsnr)))
    spread = float(torch.tensor(values).std())
    assert abs(sum(values) / 300 - 1) < 4 * spread / math.sqrt(300) + 1e-4
    assert sum(errors) / 300 == pytest.approx(spread, rel=0.15)


def test_the_error_of_a_coarse_rule_bounds_what_it_misses():
    for points in (9, 12, 14, 20):
        grid = make_grid(LogsnrRange.from_ends(-12, 16), points)
        missed = abs(float(grid.integrate(bump(grid.logsnr))) - 1)
        assert missed <= grid.error(bump(grid.logsnr)) + 1e-5


def test_noise_is_not_taken_for_quadrature_error():
    grid = make_grid(LogsnrRange.from_ends(-30, 34), 100)
    noisy = bump(grid.logsnr) + 0.01 * torch.randn(100, generator=generator(0), dtype=torch.float64)
    off = grid.coarse_rule_differences(noisy)
    assert grid.error(noisy) == pytest.approx(math.sqrt(2 / 3) * float(off.norm()) / 9)
    assert grid.error(noisy, off) == 0.0


def test_bad_rules_are_refused():
    with pytest.raises(UserError, match="unknown integrator"):
        make_grid(LogsnrRange(0, 1), 10, "simpson")
    with pytest.raises(UserError, match="at least 3"):
        make_grid(LogsnrRange(0, 1), 2)
    with pytest.raises(UserError, match="at least 10"):
        make_grid(LogsnrRange(0, 1), 9, "rqmc")
