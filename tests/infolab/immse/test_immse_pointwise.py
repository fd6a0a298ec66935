"""-log p of single points: exact for a Gaussian, within its errors for shapes, smooth over a grid."""

import pytest
import torch

from infolab.denoise import Denoiser
from infolab.errors import UserError
from infolab.exact import mixture_denoiser
from infolab.immse import GaussianReference, LogsnrRange, make_grid, pointwise_nll
from infolab.mixture import GaussianMixture
from infolab.noise import generator

LAW = GaussianMixture(torch.tensor([0.6, 0.4]), torch.tensor([[-1.0, 0.0], [1.0, 0.5]]), 0.05)
REFERENCE = GaussianReference(LAW.mean(), *torch.linalg.eigh(LAW.cov()))
POINTS = torch.cartesian_prod(*[torch.linspace(-1.4, 1.4, 8, dtype=torch.float64)] * 2)


def test_a_gaussian_is_exact():
    law = GaussianMixture(torch.ones(1), torch.zeros(1, 2), torch.tensor([[[1.0, -0.9], [-0.9, 1.0]]]))
    reference = GaussianReference(torch.zeros(2, dtype=torch.float64), *torch.linalg.eigh(law.cov()))
    found = pointwise_nll(mixture_denoiser(law), POINTS, reference, make_grid(LogsnrRange(0, 3), 30))
    torch.testing.assert_close(found.nll_nats, -law.log_prob(POINTS), rtol=1e-8, atol=1e-8)
    assert float(found.se_nats.max()) < 1e-8


def test_a_mixture_is_within_its_errors():
    grid = make_grid(LogsnrRange.from_ends(-8, 14), 64)
    found = pointwise_nll(mixture_denoiser(LAW), POINTS, REFERENCE, grid, draws=16)
    assert found.evaluations == 64 * 64 * 16
    off = (found.nll_nats + LAW.log_prob(POINTS)).abs()
    # The tails that are cut off, where far points still have something to tell, are below 0.02.
    assert bool((off < 5 * found.se_nats + 0.02).all())
    on_modes = LAW.log_prob(POINTS) > -2
    assert float(found.se_nats[on_modes].mean()) < 0.1


def test_batches_and_order_do_not_change_the_result_and_seeds_do():
    grid = make_grid(LogsnrRange.from_ends(-8, 14), 20)
    whole = pointwise_nll(mixture_denoiser(LAW), POINTS, REFERENCE, grid, seed=1)
    parts = pointwise_nll(mixture_denoiser(LAW), POINTS.flip(0), REFERENCE, grid, seed=1, batch=33)
    torch.testing.assert_close(parts.nll_nats.flip(0), whole.nll_nats, rtol=1e-10, atol=1e-10)
    assert not torch.allclose(
        pointwise_nll(mixture_denoiser(LAW), POINTS, REFERENCE, grid, seed=2).nll_nats, whole.nll_nats
    )


def test_images_have_pointwise_likelihoods_too():
    x = torch.randn(5, 1, 2, 2, generator=generator(0))
    reference = GaussianReference(torch.zeros(4, dtype=torch.float64), torch.ones(4, dtype=torch.float64))
    found = pointwise_nll(Denoiser.of_eps(reference.eps_hat), x, reference, make_grid(LogsnrRange(0, 1), 10))
    torch.testing.assert_close(found.nll_nats, -reference.log_prob(x), rtol=1e-4, atol=1e-4)


def test_one_draw_is_refused():
    with pytest.raises(UserError, match="at least 2"):
        pointwise_nll(mixture_denoiser(LAW), POINTS, REFERENCE, make_grid(LogsnrRange(0, 3), 10), draws=1)
