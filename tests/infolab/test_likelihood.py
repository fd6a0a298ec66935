"""ODE likelihood and ELBO against closed forms: Gaussians (linear score) and mixtures with their exact score."""

import math

import pytest
import torch

from infolab.denoise import Denoiser
from infolab.epochs import DebiasedTime, UniformTime
from infolab.likelihood import (
    ElboDraw,
    draw_probe,
    elbo,
    elbo_from_denoising,
    log_normal,
    ode_log_likelihood,
)
from infolab.mixture import GaussianMixture
from infolab.noise import generator
from infolab.schedules import VE, VP, append_dims

VARIANCES = torch.tensor([0.3, 1.0, 4.0], dtype=torch.float64)
SCHEDULE = VP()


def gaussian_score(x, t):
    level = SCHEDULE.at(t)
    return -x / (append_dims(level.alpha**2, x) * VARIANCES + append_dims(level.sigma**2, x))


def gaussian_divergence(x, t):
    level = SCHEDULE.at(t)
    inverse = 1 / (level.alpha[..., None] ** 2 * VARIANCES + level.sigma[..., None] ** 2)
    return gaussian_score(x, t), -inverse.sum(-1)


GAUSSIAN = Denoiser.of_score(gaussian_score, SCHEDULE, gaussian_divergence)


def gaussian_points(n, seed=0):
    return torch.randn(n, 3, generator=generator(seed, "x"), dtype=torch.float64) * VARIANCES.sqrt()


def kl_of_end_to_prior(T):
    """KL(N(0, alpha^2 V + sigma^2) || N(0, I))."""
    level = SCHEDULE.at(torch.tensor(T, dtype=torch.float64))
    end = level.alpha**2 * VARIANCES + level.sigma**2
    return float(0.5 * (end - 1 - end.log()).sum())


def draw(x, seed):
    source = generator(seed, "draw")
    u = (torch.randperm(len(x), generator=source) + torch.rand(len(x), generator=source)) / len(x)
    eps, eps_T = (torch.randn(x.shape, generator=source, dtype=torch.float64) for _ in range(2))
    return ElboDraw(u.double(), eps, eps_T)


@pytest.mark.parametrize("T", [0.5, 1.0])
def test_ode_on_a_gaussian(T):
    # The flow of a Gaussian ends in N(0, alpha^2 V + sigma^2), and the model's law is its pull-back of N(0, I).
    x = gaussian_points(200)
    level = SCHEDULE.at(torch.tensor(T, dtype=torch.float64))
    stretch = torch.sqrt((level.alpha**2 * VARIANCES + level.sigma**2) / VARIANCES)
    truth = log_normal(x * stretch, 1.0, 1) + stretch.log().sum()
    solved = ode_log_likelihood(Denoiser.of_score(gaussian_score, SCHEDULE), SCHEDULE, x, T, tolerance=1e-7)
    torch.testing.assert_close(solved.log_p, truth, atol=1e-5, rtol=0)
    assert solved.evaluations > 0


def test_ode_gives_a_gaussian_its_nll_and_kl_zero():
    # At T = 1 the prior is reached up to KL(p_T || N) < 1e-4, so the test KL of the exact score is 0 to 1e-3 nats.
    x = gaussian_points(500)
    log_p = -0.5 * (x**2 / VARIANCES + torch.log(2 * math.pi * VARIANCES)).sum(-1)
    solved = ode_log_likelihood(GAUSSIAN, SCHEDULE, x, 1.0)
    assert abs(float((log_p - solved.log_p).mean())) < 1e-3


@pytest.mark.parametrize("d", [1, 2, 3])
def test_ode_on_mixtures(d):
    means = torch.tensor([[-1.5, 0.5, 1.0], [1.0, 1.0, -1.0], [2.0, -2.0, 0.0]], dtype=torch.float64)[:, :d]
    mixture = GaussianMixture(torch.tensor([0.5, 0.3, 0.2]), means, 0.25)
    x = mixture.sample(100, generator(0, "mixture")).double()

    def score(points, t):
        level = SCHEDULE.at(t)
        return mixture.score_at(points, level.alpha, level.sigma)

    solved = ode_log_likelihood(
        Denoiser.of_score(score, SCHEDULE, _by_differences(score)), SCHEDULE, x, 1.5, tolerance=1e-6
    )
    assert float((mixture.log_prob(x) - solved.log_p).abs().max()) < 1e-3


