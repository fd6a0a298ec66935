"""Importance-weighted log p(x): probabilistic PCA's closed forms, the fused decoder, each image's own noise."""

import math

import pytest
import torch

from infolab.errors import UserError
from infolab.noise import generator
from vae.config import VAEConfig
from vae.images import Inputs
from vae.logpx import (
    FullCovariance,
    FusedBernoulli,
    GaussianProposal,
    PlainDecoder,
    Points,
    _even_softplus,
    encoder_proposal,
    importance_log_px,
    make_log_likelihood,
)
from vae.models import build_vae

D, L, SIGMA = 20, 4, 0.5


class LinearVAE:
    """x = W z + b + SIGMA eps, z ~ N(0, I): p(x) = N(b, W W^T + SIGMA^2 I); d = 20, latent 4, float64."""

    def __init__(self):
        source = generator(0, "linear vae")
        self.W = torch.randn(D, L, generator=source, dtype=torch.float64)
        self.b = torch.randn(D, generator=source, dtype=torch.float64)
        z = torch.randn(64, L, generator=source, dtype=torch.float64)
        self.x = z @ self.W.T + self.b + SIGMA * torch.randn(64, D, generator=source, dtype=torch.float64)

    def log_likelihood(self, x, z):
        residual = x[:, None] - z @ self.W.T - self.b
        return -0.5 * (residual.square().sum(-1) / SIGMA**2 + D * math.log(2 * math.pi * SIGMA**2))

    def log_px(self):
        covariance = self.W @ self.W.T + SIGMA**2 * torch.eye(D, dtype=torch.float64)
        return torch.distributions.MultivariateNormal(self.b, covariance).log_prob(self.x)

    def posterior(self):
        precision = torch.eye(L, dtype=torch.float64) + self.W.T @ self.W / SIGMA**2
        covariance = torch.linalg.inv(precision)
        return (self.x - self.b) @ self.W @ covariance / SIGMA**2, covariance

    def diagonal_proposal(self, shift=0.3, widen=1.3):
        """A deliberately wrong encoder: the posterior's mean shifted, its variances widened, no covariances."""
        mean, covariance = self.posterior()
        scale = widen * covariance.diagonal().sqrt()
        return GaussianProposal(mean + shift * scale, scale.expand(len(mean), L))


@pytest.fixture(scope="module")
def linear():
    return LinearVAE()


def points(n_z, kind="random", replicate=0):
    return Points(kind, n_z, L, seed=replicate)(0, 64).double()


def test_log_px_of_a_linear_vae_rises_to_the_closed_form(linear):
    # Mean over images and 40 replicates: below the truth and closer with each N_z; at 4,096 within its standard error.
    truth, proposal = linear.log_px().mean(), linear.diagonal_proposal()
    gaps = {}
    for n_z in (1, 16, 256):
        runs = [
            importance_log_px(linear.x, proposal, points(n_z, replicate=r), linear.log_likelihood) for r in range(40)
        ]
        values = torch.stack([run.value.mean() for run in runs])
        gaps[n_z] = float(truth - values.mean()), float(values.std()) / math.sqrt(40)
        assert gaps[n_z][0] > -3 * gaps[n_z][1]
    assert gaps[1][0] > 2 * gaps[16][0] + 5 * gaps[16][1]
    assert gaps[16][0] > 2 * gaps[256][0]
    found = importance_log_px(linear.x, proposal, points(4096), linear.log_likelihood)
    error = found.value - linear.log_px()
    assert abs(float(error.mean())) < 3 * float(found.se.square().sum().sqrt()) / 64
    assert float((error.abs() < 2 * found.se).double().mean()) > 0.85


def test_standard_error_is_the_spread_between_replicates(linear):
    proposal = linear.diagonal_proposal()
    runs = [importance_log_px(linear.x, proposal, points(256, replicate=r), linear.log_likelihood) for r in range(60)]
    spread = torch.stack([run.value for run in runs]).var(0).mean().sqrt()
    claimed = torch.stack([run.se for run in runs]).square().mean().sqrt()
    assert 0.85 < float(claimed / spread) < 1.2


def test_elbo_is_its_closed_form(linear):
    # E_q[log p(x | z)] - KL(q || N(0, I)) of the Gaussian q, in closed form.
    q = linear.diagonal_proposal()
    variance = q.scale.square()
    residual = linear.x - q.mu @ linear.W.T - linear.b
    spread = residual.square().sum(1) + (variance * linear.W.square().sum(0)).sum(1)
    expected = -0.5 * (spread / SIGMA**2 + D * math.log(2 * math.pi * SIGMA**2))
    expected -= 0.5 * (variance + q.mu.square() - 1 - variance.log()).sum(1)
    found = importance_log_px(linear.x, q, points(4096), linear.log_likelihood)
    one = [importance_log_px(linear.x, q, points(16, replicate=r), linear.log_likelihood).elbo for r in range(50)]
    se = torch.stack(one).std(0) / math.sqrt(256)
    assert bool(((found.elbo - expected).abs() < 5 * se).all())
    assert abs(float((found.elbo - expected).mean())) < 4 * float(se.mean()) / 8


@pytest.mark.parametrize("kind", ["random", "sobol"])
def test_the_exact_posterior_gives_the_exact_answer_with_all_samples_effective(linear, kind):
    mean, covariance = linear.posterior()
    scale = torch.linalg.cholesky(covariance).expand(64, L, L)
    found = importance_log_px(linear.x, GaussianProposal(mean, scale), points(8, kind), linear.log_likelihood)
    torch.testing.assert_close(found.value, linear.log_px(), rtol=0, atol=1e-9)
    torch.testing.assert_close(found.elbo, linear.log_px(), rtol=0, atol=1e-9)
    torch.testing.assert_close(found.ess, torch.full((64,), 8.0, dtype=torch.float64))
    assert float(found.se.max()) < 1e-6


