"""One model in every convention gives the same likelihoods, by every estimator, and the same samples."""

import functools

import pytest
import torch
from conventions import DOUBLE, LAW, SCHEDULES, SIGMA_DATA, network

from infolab.denoise import Denoiser
from infolab.epochs import DebiasedTime
from infolab.exact import mixture_denoiser
from infolab.immse import GaussianReference, LogsnrRange, continuous_nll, make_grid, measure_curve
from infolab.likelihood import ElboDraw, elbo, elbo_from_denoising, ode_log_likelihood
from infolab.noise import generator
from infolab.sample import ddim, invert, reverse_sde
from infolab.schedules import DDPM, VP, LogsnrLine

# All is asked at log-SNRs that every schedule below has: the table of `linear` ends at 9.2, `given` at -6.
HIGH, LOW = 7.0, -5.5
STEPS = DDPM.linear(200, 2e-4, 0.057)  # log-SNR 8.5 to -5.8
CHANNEL = LogsnrLine(1.0, -1.0)
PAIRS = [
    ("vp", "eps"), ("vp", "-eps"), ("vp", "x0"), ("vp", "v"), ("vp", "score"), ("vp", "flow"), ("vp", "-flow"),
    ("vp, 1000 t", "eps"), ("cosine", "v"), ("cosine", "-v"), ("cosine, told log-SNR", "eps"), ("ve", "score"),
    ("ve, told sigma", "eps"), ("edm", "edm"), ("edm, told log(sigma)/4", "edm-raw"), ("flow", "flow"),
    ("flow, noise first", "flow"), ("flow, noise first", "-flow"), ("given", "x0"), ("given, rising", "score"),
    ("linear", "eps"), ("linear", "x0"), ("given betas", "v"),
]  # fmt: skip
CONVENTIONS = [*PAIRS, ("channel", "eps"), ("channel", "x0"), ("channel", "v"), ("whole steps", "eps")]


def model(name, predicts):
    if name == "channel":
        return Denoiser(network(CHANNEL, predicts, CHANNEL.logsnr_to_t), predicts)
    if name == "whole steps":
        # What the samplers in whole steps ask is answered at int64 steps, all else between them.
        return Denoiser.of_steps(network(STEPS, predicts, torch.Tensor.double), STEPS)
    schedule, told, back = SCHEDULES[name]
    return Denoiser(network(schedule, predicts, back), predicts, schedule, told, SIGMA_DATA)


@functools.cache
def points():
    return LAW.sample(12, generator(0, "one model")).double()


def i_mmse(denoiser):
    x = points()
    reference = GaussianReference(LAW.mean(), *torch.linalg.eigh(LAW.cov()))
    grid = make_grid(LogsnrRange.from_ends(LOW, HIGH), 10)
    return continuous_nll(measure_curve(denoiser, x, grid, reference)).value


def ode(denoiser):
    found = ode_log_likelihood(denoiser, LogsnrLine(HIGH, LOW), points(), 1.0, heun_steps=12)
    return -found.log_p


def elbo_of(form, denoiser):
    x, source = points(), generator(1, "one model")
    eps, eps_T = (torch.randn(x.shape, generator=source, dtype=DOUBLE) for _ in range(2))
    u = torch.linspace(0.2, 0.99, len(x), dtype=DOUBLE)  # t from 2e-3 to 0.7, log-SNR 8.2 to -5
    return form(denoiser, VP(), x, DebiasedTime(VP(), 0.7), ElboDraw(u, eps, eps_T))


def by_ddim(denoiser):
    return ddim(denoiser, STEPS, torch.randn(12, 2, generator=generator(2), dtype=DOUBLE), 15)


def by_sde(denoiser):
    noise = torch.randn(10, 12, 2, generator=generator(3), dtype=DOUBLE)
    return reverse_sde(denoiser, LogsnrLine(HIGH, LOW), noise[0], 1.0, 9, lambda step: noise[step + 1], 0.5)


NLLS = {
    "I-MMSE": i_mmse,
    "ODE": ode,
    "ELBO": functools.partial(elbo_of, elbo),
    "ELBO from denoising": functools.partial(elbo_of, elbo_from_denoising),
}
SAMPLERS = {"DDIM": by_ddim, "reverse SDE": by_sde}


@functools.cache
def exact(name):
    return (NLLS | SAMPLERS)[name](mixture_denoiser(LAW))


@pytest.mark.parametrize(("name", "predicts"), CONVENTIONS)
def test_every_convention_has_the_same_likelihood_and_samples(name, predicts):
    # Interpolated steps reach this too: the model here is told where between two steps it is.
    denoiser = model(name, predicts)
    for estimator, measure in NLLS.items():
        found = torch.as_tensor(measure(denoiser))
        torch.testing.assert_close(found, torch.as_tensor(exact(estimator)), rtol=0, atol=2 * 1e-5)  # two dimensions
    for sampler, draw in SAMPLERS.items():
        torch.testing.assert_close(draw(denoiser), exact(sampler), rtol=1e-6, atol=1e-6, msg=sampler)


def test_the_numbers_are_those_of_the_law():
    # 24 evaluations of the ODE and the noise of log-SNR 7 that is left (e^-7 / 0.2 of a variance) err by hundredths.
    assert abs(float((exact("ODE") + LAW.log_prob(points())).mean())) < 0.05


def test_a_wrong_convention_has_other_numbers():
    schedule, told, back = SCHEDULES["vp"]
    wrong = Denoiser(network(schedule, "v", back), "eps", schedule, told)
    for name, measure in NLLS.items():
        assert float((torch.as_tensor(measure(wrong)) - exact(name)).abs().max()) > 0.01, name
    assert float((by_ddim(wrong) - exact("DDIM")).abs().max()) > 0.01


def test_inversion_asks_the_same():
    x_T = torch.randn(6, 2, generator=generator(4), dtype=DOUBLE)
    expected = invert(mixture_denoiser(LAW), STEPS, x_T, 10)
    for name, predicts in (("edm", "edm"), ("whole steps", "eps"), ("flow", "flow")):
        torch.testing.assert_close(invert(model(name, predicts), STEPS, x_T, 10), expected, rtol=1e-6, atol=1e-6)
