"""The parts of the U-Net: embeddings of time, normalisation, residual blocks, attention, dropout, changes of
resolution.
"""

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import nn

from infolab.errors import UserError

# ----------
# Sinusoidal embeddings of a scalar: how a network is told the time or the log-SNR.


def sinusoidal_embedding(t: torch.Tensor, dim: int, max_period: float = 10_000.0) -> torch.Tensor:
    """Return e(t) = [cos(w_0 t), ..., cos(w_{h-1} t), sin(w_0 t), ..., sin(w_{h-1} t)], h = dim // 2.

    The frequencies are w_k = max_period^(-k/h): the first turns once in 2 pi units of t, the last once in almost
    2 pi max_period. For t in [0, 1] only a handful of them move at all, so continuous times are multiplied by 1,000
    first (`UNetConfig.time_scale`). An odd `dim` ends with one zero.

    Source: Vaswani et al. 2017, section 3.5; cosines first as in Nichol and Dhariwal 2021 (IDDPM).

    Args:
        t: any shape (...), in the units of the embedding (steps of 1,000 for IDDPM); float64 stays float64, every
            other type is computed in float32.
        dim: length of the embedding, at least 2.
        max_period: dimensionless ratio of the slowest to the fastest period.

    Returns:
        Shape (..., dim), float32 or float64.

    Raises:
        UserError: `dim` is below 2 or `max_period` is not above 0.

    >>> sinusoidal_embedding(torch.tensor([0.0]), 4)
    tensor([[1., 1., 0., 0.]])
    """
    if dim < 2 or not max_period > 0:
        raise UserError(
            f"an embedding needs dim >= 2 and max_period > 0, not {dim} and {max_period}: choose larger ones"
        )
    half = dim // 2
    dtype = torch.float64 if t.dtype == torch.float64 else torch.float32
    k = torch.arange(half, dtype=dtype, device=t.device)
    angle = t.to(dtype)[..., None] * torch.exp(-math.log(max_period) * k / half)
    parts = [torch.cos(angle), torch.sin(angle)]
    if dim % 2:
        parts.append(torch.zeros_like(angle[..., :1]))
    return torch.cat(parts, dim=-1)


# ----------
# Dropout whose masks come from an explicit generator, so that a resumed run draws what an unbroken one would.

LEVELS = 1 << 16


