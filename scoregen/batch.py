"""A batch of 1-D score networks in training: data, loss, snapshots of the weights, and their exact densities."""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from infolab.device import has_float64
from infolab.epochs import BlockedEpochs, NoisedEpochs
from infolab.kl import GridDensity, flow_steps, grid_density, mode_grid, of_slopes
from infolab.noise import generator
from infolab.schedules import VP
from infolab.storage import Keep, Pieces, under, unkept
from infolab.toy import two_modes
from scoregen.network import ScoreConfig, ScoreNetworks, stack_inputs

LARGEST_KL = 1e4
"""Nats; a KL above it is reported as a divergence."""
NETWORKS_OF_A_PIECE = 10
"""Networks whose densities are kept together, at least: seconds."""


class Snapshots(nn.Module):
    """Networks with room for their weights at a few earlier epochs, which a checkpoint keeps and one batch evaluates.

    Args:
        networks: k networks in training.
        slots: epochs that are remembered.
    """

    def __init__(self, networks: ScoreNetworks, slots: int):
        super().__init__()
        self.networks, self.slots = networks, slots
        for name, item in networks.named_parameters():
            self.register_buffer(f"past_{name}", item.detach().new_zeros(slots, *item.shape))

    @torch.no_grad()
    def keep(self, slot: int) -> None:
        """Copy the present weights into `slot`."""
        for name, item in self.networks.named_parameters():
            getattr(self, f"past_{name}")[slot].copy_(item)

    def past(self, slots: Sequence[int], members: Sequence[int]) -> ScoreNetworks:
        """The networks `members` as they were at `slots`, slot by slot, as one batch."""
        every = ScoreNetworks(self.networks.width, [0] * (len(slots) * len(members)), self.networks.kind)
        every.scale = self.networks.scale
        every.to(self.networks.out)
        tensors = {**dict(self.networks.named_parameters()), **dict(self.networks.named_buffers())}
        with torch.no_grad():
            for name, item in {**dict(every.named_parameters()), **dict(every.named_buffers())}.items():
                stored = getattr(self, f"past_{name}", None)  # frozen features have no past
                parts = [(tensors[name] if stored is None else stored[slot])[list(members)] for slot in slots]
                item.copy_(torch.cat(parts))
        return every


@dataclass(frozen=True)
class StackedBatch:
    """What `ScoreNetworks.loss` takes: inputs (x_t, t, 1) (k, b, 3), sigma and eps (k, b, 1)."""

    inputs: Tensor
    sigma: Tensor
    eps: Tensor


class StackedEpochs(BlockedEpochs[StackedBatch]):
    """The training batches of `NoisedEpochs`, stacked once for a whole block of epochs."""

    def __init__(self, noised: NoisedEpochs):
        super().__init__(noised.batch, noised.steps_per_epoch, noised.epochs_per_block)
        self.noised = noised

    def noise_block(self, block: int) -> StackedBatch:
        """See `BlockedEpochs`."""
        whole = self.noised.noise_block(block)
        sigma = self.noised.schedule.at(whole.t).sigma
        return StackedBatch(stack_inputs(whole.x_t[..., 0], whole.t), sigma[..., None], whole.eps)


