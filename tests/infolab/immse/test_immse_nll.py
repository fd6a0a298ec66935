"""Likelihoods with exact denoisers: the truth within the errors; with others, bounds; ensembles without optimism."""

import math
from functools import partial

import pytest
import torch

from infolab.denoise import Denoiser
from infolab.errors import UserError
from infolab.exact import mixture_denoiser
from infolab.immse import (
    Bins,
    GaussianReference,
    LogsnrRange,
    continuous_nll,
    dequantized_nll,
    discrete_nll,
    ensemble_nll,
    estimate_nll,
    make_grid,
    measure_curve,
    widen_range,
)
from infolab.immse.curve import log_mass_tail
from infolab.mixture import GaussianMixture
from infolab.noise import generator
from infolab.schedules import logsnr_to_alpha_sigma
from infolab.toy import make

THREE = GaussianMixture(torch.ones(3), torch.tensor([[-2.0, 0.0], [1.0, 1.0], [0.5, -1.0]]), 0.01)
FAR = GaussianMixture(torch.ones(2), torch.tensor([[-3.0], [3.0]]), 0.01)


def disturbed(law, k, z, logsnr):
    """A denoiser that is off by a ripple of its own."""
    return law.eps_hat(z, logsnr) + 0.4 * torch.sin(40 * z + k)


def near(estimate, truth, sigmas=4.0):
    return abs(estimate.value - truth) <= sigmas * estimate.se + estimate.tail_nats


@pytest.mark.parametrize("noise", ["quasi", "independent", "shared"])
def test_a_gaussian_is_exact_to_rounding_whatever_its_spectrum(noise):
    variances = torch.logspace(-5, 5, 8, dtype=torch.float64)
    x = torch.randn(100, 8, generator=generator(0), dtype=torch.float64) * variances.sqrt()
    law = GaussianMixture(torch.ones(1), torch.zeros(1, 8), torch.diag(variances)[None])
    reference = GaussianReference(torch.zeros(8, dtype=torch.float64), variances)
    found = estimate_nll(mixture_denoiser(law), x, reference, noise=noise)["continuous"]
    assert found.value == pytest.approx(-float(law.log_prob(x).mean()), abs=1e-8)
    assert found.se_quadrature < 1e-8
    assert found.se_data == pytest.approx(float(law.log_prob(x).std()) / 10, rel=1e-6)


def test_the_strongly_correlated_gaussian_without_the_control_variate():
    law = make("scg")
    x = law.sample(4000, generator(1)).double()
    reference = GaussianReference(torch.zeros(2, dtype=torch.float64), *torch.linalg.eigh(law.mixture.cov()))
    assert reference.entropy_nats == pytest.approx(1.218489, abs=1e-6)
    curve = measure_curve(mixture_denoiser(law.mixture), x, make_grid(LogsnrRange(0, 3)), reference)
    plain = continuous_nll(curve, control_variate=False)
    assert near(plain, 1.218489)
    assert continuous_nll(curve).value == pytest.approx(-float(law.log_prob(x).mean()), abs=1e-6)


@pytest.mark.parametrize("integrator", ["deterministic", "rqmc", "random"])
def test_a_mixture_with_structure_that_the_spectrum_does_not_see(integrator):
    x = FAR.sample(512, generator(2))
    found = estimate_nll(mixture_denoiser(FAR), x, GaussianReference.fit(x), integrator=integrator)["continuous"]
    assert near(found, FAR.entropy_quadrature().value)
    assert found.evaluations == 512 * 100


def test_the_published_range_loses_what_widening_finds():
    x = FAR.sample(256, generator(2))
    reference = GaussianReference.fit(x)
    narrow = estimate_nll(mixture_denoiser(FAR), x, reference, widen=False)["continuous"]
    truth = -float(FAR.log_prob(x).mean())
    assert narrow.value > truth + 1.2
    assert narrow.tail_nats > 0.5
    by_hand = estimate_nll(mixture_denoiser(FAR), x, reference, logsnr_range=LogsnrRange(0, 3), widen=False)[
        "continuous"
    ]
    assert by_hand.tail_nats < 1e-2
    assert near(by_hand, truth)
    wide = widen_range(mixture_denoiser(FAR), x, reference)
    assert wide.high > 9
    assert wide.tail_nats < 2e-4
    assert wide.evaluations > 0


