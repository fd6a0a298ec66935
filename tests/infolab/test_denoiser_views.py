"""The views of a denoiser: its own convention is called as it stands, divergences, whole steps, foreign models."""

import pytest
import torch
from conventions import DOUBLE, LAW

from infolab.denoise import Denoiser
from infolab.errors import UserError
from infolab.exact import gaussian_denoiser, memorizer, mixture_denoiser
from infolab.immse import GaussianReference, estimate_nll
from infolab.likelihood import ode_log_likelihood
from infolab.mixture import GaussianMixture
from infolab.model_schedules import Cosine
from infolab.noise import generator
from infolab.sample import reverse_sde
from infolab.schedules import DDPM, VE, VP, LogsnrLine

CORRELATED = GaussianMixture(
    torch.tensor([0.4, 0.6]),
    torch.tensor([[-1.0, 0.5, 0.0], [1.0, 0.0, 0.5]], dtype=DOUBLE),
    torch.tensor([[[1.0, 0.3, 0.0], [0.3, 0.5, 0.1], [0.0, 0.1, 0.2]], torch.eye(3).tolist()], dtype=DOUBLE),
)


class Asked:
    """Remembers what it was called with, the very tensors."""

    def __init__(self, channels=1):
        self.channels, self.calls = channels, []

    def __call__(self, *given, **named):
        self.calls.append((given, named))
        return torch.cat([0.5 * given[0]] * self.channels, 1)


def test_its_own_convention_is_called_as_it_stands():
    x, t, step = torch.randn(4, 3, generator=generator(5)), torch.linspace(0.1, 0.9, 4), torch.tensor([3, 3, 0, 9])
    network, steps = Asked(), DDPM.linear(10)
    assert torch.equal(Denoiser(network).eps(x, t, label=2), 0.5 * x)
    assert torch.equal(Denoiser.of_score(network, VP()).score(x, t, VP()), 0.5 * x)
    assert torch.equal(Denoiser.of_steps(network, steps).eps_at_step(x, step, DDPM.linear(10)), 0.5 * x)
    for (given, _), told in zip(network.calls, (t, t, step), strict=True):
        assert given[0] is x
        assert given[1] is told
    assert network.calls[0][1] == {"label": 2}
    Denoiser.of_score(network, VP()).score(x, t, VP(0.1, 10.0))
    assert not torch.equal(network.calls[-1][0][1], t)  # the time of another schedule is another one


def test_steps_of_its_own_schedule_are_fed_as_in_training_and_others_by_their_log_snr():
    network, own = Asked(2), DDPM.cosine(50)
    x, step = torch.randn(2, 3, 4, 4, generator=generator(6)), torch.tensor([0, 49])
    eps_hat, v = Denoiser(network, "eps", own).at_step(x, step, DDPM.cosine(50))
    assert network.calls[-1][0][1].tolist() == [0.0, 49 * 20.0]
    assert torch.equal(eps_hat, v)
    other = DDPM(own.betas[:30])  # the same steps, fewer of them
    eps_hat, v = Denoiser(network, "eps", own).at_step(x, torch.tensor([0, 29]), other)
    torch.testing.assert_close(network.calls[-1][0][1], torch.tensor([0.0, 29 * 20.0]), rtol=1e-4, atol=1e-3)
    assert v is None


