"""A U-Net for samplers: no gradients, the embeddings of all visited steps and of the codes computed once."""

import copy
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from infolab.nn.blocks import GroupNorm, ResBlock, TimestepEmbedSequential, modulated_norm
from infolab.nn.unet import UNet

Modulation = tuple[Tensor, Tensor, Tensor | None]
"""Factor and shift (n, C) after a block's second norm; bias (1, C) before it, or None."""


class PreparedUNet:
    """eps_hat(x_t, step) of a U-Net in evaluation mode whose code is fixed; the numbers of `UNet.forward`, to rounding.

    Time and code enter a block only as factors and shifts of its normalised features, so those of all blocks are
    tables: one row per visited step, one per code. What remains per step is the convolutions, each norm in one pass
    with its factors (a group norm of one image with n C channels), and SiLU in place.

    Args:
        network: the U-Net; its weights are read when they are used.
        code: codes (n, code_dim) of the samples, for a network with a code.
        steps: steps that will be visited; the tables of others are made when they come.
        dtype: of features and convolutions; None: the network's own. In bfloat16 the outputs of the published size
            are off by 1 to 2% of the largest, and a CPU with matrix instructions for it takes half the time. Tables
            and norms keep the network's precision.
    """

    def __init__(
        self,
        network: UNet,
        code: Tensor | None = None,
        steps: Sequence[int] = (),
        dtype: torch.dtype | None = None,
    ):
        if network.training:
            raise ValueError("samplers take a network in evaluation mode: call eval() first")
        self.network = network
        self.blocks = [layer for layer in network.modules() if isinstance(layer, ResBlock)]
        self.widths = [_norm(block).num_channels for block in self.blocks]
        with torch.inference_mode():
            self.code_factors = self._of_code(code)
            self.of_step: dict[int, tuple[Tensor, Tensor, Tensor]] = {}
            if steps:
                self._prepare(list(steps))
        self.dtype = dtype
        self.layers = network if dtype is None else copy.deepcopy(network).to(dtype)

    @torch.inference_mode()
    def __call__(self, x: Tensor, step: Tensor) -> Tensor:
        """eps_hat (n, c, h, w) at x (n, c, h, w) and steps (n,), all the same."""
        number = int(step[0])
        if number not in self.of_step:
            self._prepare([number])
        modulations = iter(self._modulations(number, len(x)))
        network = self.layers
        h, skips = x.to(self.dtype or x.dtype), []
        for stage in network.input_blocks:
            h = self._stage(stage, h, modulations)
            skips.append(h)
        h = self._stage(network.middle_block, h, modulations)
        for stage in network.output_blocks:
            h = self._stage(stage, torch.cat([h, skips.pop()], dim=1), modulations)
        out: Tensor = network.out(h)
        return out.to(x.dtype)

    def _prepare(self, steps: list[int]) -> None:
        """Factor, shift and bias of every block for each of `steps`, all blocks side by side: (1, sum of widths)."""
        device = next(self.network.parameters()).device
        emb = self.network.embed_time(torch.tensor(steps, dtype=torch.float32, device=device))
        factors, shifts, biases = [], [], []
        for block in self.blocks:
            norm = _norm(block)
            assert block.emb_layers is not None
            time = block.emb_layers(emb)
            if block.use_scale_shift_norm:
                scale, shift = time.chunk(2, dim=1)
                factors.append(norm.weight * (1 + scale))
                shifts.append(norm.bias * (1 + scale) + shift)
                biases.append(torch.zeros_like(shift))
            else:
                factors.append(norm.weight.expand(len(steps), -1))
                shifts.append(norm.bias.expand(len(steps), -1))
                biases.append(time)
        tables = [torch.cat(parts, dim=1) for parts in (factors, shifts, biases)]
        for place, step in enumerate(steps):
            self.of_step[step] = tuple(table[place : place + 1] for table in tables)  # type: ignore[assignment]

    def _of_code(self, code: Tensor | None) -> tuple[Tensor, Tensor] | None:
        """1 + scale and shift (n, sum of widths) that the codes give to every block; 1 and 0 where none is seen."""
        if self.network.code_embed is None or code is None:
            return None
        emb = self.network.code_embed(code)
        scales, shifts = [], []
        for block, width in zip(self.blocks, self.widths, strict=True):
            if block.code_layers is None:
                scale, shift = emb.new_zeros(len(code), width), emb.new_zeros(len(code), width)
            else:
                scale, shift = block.code_layers(emb).chunk(2, dim=1)
            scales.append(1 + scale)
            shifts.append(shift)
        return torch.cat(scales, dim=1), torch.cat(shifts, dim=1)

    def _modulations(self, step: int, n: int) -> list[Modulation]:
        """Factor, shift (n, C) and bias (1, C) of each block; the bias is None where time enters after the norm."""
        factor, shift, bias = self.of_step[step]
        if self.code_factors is not None:
            scale_a, shift_a = self.code_factors
            factor, shift = factor * scale_a, torch.addcmul(shift_a, shift, scale_a)
        parts = [part.expand(n, -1).split(self.widths, dim=1) for part in (factor, shift)]
        biases = bias.split(self.widths, dim=1)
        return [
            (f, s, None if block.use_scale_shift_norm else b)
            for block, f, s, b in zip(self.blocks, *parts, biases, strict=True)
        ]

    def _stage(self, stage: nn.Module, h: Tensor, modulations: Iterator[Modulation]) -> Tensor:
        assert isinstance(stage, TimestepEmbedSequential)
        for layer in stage:
            h = _block(layer, h, *next(modulations)) if isinstance(layer, ResBlock) else layer(h)
        return h


def _norm(block: ResBlock) -> GroupNorm:
    norm = block.out_layers[0]
    assert isinstance(norm, GroupNorm)
    return norm


def _block(block: ResBlock, x: Tensor, factor: Tensor, shift: Tensor, bias: Tensor | None) -> Tensor:
    first = block.in_layers
    h = first[2](F.silu(first[0](x), inplace=True))
    if bias is not None:
        h = h + bias.to(h.dtype)[..., None, None]
    h = block.out_layers[3](F.silu(modulated_norm(h, _norm(block), factor, shift), inplace=True))
    if block.last_layers is not None:
        norm, _, _, conv = block.last_layers
        h = conv(F.silu(norm(h), inplace=True))
    return h.add_(block.skip_connection(x))
