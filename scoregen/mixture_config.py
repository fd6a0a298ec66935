"""Settings of the 1-D mixture study: KL dynamics, batch sizes, scalings, densities, and the distance of the modes."""

import dataclasses
from dataclasses import dataclass

from common.errors import UserError, choose
from scoregen.settings import ScoreConfig

SWEEPS_OF_ROWS = ("dynamics", "distance", "samples_m=n", "samples_fixed_m")


@dataclass(frozen=True)
class MixtureConfig(ScoreConfig):
    """One batch of networks: every mu with every seed."""

    sweep: str = "dynamics"
    """What the rows are for: dynamics (KL over epochs), distance (of the modes), samples_m=n or samples_fixed_m."""
    mu: tuple[float, ...] = (3.0,)
    """Modes at -mu and mu, one network each (per seed)."""
    evaluate_every: int = 50
    """Epochs between exact KLs."""
    density_epochs: tuple[int, ...] = ()
    """Epochs at which the learned density is kept."""

    def check(self) -> None:
        """Refuse settings that cannot run, before anything is written."""
        super().check()
        choose("sweep", self.sweep, SWEEPS_OF_ROWS)
        if not self.mu or len(set(self.mu)) < len(self.mu) or not all(0 <= mu <= 100 for mu in self.mu):
            raise UserError("--mu needs at least one value between 0 and 100, and none twice")
        if self.evaluate_every < 1 or self.epochs % self.evaluate_every:
            raise UserError(f"--evaluate-every must divide --epochs ({self.epochs}), not be {self.evaluate_every}")
        if any(epoch % self.evaluate_every or not 0 < epoch <= self.epochs for epoch in self.density_epochs):
            raise UserError("--density-epochs must be multiples of --evaluate-every, up to --epochs")

    @property
    def slots(self) -> int:
        """Snapshots measured together: as many as a few seconds of training."""
        return max(1, min(10, self.epochs // self.evaluate_every))


TEN = tuple(range(10))
EPOCHS = (100, 1000, 1900)
PAPER_MU = tuple(float(mu) for mu in range(1, 16))
# The paper's optimisers. Its width, batch and scaling are not given. At the scaling 1/sqrt(m) SGD at 0.5 learns within
# some hundred epochs at any width; Adam at 1e-3 gets faster with it, and 1,024 units come near the published curve.
_ADAM = MixtureConfig(density_epochs=EPOCHS, seeds=TEN)
_SGD = MixtureConfig(optimizer="sgd", lr=0.5, init="uniform", width=256, batch=500, density_epochs=EPOCHS, seeds=TEN)
_FEATURES = MixtureConfig(network="features", lr=1e-2)
_STANDARD = MixtureConfig(
    optimizer="sgd", lr=0.5, init="uniform", width=256, batch=500, scaling="standard", epochs=20, evaluate_every=1
)
_DISTANCE = MixtureConfig(sweep="distance", width=256, mu=PAPER_MU, evaluate_every=100)


def _few(config: MixtureConfig, **changes: object) -> MixtureConfig:
    return dataclasses.replace(config, seeds=(0, 1, 2), **changes)  # type: ignore[arg-type]


_SMOKE = MixtureConfig(width=8, n=30, mu=(3.0,), seeds=(0, 1), epochs=20, evaluate_every=5, density_epochs=(10,))

SWEEPS: dict[str, list[MixtureConfig]] = {
    "paper": [
        _ADAM,
        _SGD,
        dataclasses.replace(_SGD, batch=100, density_epochs=()),
        dataclasses.replace(_SGD, batch=0, density_epochs=()),
        _few(_ADAM, mu=(15.0,)),
        _FEATURES,
        _STANDARD,
        _DISTANCE,
    ],
    "quick": [
        _few(_ADAM, width=512),
        _few(_SGD, width=128),
        _few(_ADAM, width=256, mu=(15.0,), evaluate_every=100),
        _STANDARD,
        _few(_DISTANCE, width=128, mu=(1.0, 3.0, 6.0, 10.0, 15.0)),
    ],
    "smoke": [_SMOKE, dataclasses.replace(_SMOKE, sweep="distance", mu=(1.0, 2.0), density_epochs=())],
}
