"""Decoder likelihoods: each is normalised, agrees with its definition, and has the gradient of autograd."""

import math

import pytest
import torch
from torch.nn import functional as F

from vae.models import Bernoulli, ConstantGaussian, DiagonalGaussian, MixLogistics, make_likelihood


def noise(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def test_bernoulli_sums_to_one_and_is_the_cross_entropy():
    logits = 5 * noise(1, 1, 3)
    images = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 3)[None]
    total = Bernoulli().log_prob(logits.expand(1, 8, 3), images).exp().sum()
    assert abs(float(total) - 1) < 1e-5
    out, x = noise(2, 5, 1, 4, 4), (noise(2, 5, 1, 4, 4, seed=1) > 0).float()
    expected = -F.binary_cross_entropy_with_logits(out, x, reduction="none").flatten(2).sum(-1)
    torch.testing.assert_close(Bernoulli().log_prob(out, x), expected)


def test_bernoulli_gradient_is_that_of_autograd():
    out = noise(2, 3, 5, dtype=torch.float64).requires_grad_()
    x = (noise(2, 3, 5, seed=1) > 0).double()
    assert torch.autograd.gradcheck(lambda logits: Bernoulli().log_prob(logits, x), out)


@pytest.mark.parametrize("levels", [256, 17])
@pytest.mark.parametrize("log_scale", [-9.0, -6.0, -3.0, 0.0, 3.0])
def test_discretised_logistic_sums_to_one_in_float32(levels, log_scale):
    # Means inside, at the border of, and far outside the range of the pixels.
    likelihood = MixLogistics(levels)
    x = likelihood.transform.forward(torch.arange(levels, dtype=torch.uint8))[:, None]
    mean = torch.tensor([-3.0, -1.0, -0.37, 0.0, 0.002, 0.9, 1.0, 4.0])[None]
    total = likelihood.log_mass(x, mean, torch.full_like(mean, log_scale)).exp().sum(0)
    torch.testing.assert_close(total, torch.ones(8), atol=1e-5, rtol=0)


def test_the_mixture_over_three_colours_sums_to_one():
    # All 5^3 pixels of a set of five levels, with random mixtures and coefficients between the colours.
    likelihood = MixLogistics(5, components=3)
    x = likelihood.transform.forward(torch.cartesian_prod(*[torch.arange(5, dtype=torch.uint8)] * 3))
    out = 2 * noise(4, 1, 30, 1, 1)
    log_p = likelihood.log_prob(out.expand(4, 125, 30, 1, 1), x[None, :, :, None, None].expand(4, 125, 3, 1, 1))
    torch.testing.assert_close(log_p.exp().sum(1), torch.ones(4), atol=1e-5, rtol=0)


def test_the_mixture_sums_log_probabilities_over_pixels():
    likelihood = MixLogistics(256)
    out, k = noise(1, 2, 50, 3, 4), torch.randint(0, 256, (1, 2, 3, 3, 4), generator=torch.Generator().manual_seed(0))
    x = likelihood.transform.forward(k.to(torch.uint8))
    each = [
        likelihood.log_prob(out[..., i : i + 1, j : j + 1], x[..., i : i + 1, j : j + 1])
        for i in range(3)
        for j in range(4)
    ]
    torch.testing.assert_close(likelihood.log_prob(out, x), torch.stack(each).sum(0), rtol=1e-5, atol=1e-3)


def test_the_mixture_has_finite_gradients_at_the_ends():
    likelihood = MixLogistics(256)
    out = (20 * noise(1, 3, 50, 2, 2)).requires_grad_()
    x = torch.tensor([-1.0, 1.0, 1 / 255])[None, :, None, None, None].expand(1, 3, 3, 2, 2)
    likelihood.log_prob(out, x).sum().backward()
    assert bool(torch.isfinite(out.grad).all())


def test_mean_of_the_mixture_is_the_mean_of_its_red_channel():
    # One narrow component: the mean image is its mean, colour after colour.
    likelihood = MixLogistics(256, components=1)
    out = torch.zeros(1, 1, 10, 1, 1)
    out[0, 0, 1:4, 0, 0] = torch.tensor([0.2, 0.1, -0.3])
    out[0, 0, 4:7] = -6.0
    out[0, 0, 7:, 0, 0] = torch.tensor([0.5, 0.0, -0.5])
    red, green = 0.2, 0.1 + math.tanh(0.5) * 0.2
    blue = -0.3 - math.tanh(0.5) * green
    expected = (torch.tensor([red, green, blue]) + 1) / 2
    torch.testing.assert_close(likelihood.mean(out)[0, 0, :, 0, 0], expected)


@pytest.mark.parametrize("kind", [DiagonalGaussian, ConstantGaussian])
def test_gaussian_density_in_logit_space_integrates_to_one(kind):
    likelihood = kind(256).double()
    y = torch.linspace(-60, 60, 20_001, dtype=torch.float64)
    out = noise(1, 1, likelihood.channels_per_colour, 1, 1, dtype=torch.float64)
    log_p = likelihood.log_prob(out.expand(1, len(y), -1, 1, 1), y[None, :, None, None, None])
    assert abs(float(torch.trapezoid(log_p[0].detach().exp(), y)) - 1) < 1e-9


@pytest.mark.parametrize("kind", [DiagonalGaussian, ConstantGaussian])
def test_gaussian_mass_of_the_levels_is_at_most_one(kind):
    # exp(log p + to_mass) integrated over the dequantisation noise is the mass of a level: all of them sum to 1 less
    # what the density puts outside of the pixels' logits. (Quadrature over each level.)
    likelihood = kind(256).double()
    out = torch.full((1, 1, likelihood.channels_per_colour, 1, 1), 0.3, dtype=torch.float64)
    x = (torch.arange(256 * 64, dtype=torch.float64) + 0.5) / (256 * 64)
    y = likelihood.transform.forward(x[:, None])[0][None, :, :, None, None]
    log_mass = likelihood.log_prob(out.expand(1, len(x), -1, 1, 1), y) + likelihood.log_det_correction(y)
    mu, log_variance = likelihood.moments(out)
    inside = torch.distributions.Normal(mu.flatten()[0], (0.5 * log_variance.flatten()[0]).exp())
    ends = torch.tensor([0.05, 0.95], dtype=torch.float64).logit()
    expected = inside.cdf(ends[1]) - inside.cdf(ends[0])
    torch.testing.assert_close(log_mass[0].exp().sum() / 64, expected, rtol=1e-4, atol=0)


def test_log_variance_has_its_floor_and_start():
    out = torch.full((1, 1, 2, 1, 1), -50.0)
    assert float(DiagonalGaussian(256).moments(out)[1].max()) == -7.0
    assert float(ConstantGaussian(256).log_variance.detach()) == -2.0


def test_each_model_has_its_likelihood():
    names = ["bernoulli-mlp", "bernoulli-dc", "mix-logistics-dc", "diagonal-gaussian-dc", "constant-gaussian-dc"]
    kinds = [Bernoulli, Bernoulli, MixLogistics, DiagonalGaussian, ConstantGaussian]
    assert [type(make_likelihood(name, 256)) for name in names] == kinds
