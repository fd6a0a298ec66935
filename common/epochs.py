"""Noised training batches for networks trained side by side: noise is a function of (seed, epoch, sample index)."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from common.schedules import Schedule, expand
from common.seeds import generator
from common.staging import staged

BLOCK_POINTS = 20_000
"""Points noised at a time. A whole block of epochs costs few large tensor operations instead of many small ones."""


@dataclass(frozen=True)
class NoisedBatch:
    """x_t = alpha x0 + sigma eps at times t: x_t and eps (k, b, d), t and weight sigma/g (k, b)."""

    x_t: Tensor
    t: Tensor
    eps: Tensor
    sigma_over_g: Tensor


Batch = TypeVar("Batch")


class BlockedEpochs(Generic[Batch]):
    """Batches cut from blocks of epochs that are noised together, kept one block at a time.

    A batch is a dataclass of tensors; in a block they are (epochs_per_block, k, n, ...), in a batch (k, b, ...).

    Args:
        batch: points of one optimiser step.
        steps_per_epoch: batches of one epoch.
        epochs_per_block: epochs noised together.
    """

    def __init__(self, batch: int, steps_per_epoch: int, epochs_per_block: int):
        self.batch, self.steps_per_epoch, self.epochs_per_block = batch, steps_per_epoch, epochs_per_block
        self._kept: tuple[int, Batch] | None = None

    def __call__(self, step: int) -> Batch:
        """The batch of optimiser step `step`."""
        epoch, part = divmod(step, self.steps_per_epoch)
        block, within = divmod(epoch, self.epochs_per_block)
        if self._kept is None or self._kept[0] != block:
            self._kept = (block, self.noise_block(block))
        rows = slice(part * self.batch, (part + 1) * self.batch)
        whole: Any = self._kept[1]
        return type(whole)(*[getattr(whole, field.name)[within, :, rows] for field in fields(whole)])

    def noise_block(self, block: int) -> Batch:
        """All points of block number `block`."""
        raise NotImplementedError


class NoisedEpochs(BlockedEpochs[NoisedBatch]):
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
        size = min(batch, self.m)
        super().__init__(size, -(-self.m // size), max(1, min(512, BLOCK_POINTS // self.m)))

    def noise_block(self, block: int) -> NoisedBatch:
        """See `BlockedEpochs`."""
        drawn = [self._draw(seed, block) for seed in self.seeds]
        stacked = [torch.stack(parts, dim=1) for parts in zip(*drawn, strict=True)]
        u, eps, order = staged(self.data.device, *stacked)
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
