"""Every schedule: inverse, derivatives against autograd, the (alpha, sigma, logsnr) triple."""

import math

import pytest
import torch

from infolab.denoise import Denoiser
from infolab.errors import UserError
from infolab.schedules import DDPM, VE, VP, append_dims, logsnr_to_alpha_sigma

DOUBLE = torch.float64
SCHEDULES = {
    "vp": (VP(), torch.linspace(1e-4, 2, 400, dtype=DOUBLE)),
    "vp flat": (VP(2.0, 2.0), torch.linspace(1e-4, 3, 400, dtype=DOUBLE)),
    "ve": (VE(), torch.linspace(1e-5, 2, 400, dtype=DOUBLE)),
    "linear": (DDPM.linear(), torch.linspace(0.013, 998.987, 400, dtype=DOUBLE)),
    "cosine": (DDPM.cosine(), torch.linspace(0.013, 3998.98, 400, dtype=DOUBLE)),
}
everywhere = pytest.mark.parametrize("name", SCHEDULES)


@everywhere
def test_inverse_goes_there_and_back(name):
    schedule, t = SCHEDULES[name]
    torch.testing.assert_close(schedule.logsnr_to_t(schedule.t_to_logsnr(t)), t, rtol=1e-8, atol=1e-10)


@everywhere
def test_triple_agrees_and_logsnr_falls(name):
    schedule, t = SCHEDULES[name]
    level = schedule.at(t)
    torch.testing.assert_close(2 * torch.log(level.alpha / level.sigma), level.logsnr, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(schedule.t_to_logsnr(t), level.logsnr, rtol=1e-12, atol=1e-12)
    assert (level.logsnr.diff() < 0).all()
    if name != "ve":
        torch.testing.assert_close(level.alpha**2 + level.sigma**2, torch.ones_like(t))


@everywhere
def test_derivatives_against_autograd(name):
    schedule, t = SCHEDULES[name]
    t = t.clone().requires_grad_(True)
    level = schedule.at(t)
    for value, slope in (("alpha", "dalpha_dt"), ("sigma", "dsigma_dt"), ("logsnr", "dlogsnr_dt")):
        output = getattr(level, value)
        expected = torch.zeros_like(t)
        if output.requires_grad:
            (expected,) = torch.autograd.grad(output.sum(), t, retain_graph=True)
        torch.testing.assert_close(getattr(level, slope).detach(), expected, rtol=1e-7, atol=1e-12)


@everywhere
def test_sde_coefficients_give_the_channel(name):
    """Alpha' = f alpha and (sigma^2)' = 2 f sigma^2 + g^2: the moments of dx = f x dt + g dw."""
    schedule, t = SCHEDULES[name]
    level = schedule.at(t)
    torch.testing.assert_close(level.drift * level.alpha, level.dalpha_dt, rtol=1e-10, atol=1e-14)
    growth = 2 * level.drift * level.sigma**2 + level.g2
    # Cancellation of the two terms leaves an absolute error of their size times the rounding unit.
    size = (2 * level.drift * level.sigma**2).abs().max() * 1e-13 + 1e-13
    torch.testing.assert_close(growth, 2 * level.sigma * level.dsigma_dt, rtol=1e-8, atol=float(size))


@everywhere
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_and_shape_follow_the_input(name, dtype):
    schedule, t = SCHEDULES[name]
    t = t[:6].reshape(2, 3).to(dtype)
    level = schedule.at(t)
    outputs = [getattr(level, field) for field in level.__dataclass_fields__]
    outputs += [schedule.t_to_logsnr(t), schedule.logsnr_to_t(level.logsnr)]
    assert all(o.dtype == dtype and o.shape == (2, 3) for o in outputs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("schedule", [VP(), VE()])
def test_no_overflow_far_out(schedule, dtype):
    t = torch.tensor([1.0, 5.0, 13.0, 20.0], dtype=dtype)
    logsnr = schedule.t_to_logsnr(t)
    assert torch.isfinite(logsnr).all()
    torch.testing.assert_close(schedule.logsnr_to_t(logsnr), t, rtol=1e-5, atol=0)
    if isinstance(schedule, VP):
        level = schedule.at(t)
        assert all(torch.isfinite(getattr(level, f)).all() for f in level.__dataclass_fields__)


def test_vp_at_published_values():
    B = 0.1 * 0.5 + 19.9 * 0.125
    level = VP().at(torch.tensor(0.5, dtype=DOUBLE))
    assert float(level.alpha) == pytest.approx(math.exp(-B / 2))
    assert float(level.logsnr) == pytest.approx(-math.log(math.expm1(B)))
    assert VP().prior_std(3.0) == 1.0
    assert VE().prior_std(1.0) == pytest.approx(math.sqrt((25**2 - 1) / (2 * math.log(25))))


def test_channel_of_a_logsnr():
    logsnr = torch.tensor([-200.0, -1.0, 0.0, 3.0, 200.0], dtype=DOUBLE)
    alpha, sigma = logsnr_to_alpha_sigma(logsnr)
    torch.testing.assert_close(2 * (alpha.log() - sigma.log()), logsnr)
    torch.testing.assert_close(alpha**2 + sigma**2, torch.ones(5, dtype=DOUBLE))


def test_ddpm_arrays_against_plain_products():
    for ddpm in (DDPM.linear(), DDPM.cosine()):
        torch.testing.assert_close(ddpm.abar, torch.cumprod(1 - ddpm.betas, 0), rtol=1e-12, atol=0)
        steps = torch.arange(ddpm.steps, dtype=DOUBLE)
        torch.testing.assert_close(ddpm.t_to_logsnr(steps), torch.logit(ddpm.abar), rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(ddpm.alpha**2 + ddpm.sigma**2, torch.ones(ddpm.steps, dtype=DOUBLE))
        torch.testing.assert_close(ddpm.alpha**2, ddpm.abar)
    assert float(DDPM.linear(10, 1e-12, 0.1).sigma[0]) == pytest.approx(1e-6, rel=1e-9)
    linear = DDPM.linear()
    assert (float(linear.betas[0]), float(linear.betas[-1])) == (1e-4, 0.02)
    assert float(DDPM.cosine().betas.max()) == 0.999


def test_interpolation_is_per_sample_and_held_at_the_ends():
    ddpm = DDPM.linear()
    logsnr = torch.tensor([100.0, 3.0, 0.0, -100.0], dtype=DOUBLE)
    together = ddpm.logsnr_to_t(logsnr)
    alone = torch.stack([ddpm.logsnr_to_t(a) for a in logsnr])
    torch.testing.assert_close(together, alone, rtol=0, atol=0)
    assert together[0] == 0
    assert together[-1] == 999


# IDDPM feeds step i as 1,000 i / N (improved-diffusion, `rescale_timesteps`), DDPM and diffusers as i.
@pytest.mark.parametrize(
    ("schedule", "scale"),
    [
        (DDPM.cosine(4000), 0.25),
        (DDPM.cosine(1000), 1.0),
        (DDPM.linear(4000, 2.5e-5, 5e-3, time_per_step=0.25), 0.25),
        (DDPM.linear(4000, 2.5e-5, 5e-3), 1.0),
        (DDPM.linear(), 1.0),
    ],
    ids=["cosine-4000", "cosine-1000", "linear-4000-rescaled", "linear-4000", "linear-1000"],
)
def test_network_time_is_what_training_fed_at_every_step_and_a_line_between(schedule, scale):
    steps = torch.arange(schedule.steps, dtype=DOUBLE)
    abar = torch.cumprod(1 - schedule.betas, 0)

    def fed(logsnr):
        told = []
        Denoiser(lambda x, t: told.append(t) or x, "eps", schedule).eps(
            torch.zeros(len(logsnr), 1, dtype=DOUBLE), logsnr
        )
        return told[0]

    torch.testing.assert_close(fed(schedule.logsnr), scale * steps, rtol=1e-12, atol=0)
    torch.testing.assert_close(torch.sigmoid(schedule.logsnr), abar, rtol=1e-10, atol=0)  # the signal of step i itself
    between = 0.7 * schedule.logsnr[:-1] + 0.3 * schedule.logsnr[1:]
    torch.testing.assert_close(fed(between), scale * (steps[:-1] + 0.3), rtol=1e-8, atol=1e-8)
    ends = fed(torch.tensor([100.0, -100.0], dtype=DOUBLE))
    assert ends.tolist() == [0, scale * (schedule.steps - 1)]


def test_expand():
    t = torch.arange(4.0).reshape(2, 2)
    assert append_dims(t, torch.zeros(2, 2, 3)).shape == (2, 2, 1)


@pytest.mark.parametrize(
    "make", [lambda: VP(0.0, 1.0), lambda: VP(2.0, 1.0), lambda: VE(1.0), lambda: DDPM(torch.ones(3))]
)
def test_wrong_settings_are_refused(make):
    with pytest.raises(UserError, match="expected"):
        make()
