"""Training batches of denoisers side by side: z = sqrt(s(a)) x + sqrt(s(-a)) eps at drawn log-SNRs a, s the sigmoid."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from common.epochs import BlockedEpochs
from common.schedules import expand, logsnr_to_alpha_sigma
from common.seeds import generator
from common.staging import staged

BLOCK_POINTS = 50_000
"""Points noised at a time: a few large tensor operations instead of many small ones."""
GOLDEN = (math.sqrt(5) - 1) / 2


class LogsnrLaw(Protocol):
    """Where log-SNRs are drawn: `common.immse.LogsnrRange` is one."""

    def sample(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Map uniforms u to log-SNRs and their weights 1/density."""


@dataclass(frozen=True)
class ChannelBatch:
    """z and eps (k, b, d), logsnr and weight (k, b)."""

    z: Tensor
    logsnr: Tensor
    eps: Tensor
    weight: Tensor


class ChannelEpochs(BlockedEpochs[ChannelBatch]):
    """The training batches of k data sets of n points, one per network.

    Each epoch visits the points once in an order of its own, in batches of `batch`; a remainder that does not fill a
    batch is left out, as in the public code (it is another one in every epoch). What a point gets in an epoch is a
    function of its network's seed, the epoch, the point and its place in the order alone: not of the batch size, of the
    other networks, or of where a run was resumed.

    Args:
        data: x, (k, n, d).
        law: law of the log-SNR.
        seeds: one seed per network (k,); networks of one seed share the noise.
        batch: points of one optimiser step; at most n.
        stratified: the uniforms behind the log-SNRs of neighbours in the order are frac(u + place (sqrt 5 - 1)/2), each
            of them uniform and any run of them evenly spread; otherwise they are independent, as published.
    """

    def __init__(self, data: Tensor, law: LogsnrLaw, seeds: Sequence[int], batch: int, *, stratified: bool = True):
        self.data, self.law, self.stratified = data, law, stratified
        self.n, self.d = data.shape[1:]
        self.seeds = sorted(set(seeds))
        self.row_of = [self.seeds.index(seed) for seed in seeds]
        size = min(batch, self.n)
        super().__init__(size, self.n // size, max(1, min(64, BLOCK_POINTS // (self.n * len(self.seeds)))))

    def noise_block(self, block: int) -> ChannelBatch:
        """See `BlockedEpochs`."""
        epochs = range(block * self.epochs_per_block, (block + 1) * self.epochs_per_block)
        drawn = [[self._draw(seed, epoch) for seed in self.seeds] for epoch in epochs]
        u, eps, order = (
            torch.stack([torch.stack([one[part] for one in row]) for row in drawn])[:, self.row_of] for part in range(3)
        )
        single = [values.to(self.data.dtype) for values in (*self.law.sample(u), eps)]
        logsnr, weight, eps, order = staged(self.data.device, *single, order)
        alpha, sigma = logsnr_to_alpha_sigma(logsnr)
        index = order[..., None].expand(-1, -1, -1, self.d)
        x = torch.gather(self.data.expand(len(epochs), *self.data.shape), 2, index)
        return ChannelBatch(expand(alpha, x) * x + expand(sigma, x) * eps, logsnr, eps, weight)

    def _draw(self, seed: int, epoch: int) -> tuple[Tensor, Tensor, Tensor]:
        source = generator(seed, "channel", epoch)
        order = torch.randperm(self.n, generator=source)
        eps = torch.randn(self.n, self.d, generator=source)
        if self.stratified:
            place = torch.arange(self.n, dtype=torch.float64)
            u = torch.frac(torch.rand(1, generator=source, dtype=torch.float64) + GOLDEN * place)
        else:
            u = torch.rand(self.n, generator=source, dtype=torch.float64)
        return u, eps, order