def test_two_points_are_log_2_and_n_points_log_n():
    two = torch.tensor([[-1.0], [1.0]], dtype=torch.float64)
    five = torch.tensor([[0, 0], [3, 1], [1, 4], [2, 2], [4, 4]], dtype=torch.float64)
    for points, bins in ((two, Bins(-1, 2, 2)), (five, Bins(0, 1, 5))):
        law = GaussianMixture(torch.ones(len(points)), points, 0.0)
        x = points[torch.randint(len(points), (600,), generator=generator(3))]
        reference = GaussianReference.fit(x, floor=bins.step**2 / 12)
        curve = estimate_nll(mixture_denoiser(law), x, reference, bins=bins).curve
        for rounding in ("raw", "best"):
            found = discrete_nll(curve, rounding)
            assert near(found, math.log(len(points)))
            assert found.tail_nats < 1e-3
            assert found.bin_width == bins.step
        # The posterior mean is optimal; rounding it is not, but still an upper bound.
        assert discrete_nll(curve, "hard").value > discrete_nll(curve, "raw").value


def test_constant_pixels_are_no_trouble_for_a_mass():
    points = torch.tensor([[-1.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    x = points[torch.randint(2, (400,), generator=generator(4))]
    reference = GaussianReference.fit(x, floor=1 / 3)
    law = GaussianMixture(torch.ones(2), points, 0.0)
    assert near(estimate_nll(mixture_denoiser(law), x, reference, bins=Bins(-1, 1, 3))["discrete"], math.log(2))
    with pytest.raises(UserError, match="1 of 2 directions of the data are constant"):
        estimate_nll(mixture_denoiser(law), x, GaussianReference.fit(x))


def uniform_eps_hat(z, logsnr):
    """The optimal denoiser of U(-1/2, 3/2), from the mean of a truncated normal."""
    alpha, sigma = (v[:, None] for v in logsnr_to_alpha_sigma(logsnr))
    spread = sigma / alpha
    low, high = (-0.5 - z / alpha) / spread, (1.5 - z / alpha) / spread
    grid = torch.linspace(0, 1, 301, dtype=torch.float64)
    # Where the interval is wide in noise units only the part near the noise has mass.
    low, high = low.clamp(min=-9), high.clamp(max=9)
    t = low + (high - low) * grid
    weight = torch.exp(-(t**2) / 2)
    mean = torch.trapezoid(t * weight, t) / torch.trapezoid(weight, t)
    return -mean[:, None]


def test_dequantisation_bounds_the_mass():
    # k in {0, 1} with equal odds, D = 1: the dequantised law is uniform on (-1/2, 3/2), and the bound is tight.
    x = torch.randint(2, (300, 1), generator=generator(5)).double()
    reference = GaussianReference.fit(x, floor=1 / 12)
    law = GaussianMixture(torch.ones(2), torch.tensor([[0.0], [1.0]]), 0.0)

    def denoiser(z, logsnr):
        return uniform_eps_hat(z, logsnr)

    found = estimate_nll(Denoiser.of_eps(denoiser), x, reference, bins=Bins(0, 1, 2), dequantized=True, points=40)[
        "dequantized"
    ]
    assert near(found, math.log(2))
    assert "dequantisation" in found.estimand
    # A denoiser of the two points knows nothing of the spread in a bin: still a bound.
    curve = estimate_nll(mixture_denoiser(law), x, reference, bins=Bins(0, 1, 2), dequantized=True).curve
    assert dequantized_nll(curve, gaussian_member=True).value > math.log(2)
    with pytest.raises(UserError, match="without bins"):
        continuous_nll(curve)


def test_the_right_tail_is_a_bound_and_the_published_one_is_not():
    # x = +-1, z rounded to its sign: 1/2 Int_2^oo e^a 4 P(eps < -e^(a/2)) da, by quadrature.
    a = torch.linspace(2, 12, 200_001, dtype=torch.float64)
    truth = float(torch.trapezoid(2 * torch.exp(a) * torch.special.ndtr(-torch.exp(a / 2)), a))
    bound = log_mass_tail(Bins(-1, 2, 2), 1, 2.0)
    assert truth < bound < 10 * truth
    # The optimal denoiser tanh leaves less, but more than the published form 4 exp(-D^2 e^a / 4) says.
    a = a[::100]
    e = torch.linspace(-9, 9, 2001, dtype=torch.float64)
    miss = (1 - torch.tanh(a.exp()[:, None] + (a / 2).exp()[:, None] * e)).square()
    mmse = torch.trapezoid(miss * torch.exp(-(e**2) / 2), e) / math.sqrt(2 * math.pi)
    optimal = float(torch.trapezoid(a.exp() * mmse / 2, a))
    assert optimal == pytest.approx(9.2e-3, rel=0.02)
    assert 4 * math.exp(-(2**2) * math.exp(2.0) / 4) < optimal < truth


def test_a_bad_denoiser_gives_an_upper_bound_and_the_gaussian_stands_in():
    law = THREE
    x = law.sample(1500, generator(6))
    reference = GaussianReference.fit(x)
    truth = -float(law.log_prob(x).mean())
    curve = measure_curve(
        Denoiser.of_eps(lambda z, a: 0.7 * law.eps_hat(z, a)), x, make_grid(LogsnrRange(4, 3), 60), reference
    )
    alone, helped = continuous_nll(curve), continuous_nll(curve, gaussian_member=True)
    assert alone.value > truth + 0.2
    assert truth < helped.value < alone.value
    assert helped.optimistic_nats <= helped.value
    assert alone.optimistic_nats is None


def test_an_ensemble_is_not_above_its_members_and_not_optimistic():
    law = THREE
    x = law.sample(1200, generator(7))
    reference = GaussianReference.fit(x)
    grid = make_grid(LogsnrRange(4.5, 2.6), 50)
    good_low = measure_curve(
        Denoiser.of_eps(lambda z, a: torch.where(a[:, None] < 3, 1.0, 0.5) * law.eps_hat(z, a)), x, grid, reference
    )
    good_high = measure_curve(
        Denoiser.of_eps(lambda z, a: torch.where(a[:, None] > 3, 1.0, 0.5) * law.eps_hat(z, a)), x, grid, reference
    )
    both = ensemble_nll([good_low, good_high])
    assert near(both, -float(law.log_prob(x).mean()))
    for member in (good_low, good_high):
        assert both.value < continuous_nll(member).value
    assert both.evaluations == 2 * good_low.evaluations
    assert both.optimistic_nats <= both.value
    # Members that differ by noise alone: choosing on the very sample that is averaged reads lower.
    draws = [measure_curve(Denoiser.of_eps(partial(disturbed, law, k)), x[:64], grid, reference) for k in range(6)]
    chosen = ensemble_nll(draws)
    assert chosen.optimistic_nats < chosen.value
    with pytest.raises(UserError, match="different examples"):
        ensemble_nll([good_low, measure_curve(mixture_denoiser(law), x[:50], grid, reference)])


def test_the_discrete_ensemble_takes_the_best_of_all_roundings():
    points = torch.tensor([[-1.0], [1.0]], dtype=torch.float64)
    law, bins = GaussianMixture(torch.ones(2), points, 0.0), Bins(-1, 2, 2)
    x = points[torch.randint(2, (500,), generator=generator(8))]
    reference = GaussianReference.fit(x, floor=1 / 3)
    grid = make_grid(widen_range(mixture_denoiser(law), x, reference, bins=bins), 60)
    exact = measure_curve(mixture_denoiser(law), x, grid, reference, bins=bins)
    linear = measure_curve(Denoiser.of_eps(reference.eps_hat), x, grid, reference, bins=bins)
    together = ensemble_nll([linear, exact], "discrete")
    assert near(together, math.log(2))
    for member in (linear, exact):
        assert together.value < discrete_nll(member).value + 2 * together.se_data
    assert together.rounding == "best"


def test_every_estimate_says_what_it_is():
    x = FAR.sample(64, generator(9))
    found = estimate_nll(mixture_denoiser(FAR), x, GaussianReference.fit(x), points=20)["continuous"]
    record = found.as_dict()
    assert (record["n"], record["d"], record["points"], record["integrator"]) == (64, 1, 20, "deterministic")
    assert record["estimand"] == "E[-log p(x)], a density"
    assert record["bias"] == "upper"
    assert found.bpd == pytest.approx(found.value / math.log(2))
    assert found.gaussian_nats == pytest.approx(-float(GaussianReference.fit(x).log_prob(x).mean()))
    on_a_grid, grid = x.round(), make_grid(LogsnrRange(0, 3), 5)
    bins = Bins.of_data(on_a_grid, 1.0)
    with pytest.raises(UserError, match="data on a grid"):
        ensemble_nll(
            [measure_curve(mixture_denoiser(FAR), on_a_grid, grid, GaussianReference.fit(on_a_grid), bins=bins)]
        )
    with pytest.raises(UserError, match="without a grid"):
        discrete_nll(measure_curve(mixture_denoiser(FAR), x, make_grid(LogsnrRange(0, 3), 5), GaussianReference.fit(x)))
