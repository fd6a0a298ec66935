"""Capacity: KL at epoch 1,000 and the first epoch with KL <= 0.1, against the hidden width."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from infolab.device import pick_device
from infolab.errors import UserError, run_main
from infolab.kl import flow_steps, mode_grid
from infolab.results import write
from infolab.runs import Run
from infolab.sweep import Cost, Experiment, run_sweep
from infolab.training import Training, train
from scoregen.batch import NetworkBatch, kl_columns
from scoregen.network import ScoreConfig
from scoregen.tables import ScoreCapacity

# ----------
# Settings of the capacity study: how soon a network of a given width learns the mixture.

EARLY = 1000
"""Epoch of the published KL against width; training goes on at least that long."""


@dataclass(frozen=True)
class CapacityConfig(ScoreConfig):
    """Networks of one width, one for each seed."""

    mu: float = 3.0
    """Modes at -mu and mu."""
    epochs: int = 10_000
    """Epochs after which training is given up."""
    threshold: float = 0.1
    """KL in nats at which training ends, once epoch 1,000 is past."""
    check_every: int = 50
    """Epochs between looks at the KL."""

    def check(self) -> None:
        """Refuse settings that cannot run, before anything is written."""
        super().check()
        if not 0 <= self.mu <= 100:
            raise UserError(f"--mu must lie between 0 and 100, not {self.mu}")
        if not self.threshold > 0:
            raise UserError(f"--threshold must be positive, not {self.threshold}")
        if self.check_every < 1 or self.epochs % self.check_every or EARLY % self.check_every:
            raise UserError(
                f"--check-every must divide --epochs ({self.epochs}) and {EARLY}, not be {self.check_every}"
            )

    @property
    def slots(self) -> int:
        """Snapshots measured together: more for narrow networks, whose flow costs more than their training."""
        return max(1, min(10, 2048 // self.width, self.epochs // self.check_every))

    @property
    def least_epochs(self) -> int:
        """Epochs before which training does not end."""
        return min(EARLY, self.epochs)


def _over_widths(base: CapacityConfig, exponents: range) -> list[CapacityConfig]:
    return [dataclasses.replace(base, width=2**exponent) for exponent in exponents]


SWEEPS: dict[str, list[CapacityConfig]] = {
    "paper": _over_widths(CapacityConfig(), range(1, 12)),
    "quick": _over_widths(CapacityConfig(epochs=2000, check_every=100), range(1, 9)),
    "smoke": _over_widths(CapacityConfig(n=30, seeds=(0, 1), epochs=100, threshold=2.0), range(1, 4)),
}


# ----------
# Capacity: KL at epoch 1,000 and the first epoch with KL <= 0.1, against the hidden width.
#
# `python -m scoregen.capacity [smoke|quick|paper] [--flags]`; `sh scoregen/run_capacity.sh` does the same.


def main() -> None:
    """Run the sweep of the preset."""
    run_main(lambda: run_sweep(EXPERIMENT))


def run_capacity(preset: str, config: CapacityConfig) -> None:
    """One run: config, data, model, loop, results."""
    run = Run("scoregen", "capacity", preset, config)
    with run.open():
        task = CapacityTask(config, pick_device(config.device))
        looks = train(run, task.training)
        rows = task.rows(looks)
        path = write(config.results_dir, ScoreCapacity, run.id, rows, run.provenance())
        below = [row.first_epoch_below for row in rows]
        run.say(f"m = {config.width}: KL <= {config.threshold} at epochs {below}, in {path} after {run.seconds:.0f} s")


class CapacityTask:
    """Networks of one width in training, each until it is done: epoch 1,000 is past and a KL <= threshold was seen.

    A network that is done costs nothing more; the run ends with the last of them.

    Attributes:
        training: for `infolab.training.train`, whose rows are the looks at the KL.
    """

    def __init__(self, config: CapacityConfig, device: torch.device):
        self.config = config
        members = [(config.mu, seed) for seed in config.seeds]
        self.batch = NetworkBatch(config, members, config.check_every, config.slots, device)
        self.training = Training(
            model=self.batch.model,
            optimizer=self.batch.optimizer(),
            objective=self.objective,
            steps=config.epochs * self.batch.per_epoch,
            evaluate=self.look,
            evaluate_after=self.batch.evaluate_after(),
        )
        self._active: list[int] | None = None

    def active(self) -> list[int]:
        """The networks that are still in training; worked out again after every look and after a resume."""
        if self._active is None:
            self._active = self._unfinished(self.training.rows)
        return self._active

    def objective(self, step: int) -> Tensor:
        """Losses (k,), 0 for networks that are done."""
        return self.batch.objective(step, self.active)

    def look(self, step: int) -> list[dict[str, Any]]:
        """KL of the snapshots since the last look, one row each; ends the training when no network is left."""
        found = [
            {"epoch": epoch, "member": member, **kl_columns(density, place, log_p0, self.batch.data[member].cpu())}
            for epoch, member, density, place, log_p0 in self.batch.measure(step, self.active())
        ]
        self._active = self._unfinished([*self.training.rows, *found])
        if not self._active:
            self.training.steps = step
        return found

    def rows(self, looks: Sequence[dict[str, Any]]) -> list[ScoreCapacity]:
        """The rows of `scoregen/capacity`, from all looks."""
        return [self._row(member, self._until_done(looks, member)) for member in range(len(self.batch.members))]

    def epochs_trained(self, looks: Sequence[dict[str, Any]]) -> list[int]:
        """Epochs after which each network was done."""
        return [self._until_done(looks, member)[-1]["epoch"] for member in range(len(self.batch.members))]

    def _unfinished(self, looks: Sequence[dict[str, Any]]) -> list[int]:
        every = range(len(self.batch.members))
        return [member for member in every if not self._is_done(self._until_done(looks, member))]

    def _until_done(self, looks: Sequence[dict[str, Any]], member: int) -> list[dict[str, Any]]:
        # Snapshots are looked at several at a time: those behind the one that ends the training do not count.
        own = [look for look in looks if look["member"] == member]
        for count in range(1, len(own) + 1):
            if self._is_done(own[:count]):
                return own[:count]
        return own

    def _is_done(self, own: Sequence[dict[str, Any]]) -> bool:
        late = bool(own) and own[-1]["epoch"] >= self.config.least_epochs
        return late and any(self._is_small(look) for look in own)

    def _is_small(self, look: dict[str, Any]) -> bool:
        return look["kl_nats"] is not None and look["kl_nats"] <= self.config.threshold

    def _row(self, member: int, own: Sequence[dict[str, Any]]) -> ScoreCapacity:
        finite = [look["kl_nats"] for look in own if look["kl_nats"] is not None]
        return ScoreCapacity(
            **self.config.columns(*self.batch.members[member]),  # type: ignore[arg-type]
            threshold=self.config.threshold,
            every=self.config.check_every,
            max_epochs=self.config.epochs,
            kl_at_1000=next((look["kl_nats"] for look in own if look["epoch"] == EARLY), None),
            first_epoch_below=next((look["epoch"] for look in own if self._is_small(look)), None),
            kl_least=min(finite, default=None),
            epoch=own[-1]["epoch"],
        )


def cost(config: CapacityConfig) -> Cost:
    """Expected cost of one run: wide networks are done after two thousand epochs, narrow ones are given up."""
    k, m = len(config.seeds), config.width
    epochs = min(config.epochs, max(2 * EARLY, 40 * EARLY // m))
    trained = float(k) * epochs * config.n
    evaluated = k * epochs / config.check_every * 4.0 * flow_steps(config.mu) * len(mode_grid(config.mu))
    return Cost(
        4 * k * m, 16.0 * 4 * k * m + 2e6, trained + evaluated, (40.0 * trained + 20.0 * evaluated) * max(m, 16)
    )


EXPERIMENT = Experiment("python -m scoregen.capacity", SWEEPS, ScoreCapacity, CapacityConfig.check, run_capacity, cost)


if __name__ == "__main__":
    main()
