"""The U-Net: IDDPM's tensors and outputs, sizes, conditioning, seeds, precision."""

from dataclasses import replace

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from infolab.errors import UserError
from infolab.nn.blocks import set_dropout_generator
from infolab.nn.unet import UNet, UNetConfig, cifar10_config, digits_config, mnist_config, unet_size
from infolab.noise import generator

TINY = UNetConfig(
    image_size=8, in_channels=1, model_channels=32, channel_mult=(1, 2), num_res_blocks=1, attention_resolutions=(4,)
)


def randomise(model, seed=0):
    """Move every parameter off its initial value, so that no zero-initialised branch hides what feeds it."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.add_(0.05 * torch.randn(p.shape, generator=generator(seed, name)).to(p.dtype))
    return model


def batch(config, n=2, dtype=torch.float32):
    g = generator(0, "batch")
    shape = (n, config.in_channels, config.image_size, config.image_size)
    x, t = torch.randn(shape, generator=g, dtype=dtype), torch.rand(n, generator=g, dtype=dtype)
    code = torch.randn(n, config.code_dim, generator=g, dtype=dtype) if config.code_dim else None
    return x, t, code


def test_whole_steps_and_their_floats_give_one_output():
    config = replace(TINY, time_scale=1.0)
    model = randomise(UNet(config))
    x, _, _ = batch(config)
    assert torch.equal(model(x, torch.tensor([5, 700])), model(x, torch.tensor([5.0, 700.0])))


@pytest.mark.parametrize(
    "config",
    [
        digits_config(),
        mnist_config(),
        replace(mnist_config(), channel_mult=(1, 2, 2, 2), num_res_blocks=1, attention_resolutions=(7,)),
        replace(cifar10_config(), model_channels=24, num_res_blocks=1),
        replace(TINY, image_size=9, channel_mult=(1, 1, 1, 1), out_channels=2, model_channels=6, norm_groups=4),
    ],
    ids=["digits-8", "mnist-28", "odd-28-14-7-4", "cifar-32", "odd-9-5-3-2"],
)
def test_shapes(config):
    x, t, _ = batch(config)
    y = randomise(UNet(config))(x, t)
    assert y.shape == (2, config.total_out_channels, config.image_size, config.image_size)
    assert y.isfinite().all()


def test_attention_follows_the_size_in_pixels():
    assert sum("qkv.weight" in name for name, _ in UNet(mnist_config()).named_parameters()) == 1
    config = replace(mnist_config(), attention_resolutions=(14,))
    assert sum("qkv.weight" in name for name, _ in UNet(config).named_parameters()) == 1 + 2 + 3


def test_initial_output_is_zero_and_weights_have_the_default_spread():
    model = UNet(TINY)
    x, t, _ = batch(TINY)
    assert torch.count_nonzero(model(x, t)) == 0
    weight = model.get_parameter("middle_block.0.in_layers.2.weight")
    bound = (64 * 9) ** -0.5
    assert weight.abs().max() <= bound
    # The variance of U(-b, b) is b^2/3; that of its estimate from N draws is 4 b^4 / (45 N).
    tolerance = 5 * (4 / 45 / weight.numel()) ** 0.5 * bound**2
    assert abs(weight.square().mean().item() - bound**2 / 3) < tolerance


def test_weights_are_a_function_of_the_seed_alone():
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = UNet(TINY, seed=3).state_dict()
    assert torch.equal(state, torch.get_rng_state())
    torch.manual_seed(2)
    second, other = UNet(TINY, seed=3).state_dict(), UNet(TINY, seed=4).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["time_embed.0.weight"], other["time_embed.0.weight"])


def test_a_code_changes_no_other_initial_weight():
    plain, coded = UNet(TINY).state_dict(), UNet(replace(TINY, code_dim=3)).state_dict()
    assert set(plain) < set(coded)
    assert all(torch.equal(plain[name], coded[name]) for name in plain)


@pytest.mark.parametrize("code_blocks", ["all", "bottleneck"])
def test_gradients_reach_every_parameter_and_the_code(code_blocks):
    config = replace(TINY, code_dim=3, code_blocks=code_blocks, dropout=0.1)
    model = randomise(UNet(config)).train()
    set_dropout_generator(model, generator(0, "dropout"))
    x, t, code = batch(config)
    code.requires_grad_()
    model(x, t, code).square().sum().backward()
    dead = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert dead == []
    assert code.grad.abs().min() > 0


def test_code_changes_the_output_and_sits_where_it_is_asked_to():
    x, t, _ = batch(TINY)
    for code_blocks, layers in (("all", 2 + 2 + 4), ("bottleneck", 2)):
        model = randomise(UNet(replace(TINY, code_dim=3, code_blocks=code_blocks)))
        assert sum(name.endswith("code_layers.1.weight") for name, _ in model.named_parameters()) == layers
        same, other = model(x, t, torch.zeros(2, 3)), model(x, t, torch.ones(2, 3))
        assert (same - other).abs().max() > 1e-3 * same.abs().max()


def test_code_scales_and_shifts_after_time():
    block = randomise(UNet(replace(TINY, code_dim=3)).double()).middle_block[0]
    g = generator(0)
    h, emb, code = (torch.randn(s, generator=g, dtype=torch.float64) for s in ((2, 64, 4, 4), (2, 128), (2, 128)))
    seen = []
    block.out_layers[1].register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    block(h, emb, code)
    scale_t, shift_t = block.emb_layers(emb)[..., None, None].chunk(2, 1)
    scale_a, shift_a = block.code_layers(code)[..., None, None].chunk(2, 1)
    normed = block.out_layers[0](block.in_layers(h))
    expected = (normed * (1 + scale_t) + shift_t) * (1 + scale_a) + shift_a
    torch.testing.assert_close(seen[0], expected)


def test_continuous_times_are_told_apart():
    # The output convolution starts at 0 and would hide the time, hence one optimisation step first.
    model = UNet(TINY)
    x, _, _ = batch(TINY)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    for _ in range(2):
        optimizer.zero_grad()
        (model(x, torch.tensor([0.1, 0.2])) - x).square().mean().backward()
        optimizer.step()
    early, late = model(x, torch.full((2,), 0.1)), model(x, torch.full((2,), 0.2))
    assert (early - late).abs().max() > 1e-3 * early.abs().max()


def test_raw_continuous_time_hardly_moves_the_output():
    x, _, _ = batch(TINY)
    change = []
    for time_scale in (1000.0, 1.0):
        model = randomise(UNet(replace(TINY, time_scale=time_scale)))
        change.append((model(x, torch.full((2,), 0.1)) - model(x, torch.full((2,), 0.2))).abs().mean().item())
    assert change[0] > 3 * change[1]


def test_dropout_is_a_function_of_its_generator():
    config = replace(TINY, dropout=0.3)
    model = randomise(UNet(config)).train()
    x, t, _ = batch(config)
    outputs = []
    for step in (4, 4, 5):
        set_dropout_generator(model, generator(0, "dropout", step))
        outputs.append(model(x, t))
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])
    set_dropout_generator(model, None)
    with pytest.raises(UserError, match="set_dropout_generator"):
        model(x, t)
    assert torch.equal(model.eval()(x, t), randomise(UNet(TINY))(x, t))


def test_float64_agrees_with_float32_and_is_finer():
    single, double = randomise(UNet(TINY)), randomise(UNet(TINY).double())
    x, t, _ = batch(TINY)
    y = double(x.double(), t.double())
    assert y.dtype == torch.float64
    torch.testing.assert_close(single(x, t).double(), y, rtol=1e-3, atol=1e-4)


def test_autocast_bfloat16_is_close():
    model = randomise(UNet(TINY))
    x, t, _ = batch(TINY)
    exact = model(x, t)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = model(x, t)
    rough.float().square().mean().backward()
    # bfloat16 has 8 significant bits: 2^-8 a layer, some 20 layers of which errors add as a random walk.
    assert (rough.float() - exact).square().mean().sqrt() < 2**-8 * 20**0.5 * 2 * exact.square().mean().sqrt()


def test_half_precision_group_norm_is_computed_in_float32():
    norm = UNet(TINY).out[0]
    x = 100 + torch.randn(2, 32, 4, 4, generator=generator(0))
    half = x.bfloat16()
    torch.testing.assert_close(norm(half), norm(half.float()).bfloat16(), rtol=0, atol=0)


def test_second_derivatives_exist_under_the_plain_attention():
    model = randomise(UNet(TINY).double())
    x, t, _ = batch(TINY, dtype=torch.float64)
    x.requires_grad_()
    with sdpa_kernel(SDPBackend.MATH):
        (first,) = torch.autograd.grad(model(x, t).square().sum(), x, create_graph=True)
        (second,) = torch.autograd.grad(first.square().sum(), x)
    assert second.isfinite().all()
    assert second.abs().max() > 0


def test_channels_last_gives_the_same_numbers():
    model = randomise(UNet(TINY).double())
    x, t, _ = batch(TINY, dtype=torch.float64)
    y = model(x, t)
    model = model.to(memory_format=torch.channels_last)
    torch.testing.assert_close(model(x.contiguous(memory_format=torch.channels_last), t), y)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"image_size": 0}, "image_size is 0"),
        ({"model_channels": 1}, "model_channels is 1"),
        ({"num_res_blocks": 0}, "num_res_blocks is 0"),
        ({"channel_mult": ()}, "channel_mult"),
        ({"num_heads": 5}, "num_heads 5"),
        ({"time_scale": 0.0}, "time_scale"),
        ({"code_dim": -1}, "code_dim is -1"),
        ({"code_blocks": "some"}, "choose one of all, bottleneck"),
    ],
)
def test_refuses_what_cannot_be_built(change, words):
    with pytest.raises(UserError, match=words):
        replace(TINY, **change)


def test_refuses_inputs_that_do_not_fit():
    plain, coded = UNet(TINY), UNet(replace(TINY, code_dim=3))
    x, t, _ = batch(TINY)
    for call, words in (
        (lambda: plain(x[:, :, :7], t), r"expected \(n, 1, 8, 8\)"),
        (lambda: plain(x, t[:1]), r"times have shape \(1,\)"),
        (lambda: plain(x, t, torch.zeros(2, 3)), "expected none"),
        (lambda: coded(x, t), "no code was given"),
        (lambda: coded(x, t, torch.zeros(2, 4)), r"expected \(2, 3\)"),
    ):
        with pytest.raises(UserError, match=words):
            call()


def test_the_size_is_that_of_the_network_and_of_its_pass():
    config = mnist_config()
    network = UNet(config)
    with FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, config.in_channels, config.image_size, config.image_size), torch.zeros(1))
    parameters, flops = unet_size(config)
    assert parameters == sum(item.numel() for item in network.parameters())
    # The fused attention of the CPU is not counted: a thousandth here.
    assert counter.get_total_flops() <= flops < 1.01 * counter.get_total_flops()
