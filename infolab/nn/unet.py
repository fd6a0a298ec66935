"""The lab's one U-Net: IDDPM's layout and parameter names, an optional code, continuous or discrete time; sizes by
name.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from infolab.device import Network
from infolab.errors import UserError, check_choice
from infolab.nn.blocks import (
    AttentionBlock,
    Downsample,
    GroupNorm,
    ResBlock,
    TimestepEmbedSequential,
    Upsample,
    sinusoidal_embedding,
)
from infolab.noise import initialise_, zero_

# ----------
# The lab's one U-Net: IDDPM's layout and parameter names, an optional code, continuous or discrete time.


@dataclass(frozen=True)
class UNetConfig:
    """What a U-Net is made of; the published sizes are in `infolab.nn.unet`.

    Attributes:
        image_size: height and width of the input in pixels; level l works at ceil(image_size / 2^l).
        in_channels: channels of the input image.
        out_channels: channels of the output before `learn_sigma`; 0: as many as the input.
        model_channels: channels C of the first level; even, since half of the time embedding are cosines.
        channel_mult: level l has `channel_mult[l] * model_channels` channels.
        num_res_blocks: residual blocks a level on the way down (one more on the way up).
        attention_resolutions: pixels: attention where a level's size is exactly one of these. The bottleneck always
            has one attention block between two residual blocks.
        num_heads: heads of each attention block.
        use_scale_shift_norm: time scales and shifts the normalised features (IDDPM) instead of being added before.
        learn_sigma: twice the output channels; the second half parametrises the variance (IDDPM).
        dropout: probability of dropping a feature in training, see `infolab.nn.blocks`.
        code_dim: length of a code a; 0: unconditional, without parameters for a code.
        code_blocks: residual blocks that see the code: `all`, or those of the `bottleneck` only.
        time_scale: t is multiplied by this before the sinusoidal embedding: 1,000 for continuous t in [0, T] (raw t
            would hardly move the embedding), 1 for step indices in [0, 1000) as IDDPM's checkpoints take them.
        norm_groups: most groups in a group norm; the largest divisor of the channels at most this is taken.
        timed: the network is told a time; otherwise it has no parameters for one.
        block_convolutions: 3x3 convolutions of a residual block, 2 or 3, see `ResBlock`.

    Raises:
        UserError: a size that cannot be built, named with its value.
    """

    image_size: int
    in_channels: int = 3
    out_channels: int = 0
    model_channels: int = 128
    channel_mult: tuple[int, ...] = (1, 2, 2, 2)
    num_res_blocks: int = 2
    attention_resolutions: tuple[int, ...] = (16,)
    num_heads: int = 1
    use_scale_shift_norm: bool = True
    learn_sigma: bool = False
    dropout: float = 0.0
    code_dim: int = 0
    code_blocks: Literal["all", "bottleneck"] = "all"
    time_scale: float = 1000.0
    norm_groups: int = 32
    timed: bool = True
    block_convolutions: int = 2

    def __post_init__(self) -> None:
        check_choice("choice of blocks that see the code", self.code_blocks, ("all", "bottleneck"))
        if self.block_convolutions not in (2, 3):
            raise UserError(f"U-Net: block_convolutions is {self.block_convolutions}, expected 2 or 3: choose one")
        least = {"image_size": 1, "in_channels": 1, "model_channels": 2, "num_res_blocks": 1, "num_heads": 1}
        least |= {"norm_groups": 1, "code_dim": 0, "out_channels": 0}
        for name, low in least.items():
            if getattr(self, name) < low:
                raise UserError(f"U-Net: {name} is {getattr(self, name)}, expected at least {low}: choose a larger one")
        if not self.channel_mult or min(self.channel_mult) < 1:
            raise UserError(
                f"U-Net: channel_mult is {self.channel_mult}, expected one whole number >= 1 for each level"
            )
        if not self.time_scale > 0:
            raise UserError(
                f"U-Net: time_scale is {self.time_scale}, expected above 0: 1000 for continuous time, else 1"
            )
        for channels in (mult * self.model_channels for mult in self.channel_mult):
            if channels % self.num_heads:
                raise UserError(
                    f"U-Net: {channels} channels do not divide into num_heads {self.num_heads}: change one of them"
                )

    @property
    def level_sizes(self) -> tuple[int, ...]:
        """Height of each level in pixels, finest first.

        >>> UNetConfig(image_size=28).level_sizes
        (28, 14, 7, 4)
        """
        return tuple(-(-self.image_size // 2**level) for level in range(len(self.channel_mult)))

    @property
    def total_out_channels(self) -> int:
        """Channels of the network's output, twice the image's when it learns the variance."""
        return (self.out_channels or self.in_channels) * (2 if self.learn_sigma else 1)


class UNet(Network):
    """U-Net of residual blocks and attention (Ho et al. 2020; Nichol and Dhariwal 2021), from a config and a seed.

    Parameter names, shapes and semantics are those of OpenAI's improved-diffusion for code_dim 0, so its checkpoints
    load strictly (`load_iddpm_state`) and give its outputs. The last convolution of every residual branch, of every
    attention block and of the network starts at 0, everything else at PyTorch's default distribution.

    Args:
        config: see `UNetConfig`.
        seed: initial weights are a function of it and of the parameters' names alone, not of the global random state.
    """

    def __init__(self, config: UNetConfig, seed: int = 0):
        super().__init__()
        self.config = config
        with torch.device("meta"):  # no memory and no random numbers are spent on weights that are drawn below
            self._build(config)
        self.to_empty(device="cpu")
        initialise_(self, seed)
        for layer in self.modules():
            if isinstance(layer, ResBlock):
                zero_(layer.last_convolution)
            elif isinstance(layer, AttentionBlock):
                zero_(layer.proj_out)
        zero_(self.out[2])

    def _build(self, config: UNetConfig) -> None:
        base, sizes = config.model_channels, config.level_sizes
        embedding = nn.Sequential(nn.Linear(base, 4 * base), nn.SiLU(), nn.Linear(4 * base, 4 * base))
        self.time_embed = embedding if config.timed else None
        self.code_embed = nn.Linear(config.code_dim, 4 * base) if config.code_dim else None
        self.input_blocks = nn.ModuleList([TimestepEmbedSequential(nn.Conv2d(config.in_channels, base, 3, padding=1))])
        channels, skips = base, [base]
        for level, mult in enumerate(config.channel_mult):
            for _ in range(config.num_res_blocks):
                self.input_blocks.append(
                    TimestepEmbedSequential(*self._level_layers(channels, mult * base, sizes[level]))
                )
                channels = mult * base
                skips.append(channels)
            if level < len(sizes) - 1:
                self.input_blocks.append(TimestepEmbedSequential(Downsample(channels)))
                skips.append(channels)
        self.middle_block = TimestepEmbedSequential(
            self._res_block(channels, channels, middle=True),
            AttentionBlock(channels, config.num_heads, config.norm_groups),
            self._res_block(channels, channels, middle=True),
        )
        self.output_blocks = nn.ModuleList()
        for level in reversed(range(len(sizes))):
            for i in range(config.num_res_blocks + 1):
                width = config.channel_mult[level] * base
                layers = self._level_layers(channels + skips.pop(), width, sizes[level])
                channels = width
                if level and i == config.num_res_blocks:
                    layers.append(Upsample(channels, sizes[level - 1]))
                self.output_blocks.append(TimestepEmbedSequential(*layers))
        self.out = nn.Sequential(
            GroupNorm(channels, config.norm_groups),
            nn.SiLU(),
            nn.Conv2d(channels, config.total_out_channels, 3, padding=1),
        )

    def _res_block(self, channels: int, out_channels: int, middle: bool = False) -> ResBlock:
        config = self.config
        sees_code = config.code_dim and (middle or config.code_blocks == "all")
        return ResBlock(
            channels,
            out_channels,
            4 * config.model_channels if config.timed else 0,
            config.dropout,
            config.use_scale_shift_norm,
            code_channels=4 * config.model_channels if sees_code else 0,
            max_groups=config.norm_groups,
            convolutions=config.block_convolutions,
        )

    def _level_layers(self, channels: int, out_channels: int, size: int) -> list[nn.Module]:
        layers: list[nn.Module] = [self._res_block(channels, out_channels)]
        if size in self.config.attention_resolutions:
            layers.append(AttentionBlock(out_channels, self.config.num_heads, self.config.norm_groups))
        return layers

    def forward(self, x: torch.Tensor, t: torch.Tensor | None = None, code: torch.Tensor | None = None) -> torch.Tensor:
        """Return the network's output (eps_hat, a score or a drift: the caller's parametrisation decides).

        Args:
            x: images x_t, shape (n, in_channels, image_size, image_size).
            t: times, shape (n,), in units that `time_scale` turns into steps of 1,000: continuous t for 1,000, step
                indices (whole or fractional) for 1. None for a network that is not told a time.
            code: codes a, shape (n, code_dim), for a network with a code.

        Returns:
            Shape (n, total_out_channels, image_size, image_size).

        Raises:
            UserError: a shape that does not fit the config, or a code given or missing against it.
        """
        self._check(x, t, code)
        emb = None if t is None else self.embed_time(t)
        code_emb = None if self.code_embed is None else self.code_embed(code)
        h, skips = x, []
        for stage in self.input_blocks:
            h = stage(h, emb, code_emb)
            skips.append(h)
        h = self.middle_block(h, emb, code_emb)
        for stage in self.output_blocks:
            h = stage(torch.cat([h, skips.pop()], dim=1), emb, code_emb)
        result: torch.Tensor = self.out(h)
        return result

    def embed_time(self, t: torch.Tensor) -> torch.Tensor:
        """The embedding (n, 4 C) that the residual blocks are given for times t (n,)."""
        assert self.time_embed is not None
        dtype = next(self.time_embed.parameters()).dtype
        angle_dtype = torch.promote_types(dtype, torch.float32)
        emb = sinusoidal_embedding(t.to(angle_dtype) * self.config.time_scale, self.config.model_channels)
        embedded: torch.Tensor = self.time_embed(emb.to(dtype))
        return embedded

    def _check(self, x: torch.Tensor, t: torch.Tensor | None, code: torch.Tensor | None) -> None:
        size, channels, code_dim = self.config.image_size, self.config.in_channels, self.config.code_dim
        if x.ndim != 4 or tuple(x.shape[1:]) != (channels, size, size):
            raise UserError(
                f"U-Net: images have shape {tuple(x.shape)}, expected (n, {channels}, {size}, {size}): "
                "resize them or change image_size and in_channels"
            )
        if (t is not None) != self.config.timed:
            raise UserError(
                f"U-Net: timed is {self.config.timed}, so a time must {'' if self.config.timed else 'not '}be given"
            )
        if t is not None and tuple(t.shape) != (x.shape[0],):
            raise UserError(f"U-Net: times have shape {tuple(t.shape)}, expected ({x.shape[0]},): give one per image")
        if code is None and code_dim:
            raise UserError(f"U-Net: no code was given, expected shape ({x.shape[0]}, {code_dim}): pass code=")
        if code is not None and tuple(code.shape) != (x.shape[0], code_dim):
            raise UserError(
                f"U-Net: the code has shape {tuple(code.shape)}, expected "
                f"{(x.shape[0], code_dim) if code_dim else 'none'}: change the code or code_dim"
            )


@functools.lru_cache
def unet_size(config: UNetConfig) -> tuple[int, float]:
    """Number of weights, and floating-point operations of one example's forward pass, counted on the meta device."""
    network = UNet(config).eval().to("meta")
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        step = torch.zeros(1) if config.timed else None
        code = torch.zeros(1, config.code_dim) if config.code_dim else None
        network(torch.zeros(1, config.in_channels, config.image_size, config.image_size), step, code)
    return sum(item.numel() for item in network.parameters()), float(counter.get_total_flops())


