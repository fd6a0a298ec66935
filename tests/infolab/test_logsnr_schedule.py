import pytest
import torch

from infolab.denoise import Denoiser
from infolab.errors import UserError
from infolab.likelihood import ode_log_likelihood
from infolab.mixture import GaussianMixture
from infolab.noise import generator
from infolab.sample import StepNoise, reverse_sde
from infolab.schedules import LogsnrLine

LINE = LogsnrLine(9.0, -10.0)
T = torch.linspace(0, 1, 21, dtype=torch.float64)


def test_there_and_back():
    torch.testing.assert_close(LINE.logsnr_to_t(LINE.t_to_logsnr(T)), T)
    assert (float(LINE.t_to_logsnr(T)[0]), float(LINE.t_to_logsnr(T)[-1])) == (9.0, -10.0)


def test_derivatives_agree_with_autograd_and_with_each_other():
    t = T.clone().requires_grad_()
    level = LINE.at(t)
    for name in ("alpha", "sigma", "logsnr"):
        (slope,) = torch.autograd.grad(getattr(level, name).sum(), t, retain_graph=True)
        torch.testing.assert_close(getattr(level, f"d{name}_dt"), slope)
    torch.testing.assert_close(level.alpha**2 + level.sigma**2, torch.ones_like(T))
    torch.testing.assert_close(level.drift, level.dalpha_dt / level.alpha)
    torch.testing.assert_close(level.g2, -(level.sigma**2) * level.dlogsnr_dt)
    torch.testing.assert_close(level.g2, -2 * level.drift)  # variance preserving


LAW = GaussianMixture(torch.tensor([0.3, 0.7]), torch.tensor([[-1.0, 0.5], [1.0, 0.0]]), 0.2)


def score(x, t):
    logsnr = LINE.t_to_logsnr(t)
    return LAW.score_at(x, logsnr.sigmoid().sqrt(), (-logsnr).sigmoid().sqrt())


def test_the_ode_gives_the_exact_likelihood_in_few_steps():
    x = LAW.sample(30, generator(0, "x"))
    found = ode_log_likelihood(Denoiser.of_score(score, LINE), LINE, x, 1.0, heun_steps=60)
    # The noise left at the end of the line blurs the density by exp(-9) / 0.2 of its variance.
    torch.testing.assert_close(found.log_p, LAW.log_prob(x), rtol=0, atol=6e-3)


def test_the_reverse_process_ends_at_the_law():
    n = 4000
    start = torch.randn(n, 2, generator=generator(1, "prior"), dtype=torch.float64)[None]
    noise = StepNoise([0], "line", (n, 2))
    one = torch.ones(1, 1, dtype=torch.float64)
    drawn = reverse_sde(Denoiser.of_score(score, LINE), LINE, start, one, 150, noise)[0]
    error = LAW.cov().diagonal().sqrt() / n**0.5
    assert bool(((drawn.mean(0) - LAW.mean()).abs() < 4 * error).all())
    torch.testing.assert_close(drawn.T.cov(), LAW.cov(), rtol=0.1, atol=0.03)


@pytest.mark.parametrize(("high", "low"), [(1.0, 1.0), (0.0, 2.0), (float("inf"), 0.0)])
def test_a_line_that_does_not_fall_is_refused(high, low):
    with pytest.raises(UserError, match="low < high"):
        LogsnrLine(high, low)
