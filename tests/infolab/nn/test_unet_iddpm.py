"""IDDPM's checkpoints: the U-Net has their tensors, gives their outputs, and takes no other ones."""

import math

import pytest
import torch
import torch.nn.functional as F

from infolab.errors import UserError
from infolab.nn.unet import UNet, UNetConfig, iddpm_cifar10_config, load_iddpm_state
from infolab.noise import generator

TINY = UNetConfig(
    image_size=8, in_channels=1, model_channels=32, channel_mult=(1, 2), num_res_blocks=1, attention_resolutions=(4,)
)


def randomise(model):
    """Move every parameter off its initial value, so that no zero-initialised branch hides what feeds it."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.add_(0.05 * torch.randn(p.shape, generator=generator(0, name)).to(p.dtype))
    return model


def iddpm_forward(state, x, steps, *, heads, scale_shift):
    """IDDPM's output for images x (n, c, h, w) and steps (n,), from a float64 checkpoint; sizes are powers of 2."""
    channels = state["time_embed.0.weight"].shape[1]

    def norm(name, h):
        return F.group_norm(h, 32, state[name + ".weight"], state[name + ".bias"], 1e-5)

    def conv(name, h, stride=1):
        weight = state[name + ".weight"]
        return F.conv2d(h, weight, state[name + ".bias"], stride=stride, padding=weight.shape[-1] // 2)

    def linear(name, h):
        return h @ state[name + ".weight"].T + state[name + ".bias"]

    def res_block(name, h, emb):
        skip = conv(name + ".skip_connection", h) if name + ".skip_connection.weight" in state else h
        h = conv(name + ".in_layers.2", F.silu(norm(name + ".in_layers.0", h)))
        time = linear(name + ".emb_layers.1", F.silu(emb))[:, :, None, None]
        if scale_shift:
            width = h.shape[1]
            h = norm(name + ".out_layers.0", h) * (1 + time[:, :width]) + time[:, width:]
        else:
            h = norm(name + ".out_layers.0", h + time)
        return skip + conv(name + ".out_layers.3", F.silu(h))

    def attention(name, h):
        n, c, height, width = h.shape
        flat = h.reshape(n, c, -1)
        qkv = F.conv1d(norm(name + ".norm", flat), state[name + ".qkv.weight"], state[name + ".qkv.bias"])
        q, k, v = qkv.reshape(n * heads, 3 * c // heads, -1).split(c // heads, dim=1)
        weight = torch.softmax(torch.einsum("bct,bcs->bts", q, k) / math.sqrt(c // heads), dim=-1)
        mixed = torch.einsum("bts,bcs->bct", weight, v).reshape(n, c, -1)
        out = F.conv1d(mixed, state[name + ".proj_out.weight"], state[name + ".proj_out.bias"])
        return (flat + out).reshape(n, c, height, width)

    def stage(name, h, emb):
        index = 0
        while any(key.startswith(f"{name}.{index}.") for key in state):
            layer = f"{name}.{index}"
            if layer + ".in_layers.0.weight" in state:
                h = res_block(layer, h, emb)
            elif layer + ".qkv.weight" in state:
                h = attention(layer, h)
            elif layer + ".op.weight" in state:
                h = conv(layer + ".op", h, stride=2)
            elif layer + ".conv.weight" in state:
                h = conv(layer + ".conv", h.repeat_interleave(2, 2).repeat_interleave(2, 3))
            else:
                h = conv(layer, h)
            index += 1
        return h

    def count(name):
        return 1 + max(int(key.split(".")[1]) for key in state if key.startswith(name))

    half = channels // 2
    angle = steps.double()[:, None] * torch.exp(-math.log(10_000) * torch.arange(half).double() / half)
    emb = torch.cat([angle.cos(), angle.sin()], dim=1)
    emb = linear("time_embed.2", F.silu(linear("time_embed.0", emb)))
    h, skips = x, []
    for i in range(count("input_blocks")):
        h = stage(f"input_blocks.{i}", h, emb)
        skips.append(h)
    h = stage("middle_block", h, emb)
    for i in range(count("output_blocks")):
        h = stage(f"output_blocks.{i}", torch.cat([h, skips.pop()], dim=1), emb)
    return conv("out.2", F.silu(norm("out.0", h)))


def test_iddpm_has_the_published_tensors():
    iddpm_state = UNet(iddpm_cifar10_config()).state_dict()
    assert len(iddpm_state) == 446
    assert sum(v.numel() for v in iddpm_state.values()) == 52_546_438
    expected = {
        "time_embed.0.weight": (512, 128),
        "time_embed.2.bias": (512,),
        "input_blocks.0.0.weight": (128, 3, 3, 3),
        "input_blocks.4.0.op.weight": (128, 128, 3, 3),
        "input_blocks.5.0.in_layers.2.weight": (256, 128, 3, 3),
        "input_blocks.5.0.emb_layers.1.weight": (512, 512),
        "input_blocks.5.0.out_layers.3.weight": (256, 256, 3, 3),
        "input_blocks.5.0.skip_connection.weight": (256, 128, 1, 1),
        "input_blocks.5.1.norm.weight": (256,),
        "input_blocks.5.1.qkv.weight": (768, 256, 1),
        "input_blocks.5.1.proj_out.weight": (256, 256, 1),
        "middle_block.1.qkv.weight": (768, 256, 1),
        "middle_block.2.out_layers.0.weight": (256,),
        "output_blocks.3.1.conv.weight": (256, 256, 3, 3),
        "output_blocks.7.2.conv.weight": (256, 256, 3, 3),
        "out.0.weight": (128,),
        "out.2.bias": (6,),
    }
    assert {name: tuple(iddpm_state[name].shape) for name in expected} == expected


@pytest.mark.parametrize("scale_shift", [True, False])
@pytest.mark.parametrize("heads", [1, 4])
def test_output_is_iddpms_in_float64(heads, scale_shift):
    config = UNetConfig(
        image_size=16,
        model_channels=32,
        channel_mult=(1, 2, 2),
        num_res_blocks=2,
        attention_resolutions=(8, 4),
        num_heads=heads,
        learn_sigma=True,
        use_scale_shift_norm=scale_shift,
        time_scale=1.0,
    )
    model = randomise(UNet(config).double()).eval()
    x = torch.randn(2, 3, 16, 16, dtype=torch.float64, generator=generator(0, "images"))
    steps = torch.tensor([3.0, 871.25], dtype=torch.float64)
    with torch.no_grad():
        expected = iddpm_forward(model.state_dict(), x, steps, heads=heads, scale_shift=scale_shift)
        got = model(x, steps)
    assert got.shape == (2, 6, 16, 16)
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10)


def test_checkpoint_round_trip_and_refusals_by_name():
    source, target = randomise(UNet(TINY, seed=1)), UNet(TINY, seed=2)
    state = source.state_dict()
    before = {k: v.clone() for k, v in target.state_dict().items()}
    missing = {k: v for k, v in state.items() if k != "out.2.bias"}
    extra = {**state, "label_emb.weight": torch.zeros(1)}
    shape = {**state, "time_embed.0.bias": torch.zeros(3)}
    for bad, words in (
        (missing, "missing: out.2.bias"),
        (extra, "unexpected: label_emb.weight"),
        (shape, r"time_embed.0.bias \(3,\) instead of \(128,\)"),
        ({}, "and 123 more"),
    ):
        with pytest.raises(UserError, match=words):
            load_iddpm_state(target, bad)
        assert all(torch.equal(before[k], v) for k, v in target.state_dict().items())
    load_iddpm_state(target, state)
    x, t = torch.randn(2, 1, 8, 8, generator=generator(0, "images")), torch.tensor([0.1, 0.9])
    assert torch.equal(source(x, t), target(x, t))
