"""One model in every convention is one denoiser: predictions, schedules, times, and the numbers that come of them."""

import math

import pytest
import torch
from conventions import DOUBLE, LAW, SCHEDULES, SIGMA_DATA, network

from infolab.denoise import Denoiser
from infolab.errors import UserError
from infolab.exact import mixture_denoiser
from infolab.immse import GaussianReference, LogsnrRange, continuous_nll, make_grid, measure_curve
from infolab.model_schedules import EDM, Cosine, Given, RectifiedFlow
from infolab.noise import generator
from infolab.predictions import PREDICTS
from infolab.schedules import VP, append_dims

CASES = [(name, predicts) for name in SCHEDULES for predicts in PREDICTS]


@pytest.mark.parametrize(("name", "predicts"), CASES)
def test_every_convention_is_one_denoiser(name, predicts):
    schedule, told, back = SCHEDULES[name]
    denoiser = Denoiser(network(schedule, predicts, back), predicts, schedule, told, SIGMA_DATA)
    logsnr = torch.linspace(-5, 5, 40, dtype=DOUBLE)
    z = torch.randn(40, 2, generator=generator(0), dtype=DOUBLE)
    found = denoiser(z, logsnr)
    alpha, sigma = torch.sigmoid(logsnr).sqrt()[:, None], torch.sigmoid(-logsnr).sqrt()[:, None]
    eps = LAW.eps_hat(z, logsnr)
    x0 = (z - sigma * eps) / alpha
    # Rounding grows by 1/alpha or 1/sigma, e^2.5 at most, and by what interpolation in a table of steps adds.
    for ours, truth in ((found.eps_hat, eps), (found.x0_hat, x0), (found.v_hat, alpha * eps - sigma * x0)):
        torch.testing.assert_close(ours, truth, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_score_on_any_other_schedule(name):
    schedule, told, back = SCHEDULES[name]
    denoiser = Denoiser(network(schedule, "x0", back), "x0", schedule, told)
    t = torch.linspace(0.1, 0.9, 20, dtype=DOUBLE)
    x_t = torch.randn(20, 2, generator=generator(1), dtype=DOUBLE)
    level = VP().at(t)
    one_by_one = torch.cat([LAW.score_at(x_t[i : i + 1], level.alpha[i], level.sigma[i]) for i in range(20)])
    inside = (level.logsnr > -5) & (level.logsnr < 5)
    torch.testing.assert_close(denoiser.score(x_t, t, VP())[inside], one_by_one[inside], rtol=1e-6, atol=1e-7)


def test_the_nll_is_the_same_in_every_convention():
    x = LAW.sample(100, generator(2)).double()
    reference = GaussianReference.fit(x)
    grid = make_grid(LogsnrRange(0.0, 1.2), 12)
    expected = continuous_nll(measure_curve(mixture_denoiser(LAW), x, grid, reference)).value
    for name, predicts in CASES:
        schedule, told, back = SCHEDULES[name]
        denoiser = Denoiser(network(schedule, predicts, back), predicts, schedule, told, SIGMA_DATA)
        found = continuous_nll(measure_curve(Denoiser.of_eps(denoiser.eps), x, grid, reference)).value
        assert abs(found - expected) < 1e-5 * 2, (name, predicts)


@pytest.mark.parametrize("schedule", [EDM(), RectifiedFlow(), RectifiedFlow(True), Cosine(), SCHEDULES["given"][0]])
def test_new_schedules(schedule):
    t = torch.linspace(0.02, 0.98, 60, dtype=DOUBLE)
    level = schedule.at(t)
    torch.testing.assert_close(schedule.logsnr_to_t(schedule.t_to_logsnr(t)), t, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(2 * torch.log(level.alpha / level.sigma), level.logsnr, rtol=1e-9, atol=1e-10)
    h = 1e-6
    up, down = schedule.at(t + h), schedule.at(t - h)
    for name, slope in (("alpha", "dalpha_dt"), ("sigma", "dsigma_dt"), ("logsnr", "dlogsnr_dt")):
        numeric = (getattr(up, name) - getattr(down, name)) / (2 * h)
        torch.testing.assert_close(getattr(level, slope), numeric, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(level.g2, -(level.sigma**2) * level.dlogsnr_dt, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(level.drift, level.dalpha_dt / level.alpha, rtol=1e-9, atol=1e-9)


def test_images_conditions_and_models_that_return_a_record():
    class Record:
        def __init__(self, sample):
            self.sample = sample

    seen = []

    def unet(x, t, label):
        seen.append((x.shape, t.dtype, label))
        return Record(0 * x)

    found = Denoiser(unet, "v", VP())(torch.ones(3, 1, 4, 4), torch.zeros(3), label=7)
    assert seen == [((3, 1, 4, 4), torch.float32, 7)]
    torch.testing.assert_close(found.x0_hat, torch.full((3, 1, 4, 4), math.sqrt(0.5)))


def test_gradients_pass():
    z = torch.randn(5, 2, generator=generator(3)).requires_grad_()
    Denoiser(lambda x, t: append_dims(t, x) * x, "eps", VP()).eps(z, torch.zeros(5)).sum().backward()
    assert z.grad is not None
    assert bool((z.grad != 0).all())


def test_what_does_not_fit_is_one_sentence():
    for words in ({"predicts": "noise"}, {"time": "steps"}):
        with pytest.raises(UserError, match="choose one of"):
            Denoiser(lambda x, t: x, **words)
    for wrong in (lambda x, t: x[:1], lambda x, t: None):
        with pytest.raises(UserError, match="expected a tensor of shape"):
            Denoiser(wrong)(torch.ones(3, 2), torch.zeros(3))
    with pytest.raises(UserError, match="falls, or rises, all the way"):
        Given(lambda t: torch.cos(6 * t), lambda t: 1 + 0 * t)