def load_iddpm_state(model: nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    """Copy a checkpoint's tensors into `model`: every name and shape must agree, and nothing is loaded otherwise.

    Raises:
        UserError: names the tensors that are missing, unexpected or of another shape.
    """
    own = model.state_dict()
    wrong = {
        "missing": [name for name in own if name not in state],
        "unexpected": [name for name in state if name not in own],
        "of another shape": [
            f"{name} {tuple(state[name].shape)} instead of {tuple(own[name].shape)}"
            for name in own
            if name in state and state[name].shape != own[name].shape
        ],
    }
    if any(wrong.values()):
        parts = [f"{kind}: {_shortened(names)}" for kind, names in wrong.items() if names]
        raise UserError(
            f"the checkpoint does not fit this network of {len(own)} tensors ({'; '.join(parts)}): "
            "choose the configuration that it was trained with"
        )
    model.load_state_dict(state)


def _shortened(names: list[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


# ----------
# The U-Net sizes that the papers publish, by name, and a small one for the built-in digits.


def mnist_config(dropout: float = 0.0) -> UNetConfig:
    """Return the U-Net for 28x28 grey images: 32 channels, multipliers 1, 2, 2, two blocks a level.

    The published flag asks for attention at 16 and compares it with a level's size in pixels. A 28x28 input has levels
    of 28, 14 and 7, so the only attention is the bottleneck's. (IDDPM would read the same flag as a factor,
    28 // 16 = 1, and attend at 28.) Source: Huang, Lim and Courville 2021, public code, whose
    time embedding (sines first, exponent k/(h - 1)), initial weights (uniform by fan average, zero biases) and group
    norm's eps (1e-6) differ from IDDPM's, which are kept here.
    """
    return UNetConfig(
        image_size=28,
        in_channels=1,
        model_channels=32,
        channel_mult=(1, 2, 2),
        num_res_blocks=2,
        attention_resolutions=(16,),
        use_scale_shift_norm=False,
        dropout=dropout,
    )


def cifar10_config(dropout: float = 0.0) -> UNetConfig:
    """Return the U-Net for 32x32 colour images: 128 channels, multipliers 1, 2, 2, 2, attention at 16.

    It has 35,746,307 parameters. Source: Ho et al. 2020, appendix B, as taken over by Huang, Lim and Courville 2021.
    """
    return UNetConfig(
        image_size=32,
        in_channels=3,
        model_channels=128,
        channel_mult=(1, 2, 2, 2),
        num_res_blocks=2,
        attention_resolutions=(16,),
        use_scale_shift_norm=False,
        dropout=dropout,
    )


def digits_config(dropout: float = 0.0) -> UNetConfig:
    """Return a small U-Net for 8x8 grey digits: 32 channels, multipliers 1, 2, one block a level, attention at 4."""
    return UNetConfig(
        image_size=8,
        in_channels=1,
        model_channels=32,
        channel_mult=(1, 2),
        num_res_blocks=1,
        attention_resolutions=(4,),
        dropout=dropout,
    )


def iddpm_cifar10_config(dropout: float = 0.3) -> UNetConfig:
    """Return the U-Net of IDDPM's `cifar10_uncond_vlb_50M_500K.pt`: 446 tensors, 52,546,438 parameters.

    Its time is a step index in [0, 1000), whole or fractional, so `time_scale` is 1; the output has 6 channels, eps_hat
    then the variance's interpolation. Source: Nichol and Dhariwal 2021, public code.
    """
    return UNetConfig(
        image_size=32,
        in_channels=3,
        model_channels=128,
        channel_mult=(1, 2, 2, 2),
        num_res_blocks=3,
        attention_resolutions=(16, 8),
        num_heads=4,
        learn_sigma=True,
        dropout=dropout,
        time_scale=1.0,
    )


def _changed(size: Callable[..., UNetConfig], **changes: Any) -> Callable[..., UNetConfig]:
    return lambda dropout=0.0: dataclasses.replace(size(dropout), **changes)


# Beside the published sizes: `narrow` for a CPU, `tiny` for tests.
NETWORKS: dict[str, Callable[..., UNetConfig]] = {
    "digits": digits_config,
    "digits-narrow": _changed(digits_config, model_channels=16),
    "digits-tiny": _changed(digits_config, model_channels=4, norm_groups=4),
    "mnist": mnist_config,
    "mnist-narrow": _changed(mnist_config, model_channels=8, num_res_blocks=1, norm_groups=4),
    "mnist-tiny": _changed(mnist_config, model_channels=4, num_res_blocks=1, norm_groups=4, channel_mult=(1, 1, 1)),
    "cifar10": cifar10_config,
    "cifar10-narrow": _changed(
        cifar10_config, model_channels=8, num_res_blocks=1, norm_groups=4, channel_mult=(1, 2, 2)
    ),
    "cifar10-tiny": _changed(cifar10_config, model_channels=4, num_res_blocks=1, norm_groups=4, channel_mult=(1, 1, 1)),
}
"""U-Nets by the names that the image studies take; each takes its dropout."""