class Dropout(nn.Module):
    """Inverted dropout: y = x m / (1 - p), m ~ Bernoulli(1 - p) from the generator of `set_dropout_generator`.

    The identity in evaluation mode and for p = 0, at no cost. It has no parameters and no state: a copy or a
    checkpoint of the network does not carry the generator.

    Args:
        p: probability of dropping one element, in [0, 1).
    """

    def __init__(self, p: float = 0.0):
        super().__init__()
        if not 0 <= p < 1:
            raise UserError(f"dropout is a probability in [0, 1), not {p}: choose one of them, 0 for none")
        self.p = p
        self.generator: torch.Generator | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x with a fraction p of its elements dropped and the others divided by 1 - p.

        Raises:
            UserError: in training mode with p > 0 when no generator was set.
        """
        if not self.training or self.p == 0:
            return x
        if self.generator is None:
            raise UserError(
                f"dropout {self.p} has no source of randomness in training mode: "
                "call set_dropout_generator(model, generator(seed, 'dropout', step)) before each step"
            )
        return x * scaled_mask(x, self.p, self.generator)

    def extra_repr(self) -> str:
        """Return what `print(network)` shows of this layer."""
        return f"p={self.p}"

    def __getstate__(self) -> dict:
        return {**self.__dict__, "generator": None}


def scaled_mask(x: torch.Tensor, p: float, generator: torch.Generator) -> torch.Tensor:
    """m / (1 - p) of the shape, dtype and device of x, m ~ Bernoulli(1 - p).

    On the CPU, where a generator works alone, four elements share one draw of 64 bits and p is a multiple of 2^-16;
    the mean of the mask is 1 either way.
    """
    if x.device.type != "cpu":
        return torch.empty_like(x).bernoulli_(1 - p, generator=generator).div_(1 - p)
    dropped = min(round(p * LEVELS), LEVELS - 1)
    draws = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None, generator=generator)
    levels = draws.view(torch.int16)[: x.numel()].view(x.shape)  # uniform on -LEVELS/2 .. LEVELS/2 - 1
    return (levels >= dropped - LEVELS // 2).to(x.dtype).mul_(LEVELS / (LEVELS - dropped))


def set_dropout_generator(module: nn.Module, generator: torch.Generator | None) -> None:
    """Let every `Dropout` in `module` draw its next masks from `generator`, in the order of the forward pass.

    A training loop calls it before every step with `infolab.noise.generator(seed, "dropout", step, device=device)`:
    masks are then a function of the seed and the step, whatever ran before. The device must be the network's.
    """
    for layer in module.modules():
        if isinstance(layer, Dropout):
            layer.generator = generator


# ----------
# The parts of the U-Net: normalisation, residual blocks, attention, and changes of resolution.


class GroupNorm(nn.GroupNorm):
    """Group normalisation with eps 1e-5, computed in float32 when its input is in half precision.

    Args:
        channels: number of channels C.
        max_groups: the number of groups is the largest divisor of C that is at most this (32 in IDDPM).
    """

    def __init__(self, channels: int, max_groups: int = 32):
        groups = max(g for g in range(1, max_groups + 1) if channels % g == 0)
        super().__init__(groups, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x, shape (n, C, ...), groups of channels at mean 0 and variance 1, then an affine map."""
        if x.dtype not in (torch.bfloat16, torch.float16):
            return super().forward(x)
        return F.group_norm(x.float(), self.num_groups, self.weight.float(), self.bias.float(), self.eps).to(x.dtype)


def modulate(h: torch.Tensor, scale_and_shift: torch.Tensor) -> torch.Tensor:
    """Return h (1 + scale) + shift for h (n, C, height, width) and [scale, shift] (n, 2C)."""
    scale, shift = scale_and_shift.to(h.dtype)[..., None, None].chunk(2, dim=1)
    return torch.addcmul(shift, h, 1 + scale)


