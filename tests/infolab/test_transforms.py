"""Dequantisation, logit and scale transforms against autograd, round trips and known densities."""

import math

import pytest
import torch

from infolab.data.images import LogitTransform, ScaleTransform, dequantization_noise, dequantize
from infolab.errors import UserError

LEVELS = [2, 17, 256]


def all_levels(levels: int) -> torch.Tensor:
    return torch.arange(levels, dtype=torch.uint8)[:, None]


@pytest.mark.parametrize("A", [0.05, 1e-6, 0.3])
def test_logdet_is_the_log_determinant_of_the_jacobian(A):
    transform = LogitTransform(256, A)
    x = torch.rand(4, 2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y, logdet = transform.forward(x)
    assert y.shape == x.shape
    assert logdet.shape == (4,)
    for i in range(4):
        jacobian = torch.autograd.functional.jacobian(lambda v: transform.forward(v[None])[0][0], x[i]).reshape(6, 6)
        assert logdet[i] == pytest.approx(float(torch.linalg.slogdet(jacobian).logabsdet), abs=1e-10)


def test_forward_is_the_logit_of_the_squeezed_image():
    x = torch.tensor([[0.0, 0.25, 1.0]], dtype=torch.float64)
    y, _ = LogitTransform(256).forward(x)
    torch.testing.assert_close(y, torch.logit(0.05 + 0.9 * x))


@pytest.mark.parametrize("levels", LEVELS)
def test_logit_round_trip_returns_every_grey_level(levels):
    transform = LogitTransform(levels)
    k = all_levels(levels).expand(-1, 50)
    u = dequantization_noise(tuple(k.shape), seed=1).double()
    x = dequantize(k, u, levels)
    y, _ = transform.forward(x)
    torch.testing.assert_close(transform.inverse(y), x, rtol=0, atol=1e-14)
    assert torch.equal(transform.to_pixels(y), k)


def test_pixels_of_far_latents_are_clamped():
    assert LogitTransform(17).to_pixels(torch.tensor([[-50.0, 50.0]])).tolist() == [[0, 16]]


@pytest.mark.parametrize("levels", LEVELS)
def test_uniform_density_costs_log2_of_the_levels(levels):
    transform = LogitTransform(levels)
    x = torch.rand(5, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    _, logdet = transform.forward(x)
    log_p_y = -logdet  # x uniform on [0, 1]^7, so log p_y = log 1 - log|dy/dx|
    torch.testing.assert_close(transform.bpd(log_p_y, logdet, 7), torch.full((5,), math.log2(levels)).double())


def test_bpd_of_a_known_law_of_levels():
    # One pixel, P(k) given, x uniform within its bin: the bits per dimension of level k are exactly -log2 P(k).
    mass = torch.tensor([0.5, 0.25, 0.125, 0.125], dtype=torch.float64)
    transform = LogitTransform(4)
    k = all_levels(4)
    _, logdet = transform.forward(dequantize(k, torch.full((4, 1), 0.3, dtype=torch.float64), 4))
    log_p_x = torch.log(4 * mass)
    torch.testing.assert_close(transform.bpd(log_p_x - logdet, logdet, 1), -torch.log2(mass))


@pytest.mark.parametrize("levels", LEVELS)
def test_scale_round_trip_and_bin_width(levels):
    transform = ScaleTransform(levels)
    k = all_levels(levels)
    x = transform.forward(k, torch.float64)
    assert (x.min(), x.max()) == (-1, pytest.approx(1, abs=1e-15))
    torch.testing.assert_close(x.diff(dim=0), torch.full((levels - 1, 1), transform.bin_width).double())
    for u in (0.001, 0.5, 0.999):
        assert torch.equal(transform.to_pixels(transform.dequantize(x, torch.full_like(x, u))), k)
    assert torch.equal(transform.to_pixels(transform.forward(k)), k)
    assert transform.to_pixels(torch.tensor([-3.0, 3.0])).tolist() == [0, levels - 1]


def test_density_of_256_levels_on_the_scale_costs_the_stated_bits_more():
    nats = ScaleTransform(256).density_to_mass_nats(0.0, d=10)
    assert nats / (10 * math.log(2)) == pytest.approx(6.9944, abs=5e-5)


@pytest.mark.bits
def test_noise_is_a_function_of_seed_and_image_number():
    whole = dequantization_noise((10, 3, 5, 5), seed=4)
    pieces = torch.cat([dequantization_noise((4, 3, 5, 5), 4), dequantization_noise((6, 3, 5, 5), 4, first=4)])
    assert torch.equal(whole, pieces)
    assert not torch.equal(whole, dequantization_noise((10, 3, 5, 5), seed=5))
    state = torch.random.get_rng_state()
    dequantization_noise((2, 2), seed=0)
    assert torch.equal(state, torch.random.get_rng_state())


def test_noise_is_uniform_and_never_reaches_the_next_level():
    u = dequantization_noise((1000, 100), seed=0)
    n = u.numel()
    assert float(u.double().mean()) == pytest.approx(0.5, abs=5 * math.sqrt(1 / 12 / n))
    counts = torch.histc(u, 10, 0, 1)
    assert float((counts - n / 10).square().sum() / (n / 10)) < 30  # chi-squared with 9 degrees: 99.95% below 30
    columns = torch.corrcoef(u.T) - torch.eye(100)
    assert float(columns.abs().max()) < 5.5 / math.sqrt(1000)  # the largest of 4,950 normal correlations
    assert torch.equal((torch.full_like(u, 255) + u).floor(), torch.full_like(u, 255))
    assert float(u.min()) > 0


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: LogitTransform(256, A=0.0), "0 < A < 0.5"),
        (lambda: LogitTransform(1), "2 .. 256"),
        (lambda: ScaleTransform(300), "2 .. 256"),
        (lambda: ScaleTransform(17).forward(torch.tensor([17], dtype=torch.uint8)), "17 levels"),
        (lambda: dequantize(torch.tensor([[200]], dtype=torch.uint8), torch.zeros(1, 1), 17), "17 levels"),
        (lambda: dequantize(torch.zeros(2, 3, dtype=torch.uint8), torch.zeros(3, 2), 17), "shape"),
    ],
)
def test_bad_settings_are_refused(call, words):
    with pytest.raises(UserError, match=words):
        call()
