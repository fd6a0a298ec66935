"""The Gaussian reference: exact covariance, closed forms, and errors that agree with its own denoiser."""

import math

import pytest
import torch

from infolab.errors import UserError
from infolab.immse import GaussianReference
from infolab.mixture import GaussianMixture
from infolab.noise import generator
from infolab.schedules import logsnr_to_alpha_sigma


@pytest.fixture
def data():
    source = generator(0, "data")
    mix = torch.randn(6, 6, generator=source, dtype=torch.float64)
    return torch.randn(700, 6, generator=source, dtype=torch.float64) @ mix + 100.0


def test_streaming_gives_the_population_covariance(data):
    parts = [data[:1], data[1:300], data[300:]]
    found = GaussianReference.fit(parts, provenance={"dataset": "test"})
    covariance = (found.eigenvectors * found.eigenvalues) @ found.eigenvectors.T
    torch.testing.assert_close(covariance, torch.cov(data.T, correction=0), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(found.mean, data.mean(0))
    assert found.provenance == {"dataset": "test", "examples": 700}
    diagonal = GaussianReference.fit(parts, diagonal=True)
    torch.testing.assert_close(diagonal.eigenvalues, data.var(0, correction=0), rtol=1e-10, atol=0)


def test_images_and_grey_levels_are_flattened():
    images = torch.randint(0, 17, (50, 1, 2, 3), generator=generator(1), dtype=torch.uint8)
    found = GaussianReference.fit(images, diagonal=True)
    torch.testing.assert_close(found.eigenvalues, images.flatten(1).double().var(0, correction=0))


@pytest.mark.parametrize("diagonal", [False, True])
def test_density_entropy_and_denoiser_are_the_gaussians(data, diagonal):
    found = GaussianReference.fit(data, diagonal=diagonal)
    covariance = torch.cov(data.T, correction=0)
    if diagonal:
        covariance = torch.diag(covariance.diagonal())
    law = torch.distributions.MultivariateNormal(data.mean(0), covariance)
    torch.testing.assert_close(found.log_prob(data), law.log_prob(data), rtol=1e-9, atol=1e-8)
    assert found.entropy_nats == pytest.approx(float(law.entropy()), abs=1e-9)
    mixture = GaussianMixture(torch.ones(1), data.mean(0)[None], covariance[None])
    logsnr = torch.linspace(-8, 8, len(data), dtype=torch.float64)
    torch.testing.assert_close(found.eps_hat(data, logsnr), mixture.eps_hat(data, logsnr), rtol=1e-7, atol=1e-8)


def test_errors_are_those_of_the_denoiser_and_their_mean(data):
    found = GaussianReference.fit(data)
    x, logsnr = data[:5], torch.tensor([-3.0, 0.5, 6.0], dtype=torch.float64)
    eps = torch.randn(5, 3, 6, generator=generator(2), dtype=torch.float64)
    mean, deviation = found.errors(found.project(x), eps, logsnr)
    alpha, sigma = (v[:, None] for v in logsnr_to_alpha_sigma(logsnr))
    z = (alpha * x[:, None] + sigma * eps).flatten(0, 1)
    eps_hat = found.eps_hat(z, logsnr.repeat(5)).unflatten(0, (5, 3))
    torch.testing.assert_close(mean + deviation, (eps - eps_hat).square().sum(-1), rtol=1e-9, atol=1e-9)
    # Over eps the deviation has mean 0: antithetic pairs on an orthogonal frame of radius sqrt(d) average exactly.
    frame = math.sqrt(6) * torch.linalg.qr(torch.randn(6, 6, generator=generator(3), dtype=torch.float64))[0]
    total = sum(
        found.errors(found.project(x), sign * row.expand(5, 1, 6), logsnr)[1] for row in frame for sign in (1, -1)
    )
    torch.testing.assert_close(total, torch.zeros(5, 3, dtype=torch.float64), atol=1e-9, rtol=0)
    # One noise for all log-SNRs takes another path through the code.
    shared = found.errors(found.project(x), eps[:, :1], logsnr)
    spread = found.errors(found.project(x), eps[:, :1].expand(-1, 3, -1), logsnr)
    torch.testing.assert_close(shared[1], spread[1])
    # Over x the mean error is the MMSE.
    everything = found.errors(found.project(data), torch.zeros(700, 1, 6, dtype=torch.float64), logsnr)[0].mean(0)
    torch.testing.assert_close(everything, found.mmse_eps(logsnr), rtol=1e-9, atol=1e-9)


def test_the_integral_of_the_mmse(data):
    found = GaussianReference.fit(data)
    a = torch.linspace(-10, 7, 20001, dtype=torch.float64)
    by_quadrature = float(torch.trapezoid(found.mmse_eps(a), a))
    assert found.mmse_integral(-10, 7) == pytest.approx(by_quadrature, abs=1e-6)


def test_constant_directions_have_no_density_unless_floored(data):
    data[:, 2] = 3.0
    found = GaussianReference.fit(data)
    assert int((found.eigenvalues == 0).sum()) == 1
    with pytest.raises(UserError, match="1 of 6 directions of the data are constant"):
        found.log_prob(data)
    with pytest.raises(UserError, match="no density"):
        _ = found.entropy_nats
    floored = GaussianReference.fit(data, floor=0.01)
    assert float(floored.spectrum.min()) == 0.01
    assert torch.isfinite(floored.log_prob(data)).all()
    moved = floored.dequantized(0.6)
    torch.testing.assert_close(moved.spectrum, found.eigenvalues + 0.03)
    assert float(moved.eigenvalues.min()) == pytest.approx(0.03)


@pytest.mark.bits
def test_save_and_load(data, tmp_path):
    found = GaussianReference.fit(data, floor=0.5, provenance={"dataset": "x", "split": "train"})
    found.save(tmp_path / "spectrum.safetensors")
    again = GaussianReference.load(tmp_path / "spectrum.safetensors")
    assert torch.equal(again.log_prob(data), found.log_prob(data))
    assert (again.provenance, again.floor) == (found.provenance, 0.5)
    (tmp_path / "other").write_text("nothing")
    for path in (tmp_path / "other", tmp_path / "missing"):
        with pytest.raises(UserError, match="a saved Gaussian reference"):
            GaussianReference.load(path)


def test_too_little_data():
    with pytest.raises(UserError, match="at least two"):
        GaussianReference.fit(torch.zeros(1, 3))
    with pytest.raises(UserError, match="finite"):
        GaussianReference.fit(torch.tensor([[math.nan], [1.0]]))


@pytest.mark.parametrize(("mean", "least"), [(0.0, 1 - 1e-8), (0.5, 0.9)])
def test_the_mass_of_a_grid_is_one_and_never_more(mean, least):
    variances = torch.tensor([0.2, 3.0], dtype=torch.float64)
    law = GaussianReference(torch.full((2,), mean, dtype=torch.float64), variances, None, 1 / 12)
    k = torch.arange(-30, 31, dtype=torch.float64)
    masses = law.log_mass_of_projected(law.project(torch.cartesian_prod(k, k)), 1.0).exp()
    assert float(masses.max()) <= 1
    assert least <= float(masses.sum()) <= 1 + 1e-8


def test_a_wide_gaussians_mass_is_its_density_times_the_bin(data):
    found = GaussianReference.fit(data)
    step = 0.5 * float(found.eigenvalues.min().sqrt())
    projected = found.project(data)
    mass = found.log_mass_of_projected(projected, step)
    torch.testing.assert_close(mass, found.log_prob_of_projected(projected) + 6 * math.log(step), rtol=0, atol=1e-6)


def test_what_hardly_varies_has_no_negative_information():
    x = torch.zeros(1000, 40, dtype=torch.float64)
    x[torch.arange(20), torch.arange(20)] = 1.0  # twenty columns differ once, twenty never
    found = GaussianReference.fit(x, floor=1 / 12)
    information = -found.log_mass_of_projected(found.project(x), 1.0)
    assert float(information.min()) >= 0
    constant = GaussianReference.fit(torch.ones(10, 3), floor=1 / 12)
    at_the_mean, beside = constant.log_mass_of_projected(torch.tensor([[0.0, 0.0, 0.0], [0.0, 1.0, 0.0]]), 1.0)
    assert float(at_the_mean) == 0
    assert float(beside) == pytest.approx(-6)
