"""Noised training batches for networks trained side by side: noise is a function of (seed, epoch, sample index)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from common.schedules import Schedule, expand
from common.seeds import generator

BLOCK_POINTS = 20_000
"""Points noised at a time. A whole block of epochs costs few large tensor operations instead of many small ones."""


@dataclass(frozen=True)
class NoisedBatch:
    """x_t = alpha x0 + sigma eps at times t: x_t and eps (k, b, d), t and weight sigma/g (k, b)."""

    x_t: Tensor
    t: Tensor
    eps: Tensor
    sigma_over_g: Tensor


class NoisedEpochs:
    """The training batches of k data sets of m points, one per network.

    Each epoch visits every point once in an order of its own, in batches of at most `batch`, with t ~ U(0, T) and
    eps ~ N(0, I). What point i of network j gets in epoch e depends on (seeds[j], e, i) alone: not on the batch size,
    on the other networks, or on where a run was resumed.

    Args:
        data: x0, (k, m, d).
        schedule: the forward process.
        T: diffusion times (k,).
        seeds: one seed per network (k,).
        batch: largest number of points of one optimiser step.
    """

    def __init__(self, data: Tensor, schedule: Schedule, T: Tensor, seeds: Sequence[int], batch: int):
        self.data, self.schedule, self.seeds = data, schedule, list(seeds)
        self.T = T.to(data)[:, None]
        self.m, self.d = data.shape[1:]
        self.batch = min(batch, self.m)
        self.steps_per_epoch = -(-self.m // self.batch)
        self.epochs_per_block = max(1, min(512, BLOCK_POINTS // self.m))
        self._block = -1
        self._noised = NoisedBatch(*[data.new_empty(0)] * 4)

    def __call__(self, step: int) -> NoisedBatch:
        """The batch of optimiser step `step`."""
        epoch, part = divmod(step, self.steps_per_epoch)
        block, within = divmod(epoch, self.epochs_per_block)
        if block != self._block:
            self._noised = self._noise_block(block)
            self._block = block
        rows = slice(part * self.batch, (part + 1) * self.batch)
        whole = self._noised
        return NoisedBatch(
            whole.x_t[within, :, rows],
            whole.t[within, :, rows],
            whole.eps[within, :, rows],
            whole.sigma_over_g[within, :, rows],
        )

    def _noise_block(self, block: int) -> NoisedBatch:
        drawn = [self._draw(seed, block) for seed in self.seeds]
        u, eps, order = (torch.stack(parts, dim=1).to(self.data.device) for parts in zip(*drawn, strict=True))
        x0 = self.data.expand(self.epochs_per_block, *self.data.shape)
        t = u * self.T
        if self.steps_per_epoch > 1:
            # A full batch needs no shuffling: its gradient does not know the order.
            t, eps = torch.gather(t, 2, order), torch.gather(eps, 2, order[..., None].expand(-1, -1, -1, self.d))
            x0 = torch.gather(x0, 2, order[..., None].expand(-1, -1, -1, self.d))
        level = self.schedule.at(t)
        x_t = expand(level.alpha, x0) * x0 + expand(level.sigma, x0) * eps
        return NoisedBatch(x_t, t, eps, level.sigma / level.g2.sqrt())

    def _draw(self, seed: int, block: int) -> tuple[Tensor, Tensor, Tensor]:
        source = generator(seed, "epochs", block)
        shape = (self.epochs_per_block, self.m)
        u = torch.rand(shape, generator=source)
        eps = torch.randn(*shape, self.d, generator=source)
        keys = torch.rand(shape, generator=source) if self.steps_per_epoch > 1 else torch.zeros(shape[0], 1)
        return u, eps, keys.argsort(dim=1)
