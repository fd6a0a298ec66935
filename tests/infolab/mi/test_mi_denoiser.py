"""The head and the denoiser against Gaussians in closed form, and the integral of gains against a known law."""

import math

import pytest
import torch

from infolab.mi.denoiser import BINS, Conditioned, Head, Levels, PairDenoiser, noised, train_denoiser, train_head
from infolab.mi.integrate import Trust, find_trust, integrate
from infolab.mi.pairs import Halves, Pairs
from infolab.noise import generator


def gaussian_pairs(k, n, rho, seed=0):
    """Canonical Gaussian pairs with correlations rho (d,)."""
    source = generator(seed, "pairs")
    y = torch.randn(k, n, len(rho), generator=source)
    x = rho * y + (1 - rho.square()).sqrt() * torch.randn(k, n, len(rho), generator=source)
    return Pairs(x, y)


RHO = torch.tensor([0.9, 0.5])


def head_of(k=2):
    return Head(RHO.expand(k, 1, 2), 2, torch.ones(k, 1, 1), list(range(k)))


def test_the_head_starts_as_the_linear_model():
    with torch.no_grad():
        values = head_of().information(gaussian_pairs(2, 20_000, RHO))
    truth = float(-0.5 * torch.log1p(-RHO.square()).sum())
    se = math.sqrt(float(RHO.square().sum()) / values.numel())  # Var log p(x|y)/p(x) = sum rho^2
    assert abs(float(values.mean()) - truth) < 4 * se


def test_the_denoiser_starts_as_the_gaussians_own():
    pairs = gaussian_pairs(2, 500, RHO)
    with torch.no_grad():
        mean, scale = head_of()(pairs.y)
        model = PairDenoiser(2, 2, 8, [0, 1])
        a = torch.linspace(-4, 6, 500).expand(2, -1)
        z = noised(pairs.x, a, torch.randn(pairs.x.shape, generator=generator(0, "eps")))
        data = Conditioned(pairs, mean, scale)
        for given in (1.0, 0.0):
            linear, correction = model(z, data, a, torch.full((2, 500, 1), given))
            assert bool((correction == 0).all())
            alpha2, sigma2 = torch.sigmoid(a)[..., None], torch.sigmoid(-a)[..., None]
            rho = RHO * given
            # eps_hat = (z - alpha x_hat)/sigma with the posterior mean of x given z (and y)
            posterior = rho * pairs.y + (1 - rho**2) * alpha2.sqrt() / (alpha2 * (1 - rho**2) + sigma2) * (
                z - alpha2.sqrt() * rho * pairs.y
            )
            assert torch.allclose(linear, (z - alpha2.sqrt() * posterior) / sigma2.sqrt(), atol=2e-4)


def two_scales(k, n, seed):
    """x = s g in one dimension with s = 1/2 or 3/2, which y (the label of s) does not tell: its entropy is known."""
    source = generator(seed, "scales")
    large = torch.rand(k, n, 1, generator=source) < 0.5
    x = torch.where(large, 1.5, 0.5) * torch.randn(k, n, 1, generator=source)
    return Pairs(x, torch.randn(k, n, 1, generator=source))


def test_gains_of_a_trained_denoiser_are_a_log_likelihood_ratio():
    # The Gaussian N(0, v) of the law is the control variate; the gain is E log p(x) - E log N(x; 0, v).
    k, n = 2, 4000
    v = (0.25 + 2.25) / 2
    train, test = (two_scales(k, n, seed) for seed in (0, 1))
    grid = torch.linspace(-9, 9, 6001, dtype=torch.float64)
    density = sum(torch.exp(-grid.square() / (2 * s * s)) / (2 * s * math.sqrt(2 * math.pi)) for s in (0.5, 1.5))
    truth = float(torch.trapezoid(density * density.log(), grid)) + 0.5 * math.log(2 * math.pi * math.e * v)
    moments = (torch.zeros(k, n, 1), torch.full((k, n, 1), math.sqrt(v)))
    levels = Levels(-6.0, 10.0)
    data = Conditioned(train, *moments)
    model = train_denoiser(data[:3500], data[3500:], levels, steps=200, batch=256, width=24, lr=2e-2, seed=0)
    data = Conditioned(test, *moments)
    gains = integrate(model, data, levels, Trust(*torch.ones(2, k, BINS)), 24, seed=3)
    # The x of both members are averaged: sampling error of the log-ratio, and an excess of at most 0.01 nats.
    ratio = torch.log(sum(torch.exp(-test.x.square() / (2 * s * s)) / (2 * s) for s in (0.5, 1.5)))
    ratio = ratio + test.x.square() / (2 * v) + 0.5 * math.log(v)
    difference = gains.given - ratio[..., 0]
    se = float(difference.std()) / math.sqrt(difference.numel())
    assert abs(float(ratio.mean()) - truth) < 0.02
    assert -0.01 - 3 * se < float(difference.mean()) < 3 * se
    assert bool((gains.dropped == 0).all())


def test_trust_is_one_for_a_true_correction_and_small_for_noise():
    pairs = gaussian_pairs(1, 4000, torch.tensor([0.0]))
    model = PairDenoiser(1, 1, 4, [0])
    levels = Levels(-2.0, 2.0)
    # The moments are wrong (scale 2 for a standard normal): the right correction is what is missing to sigma z.
    wrong = Conditioned(pairs, torch.zeros(1, 4000, 1), torch.full((1, 4000, 1), 2.0))
    with torch.no_grad():
        linear_of = model.__call__

        def repaired(z, data, a, given):
            linear, _ = linear_of(z, data, a, given)
            return linear, torch.sigmoid(-a).sqrt()[..., None] * z - linear

        def noisy(z, data, a, given):
            linear, _ = linear_of(z, data, a, given)
            return linear, 0.2 * torch.randn(z.shape, generator=source)

        source = generator(0, "noise")
        for replaced, least, most in ((repaired, 0.9, 1.0), (noisy, 0.0, 0.25)):
            stand_in = type("StandIn", (), {"dx": 1, "__call__": staticmethod(replaced)})()
            trust = find_trust(stand_in, wrong, levels, 16, 0).given
            assert least <= float(trust.mean()) <= most


@pytest.mark.bits
def test_training_is_deterministic():
    def trained(k):
        pairs = gaussian_pairs(k, 200, RHO)
        halves = Halves(pairs[:150], pairs[150:], pairs, RHO.expand(k, 1, 2), ("",) * k)
        return train_head(halves, steps=20, batch=32, lr=1e-2, seed=0)

    heads = [trained(2), trained(2)]
    with torch.no_grad():
        first, again = (head(torch.ones(2, 3, 2)) for head in heads)
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))


def test_a_head_that_finds_nothing_stays_linear():
    pairs = gaussian_pairs(2, 400, torch.tensor([0.0, 0.0]))
    halves = Halves(pairs[:300], pairs[300:], pairs, torch.zeros(2, 1, 2), ("", ""))
    head = train_head(halves, steps=60, batch=64, lr=1e-2, seed=0)
    with torch.no_grad():
        found = float(head.information(gaussian_pairs(2, 5000, torch.tensor([0.0, 0.0]), seed=9)).mean())
    assert found == pytest.approx(0.0, abs=0.01)