def _by_differences(score, h=1e-5):
    """Divergence by central differences: the mixture's score is a closed form that autograd need not follow."""

    def both(x, t):
        total = torch.zeros(x.shape[:-1], dtype=x.dtype)
        for j in range(x.shape[-1]):
            step = torch.zeros_like(x)
            step[..., j] = h
            total += (score(x + step, t) - score(x - step, t))[..., j] / (2 * h)
        return score(x, t), total

    return both


def test_networks_of_different_T_side_by_side_are_solved_as_alone():
    x = gaussian_points(20).expand(2, 20, 3)
    T = torch.tensor([[0.4], [1.2]], dtype=torch.float64)
    together = ode_log_likelihood(GAUSSIAN, SCHEDULE, x, T, tolerance=1e-8)
    for i in range(2):
        alone = ode_log_likelihood(GAUSSIAN, SCHEDULE, x[i], float(T[i, 0]), tolerance=1e-8)
        torch.testing.assert_close(together.log_p[i], alone.log_p, atol=1e-5, rtol=0)


def test_each_time_has_its_own_prior_under_a_variance_exploding_schedule():
    # N(0, v) data stay N(0, v + std(t)^2): the flow stretches them, and the prior at T is N(0, std(T)^2).
    schedule, v = VE(), 2.0
    x = torch.randn(2, 10, 1, generator=generator(0, "x"), dtype=torch.float64)
    T = torch.tensor([[0.4], [1.0]], dtype=torch.float64)

    def score(points, t):
        return -points / (v + schedule.at(t).sigma ** 2)[..., None]

    def both(points, t):
        return score(points, t), -1 / (v + schedule.at(t).sigma ** 2)

    solved = ode_log_likelihood(Denoiser.of_score(score, schedule, both), schedule, x, T, tolerance=1e-8)
    std = schedule.at(T).sigma
    stretch = torch.sqrt((v + std**2) / v)
    truth = log_normal(x * stretch[..., None], std.expand(2, 10), 2) + stretch.log()
    torch.testing.assert_close(solved.log_p, truth, atol=1e-5, rtol=0)


def test_heun_converges_to_the_adaptive_solver_at_second_order():
    x = gaussian_points(20)
    truth = ode_log_likelihood(GAUSSIAN, SCHEDULE, x, 1.0, tolerance=1e-9).log_p
    errors = [
        float((ode_log_likelihood(GAUSSIAN, SCHEDULE, x, 1.0, heun_steps=n).log_p - truth).abs().max())
        for n in (100, 200)
    ]
    assert errors[1] < errors[0] / 3


@pytest.mark.parametrize("law", ["uniform", "debiased"])
@pytest.mark.parametrize("T", [0.5, 1.0])
def test_elbo_of_a_gaussian_with_its_exact_score(law, T):
    # With the exact score the bound is tight up to the prior: E[ELBO] = -h(p) - KL(p_T || N(0, I)).
    x = gaussian_points(20_000)
    time = UniformTime(T) if law == "uniform" else DebiasedTime(SCHEDULE, T)
    values = elbo(GAUSSIAN, SCHEDULE, x, time, draw(x, 1))
    entropy = float(0.5 * torch.log(2 * math.pi * math.e * VARIANCES).sum())
    truth = -entropy - kl_of_end_to_prior(T)
    assert abs(float(values.mean()) - truth) < 3 * float(values.std()) / math.sqrt(len(x))


@pytest.mark.parametrize("T", [0.5, 1.0])
def test_elbo_from_denoising_is_the_same_bound(T):
    x = gaussian_points(20_000)
    time = DebiasedTime(SCHEDULE, T)
    divergence = elbo(GAUSSIAN, SCHEDULE, x, time, draw(x, 1))
    denoising = elbo_from_denoising(GAUSSIAN, SCHEDULE, x, time, draw(x, 1))
    entropy = float(0.5 * torch.log(2 * math.pi * math.e * VARIANCES).sum())
    truth = -entropy - kl_of_end_to_prior(T)
    assert abs(float(denoising.mean()) - truth) < 3 * float(denoising.std()) / math.sqrt(len(x))
    gap = denoising - divergence  # same times and noise: the difference has mean 0
    assert abs(float(gap.mean())) < 3 * float(gap.std()) / math.sqrt(len(x))


