"""Laws of drawn times against the integral of their densities."""

import itertools
import math

import pytest
import torch
from scipy.integrate import quad

from infolab.epochs import DebiasedTime, UniformTime
from infolab.schedules import VE, VP

DOUBLE = torch.float64


def test_uniform_time_with_one_horizon_per_member():
    T = torch.tensor([[0.5], [2.0]])
    t, density = UniformTime(T).sample(torch.tensor([0.25, 0.5, 0.75]))
    torch.testing.assert_close(t, T * torch.tensor([0.25, 0.5, 0.75]))
    torch.testing.assert_close(density, (1 / T).expand(2, 3))


@pytest.mark.parametrize("schedule", [VP(), VE()])
@pytest.mark.parametrize("T", [5e-4, 0.2, 1.0, 2.0])
def test_debiased_time_against_its_density(schedule, T):
    """The inverse CDF is the inverse of the integral of the density, which is g^2/sigma^2 cut at t_eps."""
    times = DebiasedTime(schedule, T, t_eps=1e-3)
    u = torch.linspace(0.001, 0.999, 41, dtype=DOUBLE)
    t, density = times.sample(u)
    assert (t.diff() > 0).all()

    def rate(s: float) -> float:
        level = schedule.at(torch.tensor(max(s, min(1e-3, T)), dtype=DOUBLE))
        return float(level.g2 / level.sigma**2)

    def integral(end: float) -> float:
        knots = [k for k in (0.0, 1e-3, 1e-2, 0.1) if k < end] + [end]
        return sum(quad(rate, a, b, epsabs=0, epsrel=1e-11)[0] for a, b in itertools.pairwise(knots))

    total = integral(T)
    for i in range(0, 41, 5):
        assert integral(float(t[i])) / total == pytest.approx(float(u[i]), rel=1e-8)
        assert float(density[i]) == pytest.approx(rate(float(t[i])) / total, rel=1e-8)


@pytest.mark.parametrize("T", [0.2, 1.0])
def test_importance_weight_makes_a_time_average_unbiased(T):
    """Midpoints in u integrate h(t)/(T p(t)) over u, which is the mean of h over U(0, T)."""
    u = (torch.arange(200_000, dtype=DOUBLE) + 0.5) / 200_000
    t, density = DebiasedTime(VP(), T).sample(u)
    estimate = (torch.cos(3 * t) / (T * density)).mean()
    # Midpoint error: second derivative of the integrand in u, bounded by the square of total mass / n.
    assert float(estimate) == pytest.approx(math.sin(3 * T) / (3 * T), abs=2e-7)


def test_debiased_time_in_float32_with_tensor_horizons():
    T = torch.tensor([[0.2], [1.0], [20.0]])
    u = torch.rand(3, 5000, generator=torch.Generator().manual_seed(0))
    t, density = DebiasedTime(VP(), T).sample(u)
    assert t.dtype == torch.float32
    assert ((t >= 0) & (t <= T)).all()
    assert torch.isfinite(1 / density).all()
    same, _ = DebiasedTime(VP(), 1.0).sample(u[1])
    torch.testing.assert_close(t[1], same)