class NetworkBatch:
    """k networks (mu, seed) of one width, and what is needed to train and measure them.

    Args:
        config: the run's settings.
        members: (mu, seed) of each network.
        every: epochs between snapshots.
        slots: snapshots that are measured together.
        device: where the networks are.
    """

    def __init__(
        self,
        config: ScoreConfig,
        members: Sequence[tuple[float, int]],
        every: int,
        slots: int,
        device: torch.device | str = "cpu",
    ):
        self.config, self.members, self.every, self.slots = config, list(members), every, slots
        self.schedule = VP(config.beta_min, config.beta_max)
        seeds = [seed for _, seed in self.members]
        self.data = torch.stack([training_points(config, mu, seed) for mu, seed in self.members]).to(device)
        self.model = Snapshots(
            ScoreNetworks(config.width, seeds, config.network, config.scaling, config.init), slots
        ).to(device)
        ones = torch.ones(len(seeds), device=device)
        noised = NoisedEpochs(self.data, self.schedule, ones, seeds, config.points_per_step)
        self.batches = StackedEpochs(noised)
        self.per_epoch = self.batches.steps_per_epoch

    def optimizer(self) -> torch.optim.Optimizer:
        """Adam or SGD over the weights that are trained."""
        weights = list(self.model.networks.parameters())
        if self.config.optimizer == "sgd":
            return torch.optim.SGD(weights, lr=self.config.lr)
        return torch.optim.Adam(weights, lr=self.config.lr, fused=True)

    def objective(self, step: int, active: Callable[[], list[int]] | None = None) -> Tensor:
        """E_t E |sigma_t s(x_t, t) + eps|^2 of each network (k,), t ~ U(0, 1): score matching, lambda(t) = sigma_t^2.

        Args:
            step: number of optimiser steps done.
            active: the networks that are still trained; None: all.
        """
        epoch, part = divmod(step, self.per_epoch)
        if part == 0 and epoch and epoch % self.every == 0:
            self.model.keep(self._slot(epoch))
        batch = self.batches(step)
        return self.model.networks.loss(batch.inputs, batch.sigma, batch.eps, active() if active else None)

    def evaluate_after(self) -> list[int]:
        """The optimiser steps after which the filled slots are measured."""
        whole = range(self.every * self.slots, self.config.epochs + 1, self.every * self.slots)
        return [epoch * self.per_epoch for epoch in sorted({*whole, self.config.epochs})]

    def measure(
        self, step: int, active: Sequence[int] | None = None, folder: Path | None = None
    ) -> list[tuple[int, int, GridDensity, int, Tensor]]:
        """Densities of all snapshots since the last call, by distance of the modes.

        Args:
            step: optimiser steps done.
            active: the networks that are measured; None: all.
            folder: the run's, where the densities are kept piece by piece; None: they are not kept.

        Returns:
            (epoch, member, densities of its group, row in them, true log density on the grid) by epoch and member.
        """
        now = step // self.per_epoch
        members = list(range(len(self.members))) if active is None else list(active)
        if now % self.every == 0:
            self.model.keep(self._slot(now))
        first = (now - 1) // (self.every * self.slots) * self.every * self.slots
        epochs = [first + self.every * (i + 1) for i in range(self.slots) if first + self.every * (i + 1) <= now]
        keep = Pieces(folder, self.model) if folder else unkept  # of the snapshots too, the last one among them
        found = []
        for mu in dict.fromkeys(self.members[i][0] for i in members):
            group = [i for i in members if self.members[i][0] == mu]
            networks = self.model.past([self._slot(epoch) for epoch in epochs], group)
            density, log_p0 = self.density(networks, mu, under(keep, f"mu{mu:g}"))
            places = [(epoch, member) for epoch in epochs for member in group]
            found += [(epoch, member, density, row, log_p0) for row, (epoch, member) in enumerate(places)]
        return sorted(found, key=lambda item: (item[0], item[1]))

    def density(self, networks: ScoreNetworks, mu: float, keep: Keep = unkept) -> tuple[GridDensity, Tensor]:
        """The densities of `networks` on the grid for modes at +-mu, and the true log density there.

        `keep` keeps those of a few networks at a time.
        """
        x = mode_grid(mu)

        def measure(rows: list[int]) -> dict[str, Tensor]:
            chosen = networks.select(rows)
            weights = chosen.out
            state_on = weights.device if has_float64(weights.device) else torch.device("cpu")

            def score(state: Tensor, t: float) -> tuple[Tensor, Tensor]:
                s, slope = chosen.value_and_slope(state.to(weights.device), t)
                return s.to(state_on), slope.to(state_on)

            found = grid_density(
                of_slopes(score, self.schedule),
                self.schedule,
                x.to(state_on),
                len(rows),
                steps=flow_steps(mu),
                dtype=weights.dtype,
            )
            return {"log_p": found.log_p, "x_T": found.x_T}

        size = networks.networks_of_a_call(len(x))
        size *= -(-NETWORKS_OF_A_PIECE // size)  # whole calls, so that the split changes no bit
        parts = [
            keep(f"density-{int(rows[0]):04d}", functools.partial(measure, rows.tolist()))
            for rows in torch.arange(len(networks)).split(size)
        ]
        log_p, x_T = (torch.cat([part[name] for part in parts]) for name in ("log_p", "x_T"))
        return GridDensity(x, log_p, x_T), two_modes(mu, self.config.q1).log_prob(x[:, None])

    def _slot(self, epoch: int) -> int:
        return (epoch // self.every - 1) % self.slots


def training_points(config: ScoreConfig, mu: float, seed: int) -> Tensor:
    """Training points (n, 1), a function of (mu, seed, n)."""
    return two_modes(mu, config.q1).sample(config.n, generator(seed, "train", config.n))


def kl_columns(density: GridDensity, row: int, log_p0: Tensor, points: Tensor) -> dict[str, Any]:
    """The measured columns of `scoregen/kl` of one network; empty ones where it has diverged."""
    kl = float(density.kl(log_p0)[row])
    good = math.isfinite(kl) and kl < LARGEST_KL
    values = {
        "kl_nats": kl,
        "normalisation": float(density.normalisation()[row]),
        "mass_grid": float(density.mass()[row]),
        "mass_right": float(density.mass_right()[row]),
    }
    return {
        **{name: item if good and math.isfinite(item) else None for name, item in values.items()},
        "data_right": float((points > 0).double().mean()),
        "diverged": not good,
    }
