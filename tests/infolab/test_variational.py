"""The discrete-time variational bound against its closed form on Gaussian data with the exact denoiser."""

import math

import pytest
import torch
from scipy import integrate, stats

from infolab.denoise import Denoiser
from infolab.errors import UserError
from infolab.schedules import DDPM
from infolab.variational import VariationalBound

SPECTRUM = torch.tensor([0.05, 0.2, 0.6], dtype=torch.float64)
MEAN = torch.tensor([0.1, -0.2, 0.3], dtype=torch.float64)


def exact_denoiser(z, logsnr):
    """eps_hat = sigma (z - alpha mu) / (alpha^2 l + sigma^2) of independent Gaussians."""
    alpha2, sigma2 = torch.sigmoid(logsnr)[:, None], torch.sigmoid(-logsnr)[:, None]
    return sigma2.sqrt() * (z - alpha2.sqrt() * MEAN) / (alpha2 * SPECTRUM + sigma2)


def data(n: int, seed: int = 0) -> torch.Tensor:
    eps = torch.randn(n, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return MEAN + SPECTRUM.sqrt() * eps


def closed_form(schedule: DDPM, large: bool) -> float:
    """E[L_T + sum L_t + L_0] for Gaussian data: each squared error of x0_hat is the Gaussian's MMSE."""
    betas, abar = schedule.betas, schedule.abar
    total = 0.5 * float((abar[-1] * (MEAN**2 + SPECTRUM) - abar[-1] - torch.log1p(-abar[-1])).sum())
    tilde = [0.0] + [float(betas[i] * (1 - abar[i - 1]) / (1 - abar[i])) for i in range(1, schedule.steps)]
    for i in range(schedule.steps):
        snr = abar[i] / (1 - abar[i])
        mmse = SPECTRUM / (1 + snr * SPECTRUM)
        if i == 0:
            variance = tilde[1]
            total += 0.5 * float((math.log(2 * math.pi * variance) + mmse / variance).sum())
            continue
        variance = float(betas[i]) if large else tilde[i]
        c0 = abar[i - 1].sqrt() * betas[i] / (1 - abar[i])
        ratio = tilde[i] / variance
        total += 0.5 * float((ratio - 1 - math.log(ratio) + c0**2 * mmse / variance).sum())
    return total


@pytest.mark.parametrize("variance", ["large", "small"])
@pytest.mark.parametrize("schedule", [DDPM.linear(60, 1e-3, 0.2), DDPM.cosine(50)], ids=["linear", "cosine"])
def test_closed_form_on_gaussian_data(schedule, variance):
    bound = VariationalBound(schedule, variance, clip=False)
    terms = bound.terms(Denoiser.of_eps(exact_denoiser), data(4000))
    estimate = bound.estimate(terms, d=3)
    assert abs(estimate.value - closed_form(schedule, variance == "large")) < 4 * estimate.se
    assert estimate.se < 0.12
    assert estimate.evaluations == 4000 * schedule.steps


def test_the_bound_lies_above_the_entropy_and_approaches_it_with_the_steps():
    entropy = 0.5 * float((2 * math.pi * math.e * SPECTRUM).log().sum())
    # Many steps, with T and the first beta fixed, leave only the prior's mismatch.
    gaps = [closed_form(DDPM.linear(n, 1e-3 * 50 / n, 0.4 * 50 / n), large=False) - entropy for n in (50, 400)]
    assert 0 < gaps[1] < gaps[0]


def test_a_subset_of_the_steps_is_unbiased_and_its_error_honest():
    schedule = DDPM.linear(200, 1e-3, 0.06)
    bound = VariationalBound(schedule, clip=False)
    x = data(64)
    model = Denoiser.of_eps(exact_denoiser)
    runs = [bound.terms(model, x, steps=20, seed=seed) for seed in range(60)]
    values = torch.tensor([float(run.total.mean()) for run in runs])
    whole = torch.tensor([float(bound.terms(model, x, seed=seed).total.mean()) for seed in range(4)])
    assert abs(float(values.mean() - whole.mean())) < 4 * float(values.std() / 60**0.5 + whole.std() / 2)
    assert runs[0].evaluations == 64 * 21
    # Over many examples which steps were drawn is all of the spread, which is known to 13% from 30 values.
    many = [bound.terms(model, data(4000), steps=20, seed=seed) for seed in range(30)]
    spread = float(torch.tensor([float(run.total.mean()) for run in many]).std())
    stated = (sum(run.se_steps**2 for run in many) / 30) ** 0.5
    assert 0.6 < stated / spread < 1.6


def test_learned_variance_interpolates_between_both():
    schedule = DDPM.cosine(30)
    x = data(40)

    def total(variance: str, v: float | None = None) -> torch.Tensor:
        def model(x_t, step):
            eps_hat = exact_denoiser(x_t, schedule.logsnr[step].to(x_t))
            return eps_hat if v is None else torch.cat([eps_hat, torch.full_like(eps_hat, v)], 1)

        learned = Denoiser.of_steps(model, schedule)
        return VariationalBound(schedule, variance, clip=False).terms(learned, x).transitions

    torch.testing.assert_close(total("learned", 1.0), total("large"))
    torch.testing.assert_close(total("learned", -1.0), total("small"))
    with pytest.raises(UserError, match="variance"):
        total("learned")


def test_discretised_reconstruction_sums_to_one_over_all_levels():
    bound = VariationalBound(DDPM.linear(20, 1e-2, 0.2), levels=5)
    levels = torch.linspace(-1, 1, 5, dtype=torch.float64)[:, None]
    mean = torch.full_like(levels, 0.37)
    log_var = torch.full_like(levels, math.log(0.3**2))
    mass = torch.exp(-bound._reconstruction(levels, mean, log_var))
    assert float(mass.sum()) == pytest.approx(1, rel=1e-12)
    law = stats.norm(0.37, 0.3)
    assert float(mass[2]) == pytest.approx(law.cdf(0.25) - law.cdf(-0.25), rel=1e-12)
    assert float(mass[4]) == pytest.approx(law.sf(0.75), rel=1e-12)


def test_continuous_and_discrete_reconstruction_agree_for_narrow_bins():
    schedule = DDPM.linear(20, 1e-2, 0.2)
    levels = 4001
    x = (torch.randint(0, levels, (50, 3), generator=torch.Generator().manual_seed(1)).double() / (levels - 1)) * 2 - 1
    model = Denoiser.of_eps(exact_denoiser)
    density = VariationalBound(schedule, clip=False).terms(model, x).reconstruction
    mass = VariationalBound(schedule, levels=levels, clip=False).terms(model, x).reconstruction
    inside = (x.abs() < 0.999).all(1)  # the end bins hold the tails
    torch.testing.assert_close((mass + 3 * math.log(2 / (levels - 1)))[inside], density[inside], rtol=0, atol=1e-4)


def test_bound_of_a_mass_lies_above_the_entropy_of_the_levels():
    # A Gaussian rounded to levels: H by quadrature; the exact Gaussian denoiser is near the optimal one.
    spread, levels = 0.2, 33
    edges = (torch.arange(levels) - 0.5) * 2 / (levels - 1) - 1
    law = stats.norm(0.0, spread)
    mass = [law.cdf(float(e) + 2 / (levels - 1)) - law.cdf(float(e)) for e in edges]
    entropy = -sum(m * math.log(m) for m in mass if m > 0)
    check, _ = integrate.quad(law.pdf, -1 - 1 / (levels - 1), 1 + 1 / (levels - 1))
    assert sum(mass) == pytest.approx(check, rel=1e-9)
    index = torch.multinomial(torch.tensor(mass), 4000, replacement=True, generator=torch.Generator().manual_seed(0))
    x = (index.double() * 2 / (levels - 1) - 1)[:, None]

    def denoiser(z, logsnr):
        alpha2, sigma2 = torch.sigmoid(logsnr)[:, None], torch.sigmoid(-logsnr)[:, None]
        return sigma2.sqrt() * z / (alpha2 * spread**2 + sigma2)

    schedule = DDPM.linear(300, 2e-3, 0.05)
    bound = VariationalBound(schedule, "small", levels=levels)
    estimate = bound.estimate(bound.terms(Denoiser.of_eps(denoiser), x), d=1)
    assert entropy - 3 * estimate.se < estimate.value < entropy + 0.4


def test_noise_does_not_depend_on_the_batch():
    schedule = DDPM.linear(10, 1e-2, 0.3)
    model, x = Denoiser.of_eps(exact_denoiser), data(20)
    bound = VariationalBound(schedule)
    torch.testing.assert_close(bound.terms(model, x, batch=7).total, bound.terms(model, x).total, rtol=1e-12, atol=0)


def test_network_of_iddpms_layout_is_fed_thousandths_and_split():
    fed = []

    def network(x_t, t):
        fed.append(float(t[0]))
        return torch.cat([x_t, -torch.ones_like(x_t)], 1)

    eps_hat, v = Denoiser(network, "eps", DDPM.cosine(4000)).at_step(
        torch.zeros(2, 3, 1, 1), torch.tensor([2000, 2000]), DDPM.cosine(4000)
    )
    assert fed == [500.0]
    assert eps_hat.shape == (2, 3, 1, 1)
    assert v is not None
    assert bool((v == -1).all())


@pytest.mark.parametrize(("settings", "words"), [({"variance": "huge"}, "variance"), ({"levels": 1}, "levels")])
def test_bad_settings_are_refused(settings, words):
    with pytest.raises(UserError, match=words):
        VariationalBound(DDPM.linear(10), **settings)