def modulated_norm(h: torch.Tensor, norm: nn.GroupNorm, factor: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """GN(h) factor + shift for h (n, C, ...) and factors and shifts (n, C), in one pass; `norm`'s own affine is unused.

    Groups never span images, so n images of C channels are one image of n C channels with n times the groups.
    """
    n, channels = h.shape[:2]
    flat = h.reshape(1, n * channels, *h.shape[2:])
    if flat.dtype != factor.dtype and flat.device.type != "cpu":  # other devices' kernels take one type
        flat = flat.to(factor.dtype)
    # torch's own, not F's, which refuses one image whose groups have one value each (a level of one pixel).
    done = torch.group_norm(flat, n * norm.num_groups, factor.reshape(-1), shift.reshape(-1), norm.eps)
    return done.to(h.dtype).view(h.shape)


class ResBlock(nn.Module):
    """Residual block x -> skip(x) + conv(drop(silu(norm(conv(silu(GN(x))), time, code)))), IDDPM's layout and names.

    Time enters as GN(h)(1 + scale_t) + shift_t (scale-shift norm) or as GN(h + emb_t); a code then enters as
    h (1 + scale_a) + shift_a (Nichol and Dhariwal 2021, section 3; Wang et al. 2023, adaptive group norm).

    Args:
        channels: input channels.
        out_channels: output channels; where they differ the skip is a 1x1 convolution.
        emb_channels: length of the embedding of time; 0: no time and no parameters for it.
        dropout: probability, see `Dropout`.
        use_scale_shift_norm: how time enters, see above.
        code_channels: length of the embedding of the code; 0: no code and no parameters for one.
        max_groups: see `GroupNorm`.
        convolutions: 2 (IDDPM), or 3: conv(drop(silu(GN(h)))) once more before the sum (Wang et al. 2023, public code).
    """

    def __init__(
        self,
        channels: int,
        out_channels: int,
        emb_channels: int,
        dropout: float = 0.0,
        use_scale_shift_norm: bool = True,
        code_channels: int = 0,
        max_groups: int = 32,
        convolutions: int = 2,
    ):
        super().__init__()
        self.use_scale_shift_norm = use_scale_shift_norm
        self.in_layers = nn.Sequential(
            GroupNorm(channels, max_groups), nn.SiLU(), nn.Conv2d(channels, out_channels, 3, padding=1)
        )
        width = 2 * out_channels if use_scale_shift_norm else out_channels
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(emb_channels, width)) if emb_channels else None
        self.out_layers = _norm_to_conv(out_channels, dropout, max_groups)
        self.last_layers = _norm_to_conv(out_channels, dropout, max_groups) if convolutions == 3 else None
        self.skip_connection = nn.Identity() if channels == out_channels else PointwiseConv(channels, out_channels)
        self.code_layers = (
            nn.Sequential(nn.SiLU(), nn.Linear(code_channels, 2 * out_channels)) if code_channels else None
        )

    def forward(self, x: torch.Tensor, emb: torch.Tensor | None, code_emb: torch.Tensor | None) -> torch.Tensor:
        """Return the block's output, shape (n, out_channels, height, width).

        Args:
            x: features, shape (n, channels, height, width).
            emb: embedding of time, shape (n, emb_channels); read only by a block made for one.
            code_emb: embedding of the code, shape (n, code_channels); read only by a block made for one.
        """
        h = self.in_layers(x)
        norm, activation, dropout, conv = self.out_layers
        time = None if self.emb_layers is None else self.emb_layers(emb)
        if time is not None and not self.use_scale_shift_norm:
            h, time = h + time.to(h.dtype)[..., None, None], None
        code = None if self.code_layers is None else self.code_layers(code_emb)
        h = conv(dropout(activation(_normalised(norm, h, time, code))))
        if self.last_layers is not None:
            h = self.last_layers(h)
        return self.skip_connection(x) + h

    @property
    def last_convolution(self) -> nn.Module:
        """What ends the residual branch, and starts at 0."""
        return (self.out_layers if self.last_layers is None else self.last_layers)[3]


def _normalised(norm: nn.Module, h: torch.Tensor, time: torch.Tensor | None, code: torch.Tensor | None) -> torch.Tensor:
    """The norm of h, then factors and shifts [scale, shift] (n, 2C) of time, then those of the code."""
    if time is None or code is None or h.dtype in (torch.bfloat16, torch.float16):
        h = norm(h)
        for part in (time, code):
            h = h if part is None else modulate(h, part)
        return h
    # Both at once: two passes over the features less, and two less in the backward pass.
    assert isinstance(norm, GroupNorm)
    (scale_t, shift_t), (scale_a, shift_a) = time.to(h.dtype).chunk(2, dim=1), code.to(h.dtype).chunk(2, dim=1)
    of_code = 1 + scale_a
    of_time = 1 + scale_t
    factor = norm.weight * of_time * of_code
    shift = torch.addcmul(shift_a, torch.addcmul(shift_t, norm.bias, of_time), of_code)
    return modulated_norm(h, norm, factor, shift)


def _norm_to_conv(channels: int, dropout: float, max_groups: int) -> nn.Sequential:
    return nn.Sequential(
        GroupNorm(channels, max_groups), nn.SiLU(), Dropout(dropout), nn.Conv2d(channels, channels, 3, padding=1)
    )


