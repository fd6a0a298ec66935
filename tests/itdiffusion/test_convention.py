"""A convention that is told wrongly is noticed wherever it can be, and the right one named."""

import itertools

import emulated_device
import pytest
import torch
from conventions import LAW, SCHEDULES, SIGMA_DATA, network

from infolab.convention import SAME, suspect
from infolab.denoise import Denoiser
from infolab.immse import GaussianReference, LogsnrRange
from infolab.noise import generator
from infolab.predictions import PREDICTS
from infolab.schedules import LogsnrLine

X = LAW.sample(400, generator(0)).double()
REFERENCE = GaussianReference.fit(X)
PROPORTIONAL = {("cosine", "v", "flow"), ("cosine", "-v", "-flow"), ("cosine", "flow", "v"), ("cosine", "-flow", "-v")}
"""On the cosine schedule the velocity is pi / 2 times v: told so, a good model looks like a weaker one."""
NAMES = ("vp", "ve", "edm", "flow", "flow, noise first", "cosine", "linear")


def suspicion(name, true, told):
    schedule, time, back = SCHEDULES[name]
    denoiser = Denoiser(network(schedule, true, back), told, schedule, time, SIGMA_DATA)
    return suspect(denoiser, X, REFERENCE, LogsnrRange(0.0, 1.2), 0, lambda part: part).reading


@pytest.mark.parametrize("name", NAMES)
def test_every_pair_that_can_be_told_apart(name):
    for true in (kind for kind in PREDICTS if kind != "edm-raw" and kind not in SAME):
        for told in (kind for kind in PREDICTS if kind != "edm-raw"):
            expected = None if SAME.get(told, told) == true else true
            if (name, true, told) in PROPORTIONAL:
                continue
            found = suspicion(name, true, told)
            if found != expected:
                # Two readings that are one number on this schedule: either name is right.
                assert same_numbers(name, true, found or told), (true, told, found)


def same_numbers(name, one, other):
    schedule, time, back = SCHEDULES[name]
    denoiser = Denoiser(network(schedule, one, back), one, schedule, time)
    z, a = torch.randn(9, 2, generator=generator(1)).double(), torch.linspace(-4, 4, 9).double()
    level = denoiser.level(a)
    out = denoiser.output(z, level)
    return torch.allclose(denoiser.read(out, z, a, level, other).eps_hat, denoiser.read(out, z, a, level).eps_hat)


def test_every_pair_in_the_channel():
    line = LogsnrLine(1.0, -1.0)
    kinds = ("eps", "-eps", "x0", "v", "-v", "score")
    for true, told in itertools.product(kinds, kinds):
        denoiser = Denoiser(network(line, true, line.logsnr_to_t), told)
        found = suspect(denoiser, X, REFERENCE, LogsnrRange(0.0, 1.2), 0, lambda part: part).reading
        assert found == (None if true == told else true), (true, told)


def test_a_poor_model_is_not_suspected_of_another_convention():
    source = generator(2)
    weights = torch.randn(2, 2, generator=source).double()
    for told in ("eps", "x0", "v"):
        poor = Denoiser(lambda x, t: x @ weights, told, SCHEDULES["vp"][0])
        assert suspect(poor, X, REFERENCE, LogsnrRange(0.0, 1.2), 0, lambda part: part).reading is None


def test_models_on_a_device_without_float64_are_read_and_looked_at():
    def x0(z, logsnr):  # E[x | z] of two modes at -1.5 and 1.5 of variance 1/4, in one dimension
        alpha, sigma = torch.sigmoid(logsnr).sqrt()[:, None], torch.sigmoid(-logsnr).sqrt()[:, None]
        spread = alpha**2 / 4 + sigma**2
        mode = 1.5 * torch.tanh(1.5 * alpha * z / spread)
        return mode + alpha / 4 / spread * (z - alpha * mode)

    signs = torch.randint(2, (400, 1), generator=generator(3)) * 2 - 1
    x = 1.5 * signs + 0.5 * torch.randn(400, 1, generator=generator(4))
    reference = GaussianReference.fit(x)

    def look(told, place):
        return suspect(Denoiser(x0, told), x, reference, LogsnrRange(0.0, 1.2), 0, lambda part: part.to(place)).reading

    with emulated_device.without_float64():
        assert look("eps", emulated_device.NAME) == look("eps", "cpu") == "x0"
        assert look("x0", emulated_device.NAME) is None
        found = Denoiser(x0, "x0").eps(x.to(emulated_device.NAME), torch.zeros(400).to(emulated_device.NAME))
    torch.testing.assert_close(found.cpu(), Denoiser(x0, "x0").eps(x, torch.zeros(400)))
