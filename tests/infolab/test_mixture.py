"""Gaussian mixtures against scipy, autograd, quadrature and sampling."""

import math

import pytest
import torch
from scipy.stats import multivariate_normal
from torch import Tensor

import infolab.mixture as mixture
from infolab.errors import UserError
from infolab.mixture import GaussianMixture
from infolab.schedules import logsnr_to_alpha_sigma

DOUBLE = torch.float64


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=rng(seed), dtype=DOUBLE)


def full(k: int = 4, d: int = 3) -> GaussianMixture:
    root = normal(k, d, d, seed=5)
    return GaussianMixture(
        torch.rand(k, generator=rng(6)) + 0.1, 2 * normal(k, d, seed=7), root @ root.mT / d + 0.05 * torch.eye(d)
    )


def isotropic(k: int = 5, d: int = 2) -> GaussianMixture:
    return GaussianMixture(torch.ones(k), 2 * normal(k, d, seed=8), torch.linspace(0.1, 0.6, k))


BOTH = pytest.mark.parametrize("law", [full(), isotropic()], ids=["full", "isotropic"])


@BOTH
def test_log_density_against_scipy(law):
    x = 2 * normal(50, law.d)
    covariances = law._covariances().numpy()
    expected = torch.zeros(50, dtype=DOUBLE)
    for w, m, c in zip(law.weights, law.means, covariances, strict=True):
        expected += float(w) * torch.from_numpy(multivariate_normal(m.numpy(), c).pdf(x.numpy()))
    torch.testing.assert_close(law.log_prob(x), expected.log(), rtol=1e-9, atol=1e-9)


@BOTH
def test_score_is_the_gradient_of_the_log_density(law):
    x = (2 * normal(3, 7, law.d)).requires_grad_(True)
    (gradient,) = torch.autograd.grad(law.log_prob(x).sum(), x)
    torch.testing.assert_close(law.score(x).detach(), gradient, rtol=1e-9, atol=1e-9)
    alpha, sigma = torch.rand(3, 7, generator=rng(1)), torch.rand(3, 7, generator=rng(2)) + 0.1
    (gradient,) = torch.autograd.grad(law.log_prob_at(x, alpha, sigma).sum(), x)
    torch.testing.assert_close(law.score_at(x.detach(), alpha, sigma), gradient, rtol=1e-9, atol=1e-9)


