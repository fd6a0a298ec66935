"""Training on the NLL: the loss is an unbiased estimate of the NLL and has the gradient of the network."""

import pytest
import torch

from infolab.denoise import Denoiser
from infolab.immse import GaussianReference, LogsnrRange, nll_loss, nll_offset
from infolab.noise import generator

VARIANCES = torch.tensor([0.2, 1.0, 3.0], dtype=torch.float64)
REFERENCE = GaussianReference(torch.zeros(3, dtype=torch.float64), VARIANCES)


@pytest.mark.parametrize("stratified", [False, True])
def test_the_loss_of_the_optimal_denoiser_is_the_nll(stratified):
    law = LogsnrRange(0.0, 2.5)
    losses = []
    for seed in range(30):
        source = generator(seed, "loss")
        x = torch.randn(1000, 3, generator=source, dtype=torch.float64) * VARIANCES.sqrt()
        losses.append(float(nll_loss(Denoiser.of_eps(REFERENCE.eps_hat), x, source, law, stratified=stratified).mean()))
    values = torch.tensor(losses) + nll_offset(REFERENCE, law)
    se = float(values.std()) / 30**0.5
    assert abs(float(values.mean()) - REFERENCE.entropy_nats) < 4 * se
    assert se < 0.2


def test_the_loss_has_the_gradient_of_the_weighted_error():
    gain = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    x = torch.randn(64, 3, generator=generator(1), dtype=torch.float64)

    def loss():
        return nll_loss(Denoiser.of_eps(lambda z, a: gain * z), x, generator(2), LogsnrRange(0.0, 1.0)).mean()

    loss().backward()
    with torch.no_grad():
        gain += 1e-6
        above = loss()
        gain -= 2e-6
        below = loss()
    assert float(gain.grad) == pytest.approx(float(above - below) / 2e-6, rel=1e-6)


def test_shapes_and_types_are_those_of_the_data():
    x = torch.randn(10, 3, 4, 4, generator=generator(3))

    def denoiser(z, logsnr):
        assert z.shape == x.shape
        assert z.dtype == logsnr.dtype == torch.float32
        assert logsnr.shape == (10,)
        return z

    assert nll_loss(Denoiser.of_eps(denoiser), x, generator(4), LogsnrRange(6.0, 3.0)).shape == (10,)
