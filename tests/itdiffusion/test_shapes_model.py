import math

import pytest
import torch

from infolab.immse import GaussianReference, LogsnrRange, continuous_nll, make_grid, measure_curve
from infolab.mixture import GaussianMixture
from infolab.nn.mlp import FourierMLPs
from infolab.noise import generator
from itdiffusion.shapes_evaluate import density_grid, log_gaussian
from itdiffusion.shapes_model import PRECONDITIONS, Gaussians, ShapesModel

COVARIANCES = torch.tensor([[[1.0, -0.9], [-0.9, 1.0]], [[0.5, 0.1], [0.1, 2.0]]], dtype=torch.float64)
MEANS = torch.tensor([[0.3, -0.2], [0.0, 1.0]], dtype=torch.float64)


def references():
    return [GaussianReference(m, *torch.linalg.eigh(S)) for m, S in zip(MEANS, COVARIANCES, strict=True)]


def make(precondition, *, blank=False):
    network = FourierMLPs([0, 1], 2, 8, 16, 3)
    if blank:  # a network that says nothing
        for parameter in network.parameters():
            torch.nn.init.zeros_(parameter)
    return ShapesModel(network, Gaussians(references()), precondition)


def points(n=6):
    source = generator(0, "points")
    return torch.randn(2, n, 2, generator=source), 3 * torch.randn(2, n, generator=source)


def test_the_gaussians_denoiser_is_the_mixtures():
    z, logsnr = points()
    ours = make("gaussian", blank=True)(z, logsnr)
    for i in range(2):
        law = GaussianMixture(torch.ones(1), MEANS[i : i + 1], COVARIANCES[i : i + 1])
        torch.testing.assert_close(ours[i], law.eps_hat(z[i], logsnr[i]), rtol=1e-4, atol=1e-5)


def test_the_residual_of_a_gaussian_has_the_covariance_that_shapes_the_network():
    # eps - eps_hat of data that is the Gaussian, whitened by `shaped`'s inverse, has unit covariance.
    gaussians = Gaussians(references())
    n, logsnr = 40_000, torch.tensor([[-1.0], [2.0]])
    source = generator(1, "residual")
    eps = torch.randn(2, n, 2, generator=source)
    x = torch.stack(
        [GaussianMixture(torch.ones(1), MEANS[i : i + 1], COVARIANCES[i : i + 1]).sample(n, source) for i in range(2)]
    ).float()
    alpha, sigma = logsnr.sigmoid().sqrt()[..., None], (-logsnr).sigmoid().sqrt()[..., None]
    error = eps - gaussians.eps_hat(alpha * x + sigma * eps, logsnr)
    root = gaussians.shaped(torch.eye(2).expand(2, 2, 2), logsnr)
    for i in range(2):
        torch.testing.assert_close(error[i].T.cov(), root[i] @ root[i].T, rtol=0, atol=4 * math.sqrt(2 / n))


@pytest.mark.parametrize("precondition", PRECONDITIONS)
def test_divergence_agrees_with_autograd(precondition):
    model = make(precondition).double()
    z, logsnr = (part.double() for part in points(3))
    out, divergence = model.value_and_divergence(z, logsnr)
    torch.testing.assert_close(out, model(z, logsnr))
    leaf = z.clone().requires_grad_()
    value = model(leaf, logsnr)
    truth = sum(torch.autograd.grad(value[..., j].sum(), leaf, retain_graph=True)[0][..., j] for j in range(2))
    torch.testing.assert_close(divergence, truth)


@pytest.mark.parametrize("precondition", PRECONDITIONS)
def test_selected_members_grids_and_single_denoisers_are_the_same_function(precondition):
    model = make(precondition)
    z, logsnr = points()
    whole = model(z, logsnr)
    torch.testing.assert_close(model.select([1])(z[1:], logsnr[1:]), whole[1:])
    torch.testing.assert_close(model.denoiser(1).eps(z[1], logsnr[1].double()), whole[1])
    axes = [torch.linspace(-1, 1, 3), torch.linspace(0, 2, 4)]
    at = torch.tensor(0.7)
    torch.testing.assert_close(
        model.on_grid(axes, at), model(torch.cartesian_prod(*axes).expand(2, 12, 2), at.expand(2, 12))
    )


def test_a_selection_is_a_copy():
    model = make("gaussian")
    chosen = model.select([0])
    chosen.network.weights[0].data.zero_()
    assert float(model.network.weights[0].detach().abs().sum()) > 0


GRID = make_grid(LogsnrRange(0.0, 3.0), 30)


def test_the_density_of_a_gaussian_is_exact_without_noise():
    axis = torch.linspace(-2, 2, 5)
    ours = density_grid(make("gaussian", blank=True), axis, GRID, pairs=2, seed=0)[0]
    for i in range(2):
        law = GaussianMixture(torch.ones(1), MEANS[i : i + 1], COVARIANCES[i : i + 1])
        truth = -law.log_prob(torch.cartesian_prod(axis, axis)).view(5, 5)
        torch.testing.assert_close(ours[i], truth, rtol=1e-4, atol=1e-3)


def test_log_gaussian_is_the_references():
    x = torch.randn(7, 2, generator=generator(2, "x"))
    found = log_gaussian(Gaussians(references()), x)
    for values, reference in zip(found, references(), strict=True):
        torch.testing.assert_close(values, reference.log_prob(x), rtol=1e-5, atol=1e-5)


def test_the_density_on_a_grid_averages_to_the_nll_of_a_curve():
    # Over draws of the noise the pixel's value has the mean of the curve of that pixel alone.
    model, axis = make("none"), torch.linspace(-1, 1, 2)
    seeds = range(40)
    ours = torch.stack([density_grid(model, axis, GRID, pairs=2, seed=seed)[0, 0].flatten() for seed in seeds])
    copies = torch.cartesian_prod(axis, axis)[1].expand(400, 2)
    curve = measure_curve(model.denoiser(0), copies, GRID, references()[0], noise="independent")
    found = continuous_nll(curve)
    error = math.hypot(float(ours[:, 1].std()) / math.sqrt(len(seeds)), found.se_data)
    assert abs(float(ours[:, 1].mean()) - found.value) < 4 * error
