"""The KL machinery against closed forms: exact scores of mixtures and Gaussians, its own two masses, wrong scores."""

import itertools
import math

import pytest
import torch

from infolab.kl import flow_steps, flow_times, grid_density, mode_grid, of_slopes
from infolab.schedules import VP
from infolab.toy import two_modes

VP1 = VP()


def exact_mixture_score(mu):
    """Score and slope of the noised mixture of unit-variance modes at +-mu, whose variance stays 1 at every t."""

    def score(x, t):
        a = mu * torch.exp(-VP1.beta_integral(torch.tensor(t, dtype=torch.float64)) / 2)
        th = torch.tanh(a * x)
        return -x + a * th, -1 + a**2 * (1 - th**2)

    return of_slopes(score, VP1)


def gaussian_score(mean, std):
    """Score and slope of the noised N(mean, std^2)."""

    def score(x, t):
        level = VP1.at(torch.tensor(t, dtype=torch.float64))
        variance = level.alpha**2 * std**2 + 1 - level.alpha**2
        return -(x - level.alpha * mean) / variance, -torch.ones_like(x) / variance

    return score


def gaussian_model(mean, std, T=1.0):
    """Mean and standard deviation of the model of `gaussian_score` started from N(0, 1) at T: its flow is linear."""
    alpha = float(VP1.at(torch.tensor(T, dtype=torch.float64)).alpha)
    ratio = std / math.sqrt(alpha**2 * std**2 + 1 - alpha**2)
    return mean - ratio * alpha * mean, ratio


def kl_of_normals(mean, std):
    """KL(N(0, 1) || N(mean, std^2))."""
    return math.log(std) + (1 + mean**2) / (2 * std**2) - 0.5


@pytest.mark.parametrize("mu", [0.0, 1.0, 3.0, 8.0, 15.0])
def test_the_exact_score_gives_the_law_itself(mu):
    x = mode_grid(mu)
    log_p0 = two_modes(mu).log_prob(x[:, None])
    found = grid_density(exact_mixture_score(mu), VP1, x, 1, steps=flow_steps(mu), dtype=torch.float64)
    assert abs(float(found.kl(log_p0))) < 1e-4
    assert float(found.normalisation()) == pytest.approx(1, abs=1e-4)
    assert float(found.mass()) == pytest.approx(1, abs=1e-12)
    assert float(found.mass_right()) == pytest.approx(0.5, abs=1e-12)


def test_unequal_weights_put_their_mass_on_the_right():
    law = two_modes(4.0, q1=0.3)
    x = mode_grid(4.0)

    def score(points, t):
        level = VP1.at(torch.tensor(t, dtype=torch.float64))
        with torch.enable_grad():
            leaf = points.clone().requires_grad_()
            log_p = law.mixture.log_prob_at(leaf[..., None], level.alpha, level.sigma)
            (s,) = torch.autograd.grad(log_p.sum(), leaf, create_graph=True)
            (slope,) = torch.autograd.grad(s.sum(), leaf)
        return s.detach(), slope

    found = grid_density(of_slopes(score, VP1), VP1, x, 1, steps=flow_steps(4.0), dtype=torch.float64)
    truth = float((law.log_prob(x[:, None]).exp() * (x > 0)).sum() * found.step)
    # The model starts from N(0, 1), not from p_T, whose mean is alpha_T E x: 0.0105 to the right, at density 0.35.
    shift = float(VP1.at(torch.tensor(1.0, dtype=torch.float64)).alpha) * 1.6
    quantile = torch.special.ndtri(torch.tensor(truth))
    moved = float(torch.special.ndtr(quantile - shift))
    assert float(found.mass_right()) == pytest.approx(moved, abs=2e-4)
    assert abs(float(found.kl(law.log_prob(x[:, None])))) < 1e-4


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (0.7, 1.0), (0.0, 1.3), (0.0, 0.8), (-0.5, 1.2)])
def test_shifted_and_scaled_gaussians_give_the_closed_form(mean, std):
    x = mode_grid(3.0)
    log_p0 = torch.distributions.Normal(0.0, 1.0).log_prob(x)
    found = grid_density(of_slopes(gaussian_score(mean, std), VP1), VP1, x, 1, dtype=torch.float64)
    assert float(found.kl(log_p0)) == pytest.approx(kl_of_normals(*gaussian_model(mean, std)), abs=1e-5)
    # and, since the model's start differs from p_T by alpha_T = 0.007 alone, that of the Gaussian itself
    assert float(found.kl(log_p0)) == pytest.approx(kl_of_normals(mean, std), abs=1e-3 + 7e-3 * abs(mean))


def test_float32_scores_are_precise_enough():
    x = mode_grid(3.0)
    log_p0 = two_modes(3.0).log_prob(x[:, None])
    found = grid_density(exact_mixture_score(3.0), VP1, x, 1, dtype=torch.float32)
    assert abs(float(found.kl(log_p0))) < 1e-4
    assert float(found.normalisation()) == pytest.approx(1, abs=1e-4)


def test_quadrature_and_flow_agree_on_a_mass_that_is_not_one():
    # A model much wider than the grid keeps part of its mass outside; both ways of measuring it must say so.
    x = mode_grid(0.0)
    found = grid_density(of_slopes(gaussian_score(2.0, 6.0), VP1), VP1, x, 1, steps=64, dtype=torch.float64)
    assert float(found.mass()) < 0.9
    assert float(found.normalisation()) == pytest.approx(float(found.mass()), abs=2e-4)


@pytest.mark.bits
def test_models_of_one_batch_do_not_notice_each_other():
    scores = [gaussian_score(0.3, 1.1), gaussian_score(-1.0, 0.9)]

    def both(x, t):
        parts = [score(x[i], t) for i, score in enumerate(scores)]
        return tuple(torch.stack(part) for part in zip(*parts, strict=True))

    def broken(x, t):
        s, slope = both(x, t)
        return torch.stack([s[0], s[1] * float("nan")]), slope

    x = mode_grid(1.0)
    together = grid_density(of_slopes(both, VP1), VP1, x, 2, dtype=torch.float64).log_p
    for row, score in enumerate(scores):
        alone = grid_density(of_slopes(score, VP1), VP1, x, 1, dtype=torch.float64).log_p[0]
        assert torch.equal(together[row], alone)
    damaged = grid_density(of_slopes(broken, VP1), VP1, x, 2, dtype=torch.float64).log_p
    assert torch.equal(damaged[0], together[0])
    assert torch.isnan(damaged[1]).all()


def test_the_error_falls_with_the_fourth_power_of_the_step():
    x = mode_grid(3.0)
    exact = grid_density(exact_mixture_score(3.0), VP1, x, 1, steps=512, dtype=torch.float64).log_p
    errors = [
        float(
            (grid_density(exact_mixture_score(3.0), VP1, x, 1, steps=n, dtype=torch.float64).log_p - exact).abs().max()
        )
        for n in (64, 128)
    ]
    assert 8 < errors[0] / errors[1] < 20  # 16, but for the grid of times, which is only nearly refined in place


def test_grid_and_times():
    x = mode_grid(3.0)
    assert float(x[len(x) // 2]) == 0
    assert float(x[-1]) == -float(x[0]) >= 11
    times = flow_times(VP1, 1.0, 40)
    assert (times[0], times[-1], len(times)) == (0.0, 1.0, 41)
    assert all(a < b for a, b in itertools.pairwise(times))
