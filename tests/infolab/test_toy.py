"""Toy laws: samples fit densities, densities integrate to one, quadrature errors, published entropies."""

import math

import pytest
import torch
from torch import Tensor

from infolab.errors import UserError
from infolab.toy import TOYS, Circle, NoisyCurves, Ring, make, strongly_correlated_gaussian, two_modes

DOUBLE = torch.float64
CURVES = ["swiss_roll", "moons", "spiral", "letters"]
everywhere = pytest.mark.parametrize("name", TOYS)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def grid(half_width: float, points: int) -> Tensor:
    axis = torch.linspace(-half_width, half_width, points, dtype=DOUBLE)
    return torch.cartesian_prod(axis, axis)


@everywhere
def test_entropy_is_the_mean_surprise_of_samples(name):
    """Also ties the sampler to the density: a wrong law of either would shift the mean."""
    law = make(name)
    x = law.sample(2000, rng(1))
    assert (x.dtype, x.shape) == (torch.float32, (2000, law.d))
    surprise = -law.log_prob(x)
    assert surprise.dtype == DOUBLE
    assert torch.isfinite(surprise).all()
    # Samples are rounded to float32, which moves a log density by less than 1e-5.
    se = float(surprise.std()) / math.sqrt(len(x))
    assert abs(float(surprise.mean()) - law.entropy().value) < 4 * se + 1e-5


@everywhere
def test_sampling_is_a_function_of_the_generator(name):
    law = make(name)
    assert torch.equal(law.sample(50, rng(3)), law.sample(50, rng(3)))
    assert not torch.equal(law.sample(50, rng(3)), law.sample(50, rng(4)))


@pytest.mark.parametrize("name", CURVES)
def test_curve_density_integrates_to_one(name):
    """Trapezoid rule before standardisation at half a standard deviation of the noise: error below e^(-8 pi^2)."""
    law = make(name)
    step = law.noise / 2
    axis = torch.arange(-4, 4, step, dtype=DOUBLE)
    density = law._raw._density_on_grid([axis, axis])
    assert float(density.sum()) * step**2 == pytest.approx(1, abs=1e-9)
    # The same density, with the Jacobian of the standardisation, is what log_prob gives.
    centre, scale = law._affine
    somewhere = axis[len(axis) // 2 :: 40]
    points = (torch.cartesian_prod(somewhere, somewhere) - centre) / scale
    expected = law._raw._density_on_grid([somewhere, somewhere]).flatten() * scale.prod()
    torch.testing.assert_close(law.log_prob(points).exp(), expected, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("name", CURVES)
def test_doubling_the_nodes_changes_nothing(name):
    law, finer = make(name), make(name, refine=2)
    x = torch.cat([law.sample(300, rng()).double(), grid(3.5, 20)])
    one, two = law.log_prob(x), finer.log_prob(x)
    assert float((one.exp() - two.exp()).abs().max()) < 1e-8
    assert float((one - two)[:300].abs().max()) < 1e-8


def test_swiss_roll_density_against_a_plain_riemann_sum():
    law = make("swiss_roll")
    x = law.sample(8, rng(5)).double()
    u = (torch.arange(200_000, dtype=DOUBLE) + 0.5) / 200_000
    theta = 1.5 * math.pi * (1 + 2 * u)
    curve = torch.stack([theta * theta.cos(), theta * theta.sin()], 1) / 5
    squares = (x[:, None, 0] - curve[:, 0]) ** 2 + (x[:, None, 1] - curve[:, 1]) ** 2
    expected = torch.exp(-squares / (2 * 0.01)).mean(1) / (2 * math.pi * 0.01)
    # The midpoint rule of 200,000 points is exact to second order in 1/200,000.
    torch.testing.assert_close(law.log_prob(x), expected.log(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", CURVES)
def test_mixture_is_the_law(name):
    law = make(name)
    x = law.sample(100, rng(6)).double()
    torch.testing.assert_close(law.mixture.log_prob(x), law.log_prob(x), rtol=1e-8, atol=1e-8)
    sample = law.sample(20_000, rng(7)).double()
    error = sample.std(0) / math.sqrt(20_000)
    assert ((sample.mean(0) - law.mixture.mean()).abs() < 4.5 * error).all()


@pytest.mark.parametrize("name", ["moons", "scg", "line", "circle"])
def test_standardised_laws_have_unit_variance(name):
    x = make(name).sample(100_000, rng(8)).double()
    se_of_variance = ((x - x.mean(0)) ** 2).std(0) / math.sqrt(len(x))
    assert ((x.var(0) - 1).abs() < 4.5 * se_of_variance).all()
    assert (x.mean(0).abs() < 4.5 / math.sqrt(len(x))).all()


def test_moons_against_scikit_learn():
    from sklearn.datasets import make_moons

    raw = torch.from_numpy(make_moons(n_samples=1500, noise=None)[0])
    law = make("moons")
    centre, scale = law._affine
    noise = 0.03 * torch.randn(raw.shape, generator=rng(2), dtype=DOUBLE)
    surprise = -law.log_prob((raw + noise - centre) / scale)
    se = float(surprise.std()) / math.sqrt(len(raw))
    assert abs(float(surprise.mean()) - law.entropy().value) < 4 * se


def test_published_entropies():
    assert strongly_correlated_gaussian().entropy().value == pytest.approx(1.218489, abs=1e-6)
    raw = strongly_correlated_gaussian(standardised=False)
    assert raw.entropy().value == pytest.approx(math.log(2 * math.pi * math.e) + math.log(0.01) / 2)
    assert make("line").entropy().value == pytest.approx(math.log(12))


def test_circle_directions_and_supports():
    law = Circle(standardised=False)
    assert len(law.centres) == 17
    assert float(law.weights.sum()) == pytest.approx(1)
    norms = law.centres.norm(dim=1)
    assert int((norms < 0.5).sum()) == 1
    torch.testing.assert_close(norms[norms > 0.5], torch.ones(16, dtype=DOUBLE))
    assert law.log_prob(torch.tensor([[0.5, 0.5]])).item() == -math.inf
    assert Ring().log_prob(torch.tensor([[0.9, 0.0], [1.04, 0.0]])).tolist() == [-math.inf] * 2
    assert make("line").log_prob(torch.tensor([[0.0, 1.8]])).item() == -math.inf


@pytest.mark.parametrize("law", [Circle(), Circle(standardised=False), Ring(), Ring(0.5)])
def test_hard_edged_laws_have_mass_one(law):
    """Importance sampling from a box: E[p(x) area] = 1."""
    u = torch.rand(500_000, 2, generator=rng(9), dtype=DOUBLE)
    mass = 16 * law.log_prob(4 * u - 2).exp()
    assert abs(float(mass.mean()) - 1) < 4.5 * float(mass.std()) / math.sqrt(len(u))


def test_two_modes():
    law = two_modes(4.0, q1=0.25)
    assert float(law.mixture.mean()) == pytest.approx(2.0)
    x = torch.tensor([[4.0]], dtype=DOUBLE)
    assert float(law.log_prob(x)) == pytest.approx(math.log(0.75 / math.sqrt(2 * math.pi)), abs=1e-12)


def test_wrong_names_and_settings_are_refused():
    with pytest.raises(UserError, match="swiss_roll"):
        make("swiss")
    with pytest.raises(UserError, match="leave that setting out"):
        make("line", noise=1.0)
    with pytest.raises(UserError, match="expected"):
        make("swiss_roll", noise=0.0)
    with pytest.raises(UserError, match="expected"):
        two_modes(1.0, q1=1.0)
    assert isinstance(make("letters", noise=0.1), NoisyCurves)