@pytest.mark.parametrize("schedule", [VP(), VE(), Cosine(), LogsnrLine(6.0, -6.0)])
@pytest.mark.parametrize("law", [LAW, CORRELATED])
def test_divergences_of_batches_of_any_shape(schedule, law):
    x, t = torch.randn(2, 5, law.d, generator=generator(0), dtype=DOUBLE), torch.linspace(0.1, 0.9, 10).double()
    t = t.reshape(2, 5)
    closed = mixture_denoiser(law)
    score, divergence = closed.score_and_divergence(x, t, schedule)
    by_gradients = Denoiser.of_eps(law.eps_hat).score_and_divergence(x, t, schedule)
    level = schedule.at(t)
    torch.testing.assert_close(score, law.score_at(x, level.alpha, level.sigma), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close((score, divergence), by_gradients, rtol=1e-8, atol=1e-8)
    # The unit vectors as probes, one after the other, add up to the trace.
    units = torch.eye(law.d, dtype=DOUBLE)
    parts = [closed.score_and_divergence(x, t, schedule, unit.expand_as(x).contiguous())[1] for unit in units]
    torch.testing.assert_close(sum(parts), divergence, rtol=1e-8, atol=1e-8)


def test_divergence_of_images():
    x, t = torch.randn(3, 2, 2, 2, generator=generator(1), dtype=DOUBLE), torch.full((3,), 0.3, dtype=DOUBLE)
    model = Denoiser.of_score(lambda x, t: torch.sin(x), VP())
    _, divergence = model.score_and_divergence(x, t, VP())
    torch.testing.assert_close(divergence, torch.cos(x).flatten(1).sum(1))


def test_conditions_are_fixed():
    network = Asked()
    code = torch.ones(4, 2)
    Denoiser(network).given(code, label=3).eps(torch.zeros(4, 1), torch.zeros(4))
    assert network.calls[-1][0][2] is code
    assert network.calls[-1][1] == {"label": 3}
    with pytest.raises(UserError, match="one code a sample"):
        Denoiser(network).given(code).eps(torch.zeros(3, 1), torch.zeros(3))


def test_exact_denoisers():
    mean = torch.tensor([1.0, -1.0], dtype=DOUBLE)
    covariance = torch.tensor([[1.0, 0.6], [0.6, 0.5]], dtype=DOUBLE)
    z, a = torch.randn(20, 2, generator=generator(2), dtype=DOUBLE), torch.linspace(-4, 4, 20, dtype=DOUBLE)
    alpha, sigma = torch.sigmoid(a).sqrt()[:, None, None], torch.sigmoid(-a).sqrt()[:, None, None]
    inverse = torch.linalg.inv(alpha**2 * covariance + sigma**2 * torch.eye(2, dtype=DOUBLE))
    expected = sigma[:, 0] * (inverse @ (z - alpha[:, 0] * mean)[..., None])[..., 0]
    torch.testing.assert_close(gaussian_denoiser(mean, covariance).eps(z, a), expected)
    points = torch.randn(7, 2, generator=generator(3), dtype=DOUBLE)
    known = mixture_denoiser(GaussianMixture(torch.ones(7), points, 0.0))
    torch.testing.assert_close(memorizer(points).eps(z, a), known.eps(z, a), rtol=1e-7, atol=1e-7)
    as_images = memorizer(points.reshape(7, 1, 1, 2))(z.reshape(5, 4, 1, 1, 2), a.reshape(5, 4))
    torch.testing.assert_close(as_images.x0_hat.reshape(20, 2), known(z, a).x0_hat, rtol=1e-6, atol=1e-6)
    both = [one.score_and_divergence(z, a, LogsnrLine(1.0, 0.0)) for one in (memorizer(points), known)]
    torch.testing.assert_close(*both, rtol=1e-6, atol=1e-6)


# ----------
# Stand-ins with the interfaces of other libraries.


class AzulaSchedule:
    """(alpha_t, sigma_t) with a trailing dimension, as azula's."""

    def __call__(self, t):
        return (1 - 0.99 * t)[..., None], (0.01 + 0.99 * t)[..., None]


class Posterior:
    def __init__(self, mean):
        self.mean = mean


class AzulaDenoiser(torch.nn.Module):
    """denoiser(x_t, t) -> something with `.mean`."""

    def __init__(self):
        super().__init__()
        self.schedule = AzulaSchedule()

    def forward(self, x_t, t):
        alpha, sigma = self.schedule(t)
        return Posterior(LAW.posterior_mean_at(x_t, alpha[..., 0], sigma[..., 0]))


class KDiffusionDenoiser(torch.nn.Module):
    """model(x, sigma) -> the denoised x."""

    sigma_data = 0.5

    def forward(self, input, sigma, **extras):
        return LAW.posterior_mean_at(input, torch.ones_like(sigma), sigma)


class ModelWrapper(torch.nn.Module):
    """flow_matching's: the velocity of x_t = t x + (1 - t) eps, x and t by name."""

    def forward(self, x, t, **extras):
        x0 = LAW.posterior_mean_at(x, t, 1 - t)
        return x0 - (x - t[:, None] * x0) / (1 - t)[:, None]


@pytest.mark.parametrize("make", [AzulaDenoiser, KDiffusionDenoiser, ModelWrapper])
def test_models_of_other_libraries_are_recognised(make):
    z, a = torch.randn(20, 2, generator=generator(4), dtype=DOUBLE), torch.linspace(-5, 5, 20, dtype=DOUBLE)
    torch.testing.assert_close(Denoiser.wrap(make()).eps(z, a), LAW.eps_hat(z, a), rtol=1e-7, atol=1e-8)


def test_what_is_told_is_taken_and_what_says_nothing_is_refused(tmp_path):
    told = Denoiser.wrap(lambda x, t: x, "v", Cosine())
    assert (told.predicts, told.schedule) == ("v", Cosine())
    assert Denoiser.wrap(told) is told
    with pytest.raises(UserError, match="says nothing of its convention"):
        Denoiser.wrap(lambda x, t: x)
    with pytest.raises(UserError, match="there is no"):
        Denoiser.wrap(tmp_path / "nothing.pt")


@pytest.mark.parametrize("entry", ["curve", "ode", "sampler"])
def test_a_plain_function_is_refused_in_one_sentence(entry):
    x = torch.zeros(4, 2, dtype=torch.float64)
    reference = GaussianReference(torch.zeros(2), torch.ones(2), torch.eye(2))
    calls = {
        "curve": lambda model: estimate_nll(model, x, reference),
        "ode": lambda model: ode_log_likelihood(model, VP(), x, 1.0),
        "sampler": lambda model: reverse_sde(model, VP(), x, 1.0, 4, torch.zeros_like),
    }
    with pytest.raises(UserError, match="expected a Denoiser, not function: wrap it"):
        calls[entry](lambda z, logsnr: z)


def test_an_array_and_a_name_for_a_schedule_are_refused_in_one_sentence():
    model, reference = Denoiser(lambda z, t: z), GaussianReference(torch.zeros(2), torch.ones(2), torch.eye(2))
    with pytest.raises(UserError, match=r"x: expected a torch tensor of examples \(n, ...\), not ndarray"):
        estimate_nll(model, torch.zeros(4, 2).numpy(), reference)
    with pytest.raises(UserError, match=r"schedule: expected one of the library's.* not 'edm'"):
        Denoiser(lambda z, t: z, "edm", "edm")
