"""Settings of the 2-D study: how the bound and the test KL depend on the diffusion time T and the sample size m."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Annotated

from infolab.config import AtLeast, Distinct, OneOf, Positive, RunConfig
from infolab.errors import UserError
from infolab.schedules import VP
from infolab.toy import TOYS, make

PAPER_T = tuple(round(0.2 * k, 1) for k in range(1, 11))
PAPER_M = (10, 100, 200, 600, 800, 1000, 2000)
SEEDS = (0, 1, 2, 3, 4)


@dataclass(frozen=True)
class ToyConfig(RunConfig):
    """One batch of networks: every T with every seed, trained side by side on m points each."""

    dataset: Annotated[str, OneOf("data set", sorted(TOYS))] = "swiss_roll"
    """2-D set with an exact density (`python -m infolab.data doctor` lists them)."""
    m: Annotated[int, AtLeast(2)] = 200
    """Training points per network."""
    T: tuple[float, ...] = PAPER_T
    """Diffusion times, one network each (per seed)."""
    seeds: Annotated[tuple[int, ...], Distinct()] = SEEDS
    """Seeds of data, initial weights, noise and evaluation."""
    epochs: Annotated[int, AtLeast(1)] = 10_000
    """Passes over the training set."""
    evaluate_every: Annotated[int, AtLeast(0)] = 0
    """Epochs between evaluations; 0: only at the end."""
    batch: Annotated[int, AtLeast(1)] = 256
    """Largest number of points of one optimiser step."""
    lr: Annotated[float, Positive()] = 1e-3
    """Learning rate of Adam."""
    hidden: Annotated[int, AtLeast(1)] = 128
    """Width of the three hidden layers (Swish)."""
    beta_min: float = 0.1
    """beta(0) of the VP SDE."""
    beta_max: float = 20.0
    """beta(1) of the VP SDE; the line goes on beyond t = 1."""
    sde_steps: Annotated[int, AtLeast(1)] = 1000
    """N, sampler steps at T = 1 (and at every T under the rule fixed_number)."""
    R: Annotated[float, Positive()] = 5.0
    """Sub-Gaussian constant of the bound."""
    test_points: Annotated[int, AtLeast(2)] = 1000
    """Points of the test KL, and samples drawn."""
    mi_draws: Annotated[int, AtLeast(2)] = 4
    """Noise draws per training point in T1."""
    t_eps: Annotated[float, Positive()] = 1e-3
    """Lower end in time of the exact score loss (the paper's integral starts at 0, where it diverges)."""
    ode_tolerance: Annotated[float, Positive()] = 1e-5
    """Absolute and relative tolerance of the ODE likelihood."""

    def check(self) -> None:
        """Refuse settings that cannot run, before anything is written."""
        super().check()
        if make(self.dataset).d != 2:
            raise UserError(
                f"data set '{self.dataset}' is not 2-D: the 2-D study takes swiss_roll, moons, scg and the like"
            )
        VP(self.beta_min, self.beta_max)  # refuses a beta that is negative or falls
        if not self.T or not self.seeds or not all(self.t_eps < T < math.inf for T in self.T):
            raise UserError("--T and --seeds need at least one value each, and every T must exceed --t-eps")
        if len(set(self.T)) < len(self.T) or len(set(self.seeds)) < len(self.seeds):
            raise UserError("--T and --seeds must not name a value twice")
        if self.evaluate_every < 0 or (self.evaluate_every and self.epochs % self.evaluate_every):
            raise UserError(f"--evaluate-every must divide --epochs ({self.epochs}), or be 0 for the end only")


def _sweep(times: ToyConfig, sizes: ToyConfig, m_values: tuple[int, ...]) -> list[ToyConfig]:
    return [times, *(dataclasses.replace(sizes, m=m) for m in m_values)]


_QUICK = ToyConfig(seeds=(0, 1, 2), epochs=1500, sde_steps=200, mi_draws=2)
_SMOKE = ToyConfig(m=16, T=(0.4, 1.0), seeds=(0,), epochs=20, sde_steps=10, test_points=50, hidden=16, mi_draws=2)

SWEEPS: dict[str, list[ToyConfig]] = {
    # The published sweep. The public script stops at T = 1.8; the paper's figure goes to 2.0.
    "paper": _sweep(ToyConfig(), ToyConfig(T=(1.0,), evaluate_every=1000), PAPER_M),
    "quick": _sweep(_QUICK, dataclasses.replace(_QUICK, T=(1.0,)), (10, 100, 600, 1000)),
    "smoke": _sweep(_SMOKE, dataclasses.replace(_SMOKE, T=(1.0,)), (8, 24)),
}