class AttentionBlock(nn.Module):
    """Self-attention over positions, x -> x + proj(attention(qkv(GN(x)))), IDDPM's layout and names.

    The 3C channels of `qkv` are ordered head by head, within a head q, k, v. Weights are softmax(q k^T / sqrt(C/heads))
    through `scaled_dot_product_attention`. Its fused kernels have no second derivative; who needs one (a gradient of a
    divergence) runs the network under `torch.nn.attention.sdpa_kernel(SDPBackend.MATH)`.

    Args:
        channels: number of channels C, divisible by `num_heads`.
        num_heads: number of heads.
        max_groups: see `GroupNorm`.
    """

    def __init__(self, channels: int, num_heads: int = 1, max_groups: int = 32):
        super().__init__()
        self.num_heads = num_heads
        self.norm = GroupNorm(channels, max_groups)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.proj_out = nn.Conv1d(channels, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x plus what each position gathers from all others, shape (n, C, height, width)."""
        h = self.norm(x).flatten(2).transpose(1, 2)
        qkv = F.linear(h, self.qkv.weight[..., 0], self.qkv.bias)
        n, positions, width = qkv.shape
        q, k, v = qkv.view(n, positions, self.num_heads, 3, width // (3 * self.num_heads)).permute(3, 0, 2, 1, 4)
        h = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        h = F.linear(h, self.proj_out.weight[..., 0], self.proj_out.bias)
        return x + h.transpose(1, 2).reshape(x.shape)


class PointwiseConv(nn.Conv2d):
    """A 1x1 convolution; on a CPU as one matrix product an image, without the general convolution's changes of layout.

    Forward and backward on one core with AVX-512, 128 images: 64 ms instead of 172 for 96 -> 32 channels at 28x28, 20
    instead of 30 for 128 -> 64 at 14x14; the same at 512 -> 256 and 16x16, where the arithmetic rules.

    Args:
        channels: input channels.
        out_channels: output channels.
    """

    def __init__(self, channels: int, out_channels: int):
        super().__init__(channels, out_channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return W x + b at every position, shape (n, out_channels, height, width)."""
        if x.device.type != "cpu" or not x.is_contiguous() or self.bias is None:
            return super().forward(x)
        weight = self.weight.flatten(1).expand(len(x), -1, -1)
        return torch.baddbmm(self.bias[:, None], weight, x.flatten(2)).unflatten(2, x.shape[2:])


class Downsample(nn.Module):
    """Halve height and width (rounded up) by a 3x3 convolution of stride 2.

    Args:
        channels: input and output channels.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return shape (n, C, ceil(height/2), ceil(width/2))."""
        return cast(torch.Tensor, self.op(x))


class Upsample(nn.Module):
    """Double height and width by repeating pixels, crop to `size`, then a 3x3 convolution.

    The crop undoes the rounding of `Downsample` at an odd size (7 -> 4 -> 8 -> 7): pixel i of the coarse grid sits at
    2i in both directions, so the last row and column are the ones to drop.

    Args:
        channels: input and output channels.
        size: height and width of the output.
    """

    def __init__(self, channels: int, size: int):
        super().__init__()
        self.size = size
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return shape (n, C, size, size) for x of shape (n, C, ceil(size/2), ceil(size/2))."""
        h = F.interpolate(x, scale_factor=2.0, mode="nearest")
        return cast(torch.Tensor, self.conv(h[..., : self.size, : self.size]))


class TimestepEmbedSequential(nn.Sequential):
    """Layers run in order, each given what it takes: features, and time and code where it is a `ResBlock`."""

    def forward(  # type: ignore[override]
        self, x: torch.Tensor, emb: torch.Tensor | None, code_emb: torch.Tensor | None
    ) -> torch.Tensor:
        """Return the last layer's output for features x (n, C, height, width); see `ResBlock` for the others."""
        for layer in self:
            x = layer(x, emb, code_emb) if isinstance(layer, ResBlock) else layer(x)
        return x
