"""Settings that every 1-D study shares: the two-mode mixture, the network and how it is trained."""

import math
from dataclasses import dataclass

from common.config import RunConfig
from common.errors import UserError, choose
from common.schedules import VP
from scoregen.network import INITS, KINDS, SCALINGS


@dataclass(frozen=True)
class ScoreConfig(RunConfig):
    """Networks of one width that are trained as one batch."""

    n: int = 1000
    """Training points per network."""
    width: int = 1024
    """m, hidden units (the paper gives none for its KL curves; 2^10 is the width at which its capacity figure ends)."""
    network: str = "swish"
    """swish (all weights trained), or features (random ReLU features of which the output weights are trained)."""
    scaling: str = "sqrt"
    """Factor on the output: sqrt, 1/sqrt(m), or standard, 1 (SGD at 0.5 then diverges). Features always take 1/m."""
    init: str = "normal"
    """Law of the initial weights: normal, N(0, 1), or uniform, as torch draws them (SGD at 0.5 needs these smaller
    ones). Features have their own."""
    optimizer: str = "adam"
    """adam or sgd."""
    lr: float = 1e-3
    """Learning rate (published: SGD 0.5, Adam 1e-3)."""
    batch: int = 0
    """Points of one optimiser step; 0: all n."""
    epochs: int = 2000
    """Passes over the training set."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of data, initial weights and noise, one network each (per mu)."""
    q1: float = 0.5
    """Weight of the left mode."""
    beta_min: float = 0.1
    """beta(0) of the VP SDE (the paper's 1-D schedule is not given)."""
    beta_max: float = 20.0
    """beta(1) of the VP SDE; the diffusion time is 1."""

    def check(self) -> None:
        """Refuse settings that cannot run, before anything is written."""
        choose("network", self.network, KINDS)
        choose("scaling", self.scaling, SCALINGS)
        choose("init", self.init, INITS)
        choose("optimizer", self.optimizer, ("adam", "sgd"))
        least = {"n": 2, "width": 1, "epochs": 1, "batch": 0}
        for name, low in least.items():
            if getattr(self, name) < low:
                raise UserError(f"--{name} must be at least {low}, not {getattr(self, name)}")
        if not 0 < self.lr < math.inf:
            raise UserError(f"--lr must be positive and finite, not {self.lr}")
        if not 0 < self.q1 < 1:
            raise UserError(f"--q1 must lie between 0 and 1, not {self.q1}")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise UserError("--seeds needs at least one value, and none twice")
        VP(self.beta_min, self.beta_max)  # refuses a beta that is negative or falls

    @property
    def points_per_step(self) -> int:
        """Points of one optimiser step."""
        return min(self.batch or self.n, self.n)

    def columns(self, mu: float, seed: int) -> dict[str, object]:
        """The settings columns of every 1-D table."""
        return {
            "dataset": "two_modes",
            "seed": seed,
            "mu": mu,
            "n": self.n,
            "width": self.width,
            "network": self.network,
            "scaling": "mean" if self.network == "features" else self.scaling,
            "init": "features" if self.network == "features" else self.init,
            "optimizer": self.optimizer,
            "lr": self.lr,
            "batch": self.points_per_step,
        }