def test_elbo_from_denoising_has_less_variance_than_a_hutchinson_divergence():
    # 32 correlated dimensions, as in images: the probe sees the off-diagonal part of the score's Jacobian.
    d, strata = 32, 16
    eigenvalues = torch.logspace(-1.5, 0.7, d, dtype=torch.float64)
    basis = torch.linalg.qr(torch.randn(d, d, generator=generator(0, "basis"), dtype=torch.float64)).Q
    x = torch.randn(500, d, generator=generator(0, "x"), dtype=torch.float64) * eigenvalues.sqrt() @ basis.T

    def score(points, t):
        level = SCHEDULE.at(t)
        variance = level.alpha[:, None] ** 2 * eigenvalues + level.sigma[:, None] ** 2
        return -(points @ basis / variance) @ basis.T

    model, time = Denoiser.of_score(score, SCHEDULE), DebiasedTime(SCHEDULE, 1.0)
    plain, denoising = [], []
    for stratum in range(strata):
        source = generator(0, "stratum", stratum)
        u = (stratum + torch.rand(len(x), generator=source, dtype=torch.float64)) / strata
        eps, eps_T = (torch.randn(x.shape, generator=source, dtype=torch.float64) for _ in range(2))
        probe = draw_probe("rademacher", x.shape, source).double()
        drawn = ElboDraw(u, eps, eps_T)
        plain.append(elbo(model, SCHEDULE, x, time, drawn, probe))
        denoising.append(elbo_from_denoising(model, SCHEDULE, x, time, drawn))
    spread, less = (float(torch.stack(values).mean(0).std()) for values in (plain, denoising))
    assert less < 0.8 * spread


def test_elbo_of_a_wrong_score_is_lower():
    # Girsanov: the bound falls by 1/2 Int g^2 E|error|^2 dt, here with a constant error in one coordinate.
    x = gaussian_points(20_000)
    time = DebiasedTime(SCHEDULE, 1.0)

    def wrong(points, t):
        return gaussian_score(points, t) + torch.tensor([0.3, 0.0, 0.0], dtype=torch.float64)

    right = elbo_from_denoising(GAUSSIAN, SCHEDULE, x, time, draw(x, 2))
    gap = right - elbo_from_denoising(Denoiser.of_score(wrong, SCHEDULE), SCHEDULE, x, time, draw(x, 2))
    truth = 0.5 * 0.09 * float(SCHEDULE.beta_integral(torch.tensor(1.0)))
    assert abs(float(gap.mean()) - truth) < 3 * float(gap.std()) / math.sqrt(len(x))


@pytest.mark.parametrize("kind", ["rademacher", "gaussian"])
def test_hutchinson_is_unbiased(kind):
    matrix = torch.randn(3, 3, generator=generator(0, "matrix"), dtype=torch.float64)
    probes = draw_probe(kind, (40_000, 3), generator(1, "probe")).double()
    x = torch.zeros_like(probes)
    model = Denoiser.of_score(lambda x, t: x @ matrix, SCHEDULE)
    _, estimates = model.score_and_divergence(x, torch.zeros(len(x)), SCHEDULE, probes)
    se = float(estimates.std()) / math.sqrt(len(estimates))
    assert abs(float(estimates.mean() - matrix.trace())) < 3 * se + 1e-12


def test_exact_divergence_equals_autograd_jacobian():
    x = gaussian_points(5)
    t = torch.full((5,), 0.3, dtype=torch.float64)
    model = Denoiser.of_score(lambda x, t: torch.sin(x).cumsum(-1), SCHEDULE)
    _, divergence = model.score_and_divergence(x, t, SCHEDULE)
    jacobian = torch.func.vmap(torch.func.jacrev(lambda y: torch.sin(y).cumsum(-1)))(x)
    torch.testing.assert_close(divergence, jacobian.diagonal(dim1=1, dim2=2).sum(-1))
