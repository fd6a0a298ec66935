"""Samplers on a Gaussian, whose exact score is linear: the Euler scheme is a linear recursion in closed form."""

import math

import pytest
import torch

from infolab.denoise import Denoiser
from infolab.errors import UserError
from infolab.sample import StepNoise, reverse_sde, step_count
from infolab.schedules import VP

MEAN, STD = 1.5, 0.6
SCHEDULE = VP()
DOUBLE = torch.float64


def gaussian_score(x, t):
    """Score of alpha_t N(MEAN, STD^2) + sigma_t N(0, 1), coordinate by coordinate."""
    level = SCHEDULE.at(t)
    mean, variance = level.alpha * MEAN, level.alpha**2 * STD**2 + level.sigma**2
    extra = (1,) * (x.ndim - t.ndim)
    return -(x - mean.reshape(*mean.shape, *extra)) / variance.reshape(*mean.shape, *extra)


def recursion(T, steps, lam):
    """Mean and variance of the Euler scheme's samples, from N(0, 1) at T, in plain numbers."""
    mean, variance, h = 0.0, 1.0, T / steps
    for step in range(steps):
        t = T - step * h
        beta, B = 0.1 + 19.9 * t, 0.1 * t + 19.9 * t * t / 2
        a2 = math.exp(-B)
        v = a2 * STD**2 + 1 - a2
        push = (1 - lam / 2) * beta * h / v
        factor = 1 + beta * h / 2 - push
        mean = factor * mean + push * math.sqrt(a2) * MEAN
        variance = factor**2 * variance + (1 - lam) * beta * h
    return mean, variance


def within_four_errors(samples, mean, variance):
    n = len(samples)
    assert abs(float(samples.mean()) - mean) < 4 * math.sqrt(variance / n)
    assert abs(float(samples.var()) - variance) < 4 * variance * math.sqrt(2 / (n - 1))