@pytest.mark.parametrize("kind", ["random", "sobol"])
def test_p_hat_is_unbiased(linear, kind):
    proposal, truth = linear.diagonal_proposal(), linear.log_px()
    ratios = torch.stack(
        [
            (importance_log_px(linear.x, proposal, points(32, kind, r), linear.log_likelihood).value - truth).exp()
            for r in range(100)
        ]
    ).mean(1)
    assert abs(float(ratios.mean()) - 1) < 4 * float(ratios.std()) / 10


def test_shifted_sobol_points_have_less_variance(linear):
    proposal = linear.diagonal_proposal()
    spread = {}
    for kind in ("random", "sobol"):
        runs = [importance_log_px(linear.x, proposal, points(256, kind, r), linear.log_likelihood) for r in range(20)]
        spread[kind] = float(torch.stack([run.value for run in runs]).var(0).mean())
    assert spread["sobol"] < 0.5 * spread["random"]


@pytest.mark.bits
def test_points_are_standard_normal_and_belong_to_their_image():
    for kind in ("random", "sobol"):
        draw = Points(kind, 64, 3, seed=1)
        eps = draw(0, 160)
        n = eps.numel() / 3
        assert float(eps.mean((0, 1)).abs().max()) < 4 / math.sqrt(n)
        assert float((eps.square().mean((0, 1)) - 1).abs().max()) < 4 * math.sqrt(2 / n)
        assert torch.equal(draw(32, 5), eps[32:37])
        assert torch.equal(Points(kind, 64, 3, seed=1)(16, 16), eps[16:32])
        assert not torch.equal(Points(kind, 64, 3, seed=1, stream=("x",))(0, 160), eps)
    with pytest.raises(UserError, match="blocks of 16"):
        draw(5, 3)


def mlp_vae(seeds=(0, 1), d=12):
    config = VAEConfig(canvas=0, hidden=(9, 7), latent=3, n_z=5)
    vae = build_vae(config, list(seeds), (1, 3, d // 3), 2)
    x = (torch.rand(20, 1, 3, d // 3, generator=generator(0, "x")) < 0.4).float()
    return vae, x


@pytest.mark.parametrize(("n_z", "rows"), [(5, 16), (5, 5), (5, 3), (1, 4), (16, 16)])
def test_the_fused_decoder_gives_the_plain_one_s_numbers(n_z, rows):
    vae, x = mlp_vae()
    z = torch.randn(20, n_z, 3, generator=generator(0, "z"))
    for member in (0, 1):
        fused = FusedBernoulli(vae.decoder.mlp.member(member), rows)(x, z)
        alone, _ = mlp_vae(seeds=(member,))
        plain = PlainDecoder(lambda codes, decoder=alone.decoder: decoder(codes[None]), alone.likelihood, 7)
        torch.testing.assert_close(fused, plain(x, z), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("d", [1, 7, 37, 64, 100, 1024])
@pytest.mark.parametrize("scale", [0.1, 5.0, 200.0])
def test_the_sum_over_pixels_is_that_of_softplus_in_any_size(d, scale):
    # Sizes of one group, of a prime (a group each), of several; logits at which exp under- or overflows.
    logits = scale * torch.randn(50, d, generator=generator(0, "logits"))
    exact = (torch.nn.functional.softplus(logits.double()) - 0.5 * logits.double()).sum(1)
    torch.testing.assert_close(_even_softplus(logits).double(), exact, rtol=2e-6, atol=1e-5)


def test_a_convolutional_vae_has_one_member():
    config = VAEConfig(model="bernoulli-dc", features=2, latent=3)
    vae = build_vae(config, [0], (1, 32, 32), 2).eval()
    x, z = torch.ones(2, 1, 32, 32), torch.zeros(2, 4, 3)
    log_p = make_log_likelihood(vae, 0)(x, z)
    expected = vae.likelihood.log_prob(vae.decoder(z[None, :, 0]), x[None])[0]
    torch.testing.assert_close(log_p, expected.detach()[:, None].expand(2, 4))
    with pytest.raises(UserError, match="no member 1"):
        make_log_likelihood(vae, 1)


def test_the_second_encoder_starts_as_the_model_s_and_training_lowers_its_gap():
    vae, _ = mlp_vae()
    source = generator(0, "bits")
    pixels = (torch.rand(600, 1, 3, 4, generator=source) < 0.4).to(torch.uint8)
    inputs = Inputs("binary", pixels, 2, torch.zeros(600), torch.arange(600), seed=0, split="train")
    x = inputs.evaluation(0, 64)
    second = FullCovariance(vae, 1, seed=3)
    own = encoder_proposal(vae, 1)(x)
    before = second(x)
    torch.testing.assert_close(before.mu, own.mu)
    torch.testing.assert_close(before.scale, torch.diag_embed(own.scale))
    log_likelihood, eps = make_log_likelihood(vae, 1), Points("random", 64, 3, 0)(0, 64)
    assert second.train(inputs, torch.arange(600), epochs=20) == 12_000
    first = importance_log_px(x, own, eps, log_likelihood)
    trained = importance_log_px(x, second(x), eps, log_likelihood)
    assert float(trained.elbo.mean()) > float(first.elbo.mean())
    assert float(trained.ess.mean()) > float(first.ess.mean())
    # It is the same p(x) that both estimate.
    difference = trained.value - first.value
    assert abs(float(difference.mean())) < 4 * math.hypot(float(first.se.norm()), float(trained.se.norm())) / 64
