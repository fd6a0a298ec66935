"""The published kernel estimate of the test KL, against scikit-learn, and its floor."""

import math

import pytest
import torch
from sklearn.neighbors import KernelDensity

from diffusion.toy_evaluate import KDE_BANDWIDTH, kl_kde, log_kde
from infolab.noise import generator
from infolab.toy import make


def roll(n, *stream):
    return make("swiss_roll").sample(n, generator(0, *stream))


@pytest.mark.parametrize("bandwidth", [0.1, 0.7])
def test_log_density_is_scikit_learns(bandwidth):
    points, centres = roll(50, "a").double(), roll(300, "b").double()
    points[0] = 30.0  # far outside, where exp underflows
    truth = KernelDensity(bandwidth=bandwidth).fit(centres.numpy()).score_samples(points.numpy())
    torch.testing.assert_close(log_kde(points, centres, bandwidth), torch.from_numpy(truth), rtol=1e-9, atol=1e-9)


def test_divergence_is_the_mean_difference_of_two_scikit_learn_densities():
    test, samples = roll(200, "a"), roll(300, "b") + 0.1
    first, second = (KernelDensity(bandwidth=0.1).fit(points.double().numpy()) for points in (test, samples))
    where = test.double().numpy()
    truth = float((first.score_samples(where) - second.score_samples(where)).mean())
    assert kl_kde(test, samples, 0.1) == pytest.approx(truth, abs=1e-9)


def test_one_point_against_one_point_is_half_the_squared_distance():
    a, b = torch.tensor([[0.0, 0.0]]), torch.tensor([[0.3, 0.4]])
    assert kl_kde(a, b, 0.5) == pytest.approx(0.5, rel=1e-6)
    assert float(log_kde(a, a, 0.5)) == pytest.approx(-math.log(2 * math.pi * 0.25), rel=1e-12)


def test_two_samples_of_the_swiss_roll_read_0_13_to_0_15():
    floors = [kl_kde(roll(1000, "test", i), roll(1000, "again", i), KDE_BANDWIDTH) for i in range(6)]
    mean = sum(floors) / len(floors)
    spread = math.sqrt(sum((floor - mean) ** 2 for floor in floors) / (len(floors) - 1))
    assert KDE_BANDWIDTH == 0.1
    assert 0.13 <= mean <= 0.15
    assert all(abs(floor - 0.14) < 0.01 + 3 * spread for floor in floors)
    assert spread < 0.02
