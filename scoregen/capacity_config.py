"""Settings of the capacity study: how soon a network of a given width learns the mixture."""

import dataclasses
from dataclasses import dataclass

from common.errors import UserError
from scoregen.settings import ScoreConfig

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