@pytest.mark.parametrize("lam", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(("T", "steps"), [(1.0, 20), (0.4, 60), (1.8, 100)])
def test_samples_follow_the_schemes_own_recursion(lam, T, steps):
    n = 20_000
    x_T = torch.randn(1, n, 1, generator=torch.Generator().manual_seed(0), dtype=DOUBLE)
    noise = StepNoise([1], "test", (n, 1))
    x = reverse_sde(
        Denoiser.of_score(gaussian_score, SCHEDULE),
        SCHEDULE,
        x_T,
        torch.full((1, 1), T, dtype=DOUBLE),
        steps,
        noise,
        lam,
    )
    within_four_errors(x.flatten(), *recursion(T, steps, lam))


@pytest.mark.parametrize("lam", [0.0, 0.5, 1.0])
def test_the_recursion_tends_to_the_data_as_one_over_steps(lam):
    errors = [abs(recursion(1.0, steps, lam)[1] - recursion(1.0, 64_000, lam)[1]) for steps in (1000, 2000)]
    assert 1.9 < errors[0] / errors[1] < 2.2  # Euler: first order
    mean, variance = recursion(1.0, 64_000, lam)
    # What is left is the prior's own error, alpha(1)^2 = e^-10.05, seen through the reverse process.
    assert abs(mean - MEAN) < 0.01
    assert abs(variance - STD**2) < 0.01


def test_the_ode_is_deterministic_and_exact_step_by_step():
    x_T = torch.linspace(-3, 3, 7, dtype=DOUBLE)[:, None]

    def no_noise(step):
        raise AssertionError("the ODE draws no noise")

    x = reverse_sde(Denoiser.of_score(gaussian_score, SCHEDULE), SCHEDULE, x_T, 1.0, 50, no_noise, lam=1.0)
    mean, variance = recursion(1.0, 50, 1.0)
    torch.testing.assert_close(x, mean + math.sqrt(variance) * x_T, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rule", ["fixed_number", "fixed_size"])
def test_step_rules(rule):
    counts = [step_count(T, rule, 1000) for T in (0.2, 0.4, 1.0, 1.8)]
    assert counts == ([1000] * 4 if rule == "fixed_number" else [200, 400, 1000, 1800])
    assert step_count(1e-6, rule, 1000) >= 1
    T, n = 0.4, 5000
    x_T = torch.randn(1, n, 1, generator=torch.Generator().manual_seed(2), dtype=DOUBLE)
    steps = step_count(T, rule, 50)
    x = reverse_sde(
        Denoiser.of_score(gaussian_score, SCHEDULE), SCHEDULE, x_T, T, steps, StepNoise([0], "rule", (n, 1))
    )
    within_four_errors(x.flatten(), *recursion(T, steps, 0.0))
    with pytest.raises(UserError, match="unknown step rule 'other': choose one of fixed_number, fixed_size"):
        step_count(T, "other", 10)


def test_different_times_run_side_by_side():
    T = torch.tensor([0.4, 1.0, 1.8], dtype=DOUBLE)
    n, seeds = 50, [4, 5, 6]
    x_T = torch.randn(3, n, 2, generator=torch.Generator().manual_seed(1), dtype=DOUBLE)
    x = reverse_sde(
        Denoiser.of_score(gaussian_score, SCHEDULE), SCHEDULE, x_T, T[:, None], 30, StepNoise(seeds, "s", (n, 2)), 0.5
    )
    for j in range(3):
        alone = reverse_sde(
            Denoiser.of_score(gaussian_score, SCHEDULE),
            SCHEDULE,
            x_T[[j]],
            float(T[j]),
            30,
            StepNoise([seeds[j]], "s", (n, 2)),
            0.5,
        )
        torch.testing.assert_close(x[j], alone[0], rtol=1e-12, atol=1e-12)


def test_the_score_is_taken_at_the_forward_time_of_the_state():
    seen = []
    T = torch.tensor([[0.5], [1.0]], dtype=DOUBLE)
    x_T = torch.zeros(2, 3, 2, dtype=DOUBLE)
    reverse_sde(
        Denoiser.of_score(gaussian_score, SCHEDULE),
        SCHEDULE,
        x_T,
        T,
        4,
        lambda step: torch.zeros_like(x_T),
        observe=lambda s, t: seen.append((s, t)),
    )
    assert [t[:, 0].tolist() for _, t in seen] == [[0.5, 1.0], [0.375, 0.75], [0.25, 0.5], [0.125, 0.25]]
    assert all(s.shape == (2, 3, 2) and t.shape == (2, 3) for s, t in seen)
    torch.testing.assert_close(seen[0][0], gaussian_score(x_T, seen[0][1]))


@pytest.mark.parametrize("lam", [-0.1, 1.1, math.nan])
def test_members_outside_the_family_are_refused(lam):
    with pytest.raises(UserError, match="lam must lie in"):
        reverse_sde(
            Denoiser.of_score(gaussian_score, SCHEDULE),
            SCHEDULE,
            torch.zeros(1, 1),
            1.0,
            2,
            lambda step: torch.zeros(1, 1),
            lam,
        )


@pytest.mark.bits
@pytest.mark.parametrize("event", [(2,), (3, 8, 8)])
def test_noise_depends_on_neither_the_batch_nor_the_number_of_samples_nor_the_order(event):
    together, alone = StepNoise([1, 2, 3], "a", (10, *event)), StepNoise([2], "a", (4, *event))
    for step in (0, 31, 32, 100, 5):
        assert torch.equal(together(step)[1, :4], alone(step)[0])
    assert torch.equal(together(0), StepNoise([1, 2, 3], "a", (10, *event))(0))
    assert together(0).shape == (3, 10, *event)


def test_noise_is_standard_normal_and_fresh_at_every_step_seed_and_stream():
    n, steps = 500, 70
    noise = StepNoise([1, 2], "a", (n, 2))
    drawn = torch.stack([noise(step) for step in range(steps)]).double()
    count = drawn.numel()
    for power, mean, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs(float((drawn**power).mean()) - mean) < 4 * math.sqrt(variance / count)
    other = StepNoise([1, 2], "b", (n, 2))(0).double()
    pairs = {
        "steps": (drawn[1:], drawn[:-1]),
        "blocks": (drawn[32:64], drawn[:32]),
        "seeds": (drawn[:, 0], drawn[:, 1]),
        "samples": (drawn[:, :, 1:], drawn[:, :, :-1]),
        "coordinates": (drawn[..., 0], drawn[..., 1]),
        "streams": (other, drawn[0]),
    }
    for name, (left, right) in pairs.items():
        assert abs(float((left * right).mean())) < 4 / math.sqrt(left.numel()), name