@BOTH
def test_noised_mixture_agrees_with_per_sample_noise(law):
    x = normal(20, law.d)
    alpha, sigma = 0.6, 0.5
    noised = law.noised(alpha, sigma)
    a, s = torch.full((20,), alpha, dtype=DOUBLE), torch.full((20,), sigma, dtype=DOUBLE)
    torch.testing.assert_close(noised.log_prob(x), law.log_prob_at(x, a, s), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(noised.score(x), law.score_at(x, a, s), rtol=1e-8, atol=1e-8)


@BOTH
def test_posterior_mean_is_tweedie_and_eps_hat_fits(law):
    z, logsnr = normal(4, 9, law.d), torch.linspace(-6, 6, 36, dtype=DOUBLE).reshape(4, 9)
    alpha, sigma = (v[..., None] for v in logsnr_to_alpha_sigma(logsnr))
    score = law.score_at(z, alpha[..., 0], sigma[..., 0])
    torch.testing.assert_close(law.posterior_mean(z, logsnr), (z + sigma**2 * score) / alpha, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(
        law.eps_hat(z, logsnr), (z - alpha * law.posterior_mean(z, logsnr)) / sigma, rtol=1e-7, atol=1e-7
    )


@BOTH
def test_posterior_mean_at_the_ends(law):
    """No signal: the prior mean, without a division by alpha; no noise: the point itself."""
    z = normal(5, law.d)
    low = law.posterior_mean(z, torch.full((5,), -80.0, dtype=DOUBLE))
    torch.testing.assert_close(low, law.mean().expand(5, -1), rtol=1e-10, atol=1e-10)
    high = law.posterior_mean(z, torch.full((5,), 40.0, dtype=DOUBLE))
    torch.testing.assert_close(high, z, rtol=1e-8, atol=1e-8)


def test_single_gaussian_has_a_linear_score():
    covariance = torch.tensor([[0.5050, -0.4950], [-0.4950, 0.5050]], dtype=DOUBLE)
    law = GaussianMixture(torch.ones(1), torch.tensor([[1.0, -2.0]]), covariance[None])
    x = normal(10, 2)
    expected = -torch.linalg.solve(covariance, (x - law.means).T).T
    torch.testing.assert_close(law.score(x), expected, rtol=1e-9, atol=1e-9)


@BOTH
def test_samples_have_the_moments(law):
    n = 100_000
    x = law.sample(n, rng(3))
    error = torch.sqrt(law.cov().diagonal() / n)
    assert ((x.mean(0) - law.mean()).abs() < 4.5 * error).all()
    centred = x - law.mean()
    products = centred[:, :, None] * centred[:, None]
    assert ((products.mean(0) - law.cov()).abs() < 4.5 * products.std(0) / math.sqrt(n)).all()


def test_entropy_of_gaussians_in_closed_form():
    one = GaussianMixture(torch.ones(1), torch.zeros(1, 1), 0.3)
    h = 0.5 * math.log(2 * math.pi * math.e * 0.3)
    assert one.entropy_quadrature().value == pytest.approx(h, abs=1e-12)
    covariance = torch.tensor([[[0.5050, -0.4950], [-0.4950, 0.5050]]], dtype=DOUBLE)
    two = GaussianMixture(torch.ones(1), torch.zeros(1, 2), covariance).entropy_quadrature()
    assert two.value == pytest.approx(math.log(2 * math.pi * math.e) + math.log(0.01) / 2, abs=1e-10)
    assert two.se_quadrature < 1e-10


def test_entropy_of_far_modes_adds_that_of_the_weights():
    law = GaussianMixture(torch.tensor([0.3, 0.7], dtype=DOUBLE), torch.tensor([[-30.0], [30.0]]), 1.0)
    h = 0.5 * math.log(2 * math.pi * math.e) - 0.3 * math.log(0.3) - 0.7 * math.log(0.7)
    assert law.entropy_quadrature().value == pytest.approx(h, abs=1e-12)


@BOTH
def test_two_entropies_agree(law):
    sampled = law.entropy(40_000, rng(4))
    assert (sampled.n, sampled.d) == (40_000, law.d)
    if law.d == 2:
        exact = law.entropy_quadrature()
        assert exact.se_quadrature < 1e-6
        assert abs(sampled.value - exact.value) < 4 * sampled.se


def test_empirical_measure_needs_noise():
    points = normal(6, 2)
    law = GaussianMixture(torch.ones(6), points, 0.0)
    with pytest.raises(UserError, match="noised"):
        law.log_prob(points)
    z, logsnr = normal(8, 2, seed=2), torch.full((8,), 1.0, dtype=DOUBLE)
    alpha, sigma = logsnr_to_alpha_sigma(logsnr)
    squares = ((z[:, None] - alpha[:, None, None] * points) ** 2).sum(-1)
    expected = torch.softmax(-squares / (2 * sigma[:, None] ** 2), 1) @ points
    torch.testing.assert_close(law.posterior_mean(z, logsnr), expected, rtol=1e-10, atol=1e-10)
    singular = GaussianMixture(torch.ones(6), points, torch.tensor([[1.0, 1.0], [1.0, 1.0]]).expand(6, 2, 2))
    with pytest.raises(UserError, match="noised"):
        singular.score(z)
    assert torch.isfinite(singular.eps_hat(z, logsnr)).all()


@BOTH
def test_blocks_do_not_change_anything(law, monkeypatch):
    z, logsnr = normal(33, law.d), torch.linspace(-3, 3, 33, dtype=DOUBLE)
    whole = (law.log_prob(z), law.posterior_mean(z, logsnr), law.eps_hat(z, logsnr))
    monkeypatch.setattr(mixture, "ELEMENTS", 20)
    parts = (law.log_prob(z), law.posterior_mean(z, logsnr), law.eps_hat(z, logsnr))
    for one, two in zip(whole, parts, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-11, atol=1e-11)


def test_float32_in_float32_out():
    law = isotropic()
    z = normal(4, 2).float()
    assert law.eps_hat(z, torch.zeros(4)).dtype == torch.float32
    assert law.log_prob(z).dtype == DOUBLE


def test_wrong_settings_are_refused():
    means = torch.zeros(2, 3)
    for wrong in (
        (torch.ones(3), means, 1.0),
        (torch.ones(2), means, torch.ones(3)),
        (torch.zeros(2), means, 1.0),
        (torch.ones(2), means, -1.0),
    ):
        with pytest.raises(UserError):
            GaussianMixture(*wrong)
    with pytest.raises(UserError, match="expected"):
        isotropic().log_prob(torch.zeros(4, 3))
    with pytest.raises(UserError, match="1 or 2"):
        full().entropy_quadrature()


@BOTH
def test_density_on_a_grid_is_that_of_the_points(law):
    axes = [torch.linspace(-2, 2, 5 + i, dtype=DOUBLE) for i in range(law.d)]
    points = torch.cartesian_prod(*axes)
    expected = law.log_prob(points).exp().reshape([len(axis) for axis in axes])
    torch.testing.assert_close(law._density_on_grid(axes), expected, rtol=1e-10, atol=1e-14)
