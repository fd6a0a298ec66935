"""The U-Net's variants for codes: without time, with three convolutions a block, and prepared for sampling."""

from dataclasses import replace

import pytest
import torch

from infolab.errors import UserError
from infolab.nn.blocks import ResBlock, modulated_norm
from infolab.nn.mlp import LatentMLP
from infolab.nn.unet import UNet, UNetConfig
from infolab.nn.unet_sampling import PreparedUNet
from infolab.noise import generator

TINY = UNetConfig(
    image_size=8, in_channels=1, model_channels=8, channel_mult=(1, 2), num_res_blocks=1, attention_resolutions=(4,),
    norm_groups=4, time_scale=1.0,
)  # fmt: skip


def randomised(config, seed=0):
    """A network in float64 off its initial values, so that no zero-initialised branch hides what feeds it."""
    model = UNet(config, seed).double().eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator(seed, name), dtype=torch.float64))
    return model


def images(n=3):
    return torch.randn(n, 1, 8, 8, generator=generator(0, "x"), dtype=torch.float64)


def test_an_untimed_network_has_no_weights_for_time():
    model = randomised(replace(TINY, timed=False))
    assert not any("emb_layers" in name or "time" in name for name, _ in model.named_parameters())
    assert model(images()).shape == (3, 1, 8, 8)
    with pytest.raises(UserError, match="must not be given"):
        model(images(), torch.zeros(3))
    with pytest.raises(UserError, match="must be given"):
        randomised(TINY)(images())


def test_a_third_convolution_is_one_more_norm_and_convolution():
    block = ResBlock(8, 8, 32, max_groups=4, convolutions=3).double()
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.normal_(generator=generator(1))
    x, emb = (
        torch.randn(2, 8, 4, 4, generator=generator(2)).double(),
        torch.randn(2, 32, generator=generator(3)).double(),
    )
    two = ResBlock(8, 8, 32, max_groups=4).double()
    two.load_state_dict({name: item for name, item in block.state_dict().items() if "last" not in name})
    h = two(x, emb, None) - x
    norm, _, _, conv = block.last_layers
    expected = x + conv(torch.nn.functional.silu(norm(h)))
    torch.testing.assert_close(block(x, emb, None), expected)


def test_a_block_of_three_convolutions_starts_as_its_skip():
    model = UNet(replace(TINY, block_convolutions=3))
    block = next(layer for layer in model.modules() if isinstance(layer, ResBlock) and layer.last_layers is not None)
    x = torch.randn(2, 8, 8, 8, generator=generator(0))
    torch.testing.assert_close(block(x, torch.randn(2, 32, generator=generator(1)), None), x)


def test_refuses_another_number_of_convolutions():
    with pytest.raises(UserError, match="block_convolutions is 4"):
        replace(TINY, block_convolutions=4)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"code_dim": 5},
        {"code_dim": 5, "code_blocks": "bottleneck"},
        {"code_dim": 5, "use_scale_shift_norm": False, "block_convolutions": 3},
    ],
    ids=["plain", "code", "bottleneck", "added-time-three"],
)
def test_prepared_network_gives_the_numbers_of_the_network(change):
    model = randomised(replace(TINY, **change))
    code = torch.randn(3, 5, generator=generator(4), dtype=torch.float64) if model.config.code_dim else None
    prepared = PreparedUNet(model, code, [0, 500])
    for step in (0, 500, 7):  # 7 has not been announced
        at = torch.full((3,), step)
        with torch.no_grad():
            expected = model(images(), at, code)
        torch.testing.assert_close(prepared(images(), at), expected, rtol=1e-9, atol=1e-11)
    assert (prepared(images(), torch.zeros(3)) - prepared(images(), torch.full((3,), 500))).abs().max() > 1e-3


def test_prepared_network_in_bfloat16_is_close():
    model = randomised(replace(TINY, code_dim=5)).float()
    code = torch.randn(3, 5, generator=generator(4))
    x, at = images().float(), torch.full((3,), 500)
    exact, rough = PreparedUNet(model, code)(x, at), PreparedUNet(model, code, dtype=torch.bfloat16)(x, at)
    assert rough.dtype == torch.float32
    # Rounding to 2^-9 in some 20 layers adds up as a random walk.
    assert (rough - exact).square().mean().sqrt() < 2**-9 * 20**0.5 * 3 * exact.square().mean().sqrt()
    assert (rough - exact).abs().max() > 0


def test_prepared_network_wants_evaluation_mode():
    with pytest.raises(ValueError, match="eval"):
        PreparedUNet(UNet(TINY))


def test_modulated_norm_is_norm_then_factor_and_shift_of_each_image():
    norm = torch.nn.GroupNorm(4, 8, affine=False).double()
    h = torch.randn(3, 8, 5, 5, generator=generator(0), dtype=torch.float64)
    factor, shift = (torch.randn(3, 8, generator=generator(seed), dtype=torch.float64) for seed in (1, 2))
    expected = norm(h) * factor[..., None, None] + shift[..., None, None]
    torch.testing.assert_close(modulated_norm(h, norm, factor, shift), expected)


def test_modulated_norm_at_one_pixel_is_the_shift():
    norm = torch.nn.GroupNorm(8, 8, affine=False)
    h, shift = torch.randn(2, 8, 1, 1, generator=generator(0)), torch.randn(2, 8, generator=generator(1))
    # A rounding error of the mean is multiplied by 1 / sqrt(eps) = 316.
    torch.testing.assert_close(modulated_norm(h, norm, torch.ones(2, 8), shift)[..., 0, 0], shift, rtol=0, atol=2e-4)


def test_latent_mlp_sees_its_input_at_every_layer_and_the_time():
    network = LatentMLP(4, seed=0).eval()
    assert [layer.linear.in_features for layer in network.hidden] == [4, *[20] * 8]
    assert network.out.in_features == 20
    a, step = torch.randn(6, 4, generator=generator(0)), torch.full((6,), 10)
    out = network(a, step)
    assert out.shape == (6, 4)
    assert (network(a, step + 400) - out).abs().max() > 1e-4
    assert torch.equal(LatentMLP(4, seed=0).eval()(a, step), out)
