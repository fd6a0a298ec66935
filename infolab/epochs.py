"""Noised training batches of networks trained side by side: times, log-SNRs and noise as functions of (seed, epoch,
example).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor

from infolab.device import staged
from infolab.noise import generator
from infolab.schedules import Schedule, append_dims, logsnr_to_alpha_sigma

# ----------
# Noised training batches for networks trained side by side: noise is a function of (seed, epoch, sample index).

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
        x_t = append_dims(level.alpha, x0) * x0 + append_dims(level.sigma, x0) * eps
        return NoisedBatch(x_t, t, eps, level.sigma / level.g2.sqrt())

    def _draw(self, seed: int, block: int) -> tuple[Tensor, Tensor, Tensor]:
        source = generator(seed, "epochs", block)
        shape = (self.epochs_per_block, self.m)
        u = torch.rand(shape, generator=source)
        eps = torch.randn(*shape, self.d, generator=source)
        keys = torch.rand(shape, generator=source) if self.steps_per_epoch > 1 else torch.zeros(shape[0], 1)
        return u, eps, keys.argsort(dim=1)


# ----------
# Training batches of denoisers side by side: z = sqrt(s(a)) x + sqrt(s(-a)) eps at drawn log-SNRs a, s the sigmoid.

CHANNEL_BLOCK_POINTS = 50_000
"""Points noised at a time: a few large tensor operations instead of many small ones."""
GOLDEN = (math.sqrt(5) - 1) / 2


class LogsnrLaw(Protocol):
    """Where log-SNRs are drawn: `infolab.immse.LogsnrRange` is one."""

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
        law: distribution of the log-SNR.
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
        super().__init__(size, self.n // size, max(1, min(64, CHANNEL_BLOCK_POINTS // (self.n * len(self.seeds)))))

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
        return ChannelBatch(append_dims(alpha, x) * x + append_dims(sigma, x) * eps, logsnr, eps, weight)

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


# ----------
# Distributions that times of the diffusion are drawn from: uniform, or uniform in log-SNR.


@dataclass(frozen=True)
class UniformTime:
    """Times uniform on (0, T); T a float or a tensor that broadcasts with u."""

    T: float | Tensor = 1.0

    def sample(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Map uniforms u in (0, 1) to t = T u and its density 1/T, both in the broadcast shape."""
        T = torch.as_tensor(self.T, dtype=u.dtype, device=u.device)
        t = T * u
        return t, (1 / T).expand_as(t)


@dataclass(frozen=True)
class DebiasedTime:
    """Times on (0, T) with density proportional to g^2/sigma^2, flat below t_eps (Huang, Lim, Courville 2021, app. C).

    g^2/sigma^2 = -dlogsnr/dt, so above t_eps the log-SNR is uniform and the inverse CDF is closed form. The density is
    continuous at t_eps. With the weight 1/(T p(t)) a mean over these t is a mean over t ~ U(0, T).

    Attributes:
        schedule: VP or VE.
        T: end of time, a float or a tensor that broadcasts with u.
        t_eps: end of the flat part (all is flat where T <= t_eps).
    """

    schedule: Schedule
    T: float | Tensor = 1.0
    t_eps: float = 1e-3

    def sample(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Map uniforms u in (0, 1) to times t and their density p(t), both in the broadcast shape."""
        T = torch.as_tensor(self.T, dtype=u.dtype, device=u.device)
        u = u.clamp(min=2.0**-25)  # generators may return 0, where sigma = 0 and the log-SNR is infinite
        t_eps = T.clamp(max=self.t_eps)
        start = self.schedule.at(t_eps)
        flat = -start.dlogsnr_dt * t_eps
        total = flat + start.logsnr - self.schedule.t_to_logsnr(T)
        mass = u * total
        above = self.schedule.logsnr_to_t(start.logsnr - (mass - flat).clamp(min=0))
        t = torch.where(mass < flat, mass / flat * t_eps, above)
        t = torch.minimum(t, T)  # rounding may lead one ulp past the end
        density = -self.schedule.at(torch.maximum(t, t_eps)).dlogsnr_dt / total
        return t, density
