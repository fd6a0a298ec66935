"""Settings of the choice of the diffusion time T by the bound."""

import dataclasses
import math
from dataclasses import dataclass

from common.errors import UserError
from diffusion.penalty import check_weights
from diffusion.toy_config import ToyConfig


@dataclass(frozen=True)
class ChooseTConfig(ToyConfig):
    """T chosen on one shared network per seed, then networks of their own at the chosen T and on a grid.

    The shared networks see t ~ U(0, largest T) and so serve every T up to it.
    """

    evaluate_every: int = 0
    """Epochs between records of T and the bound while T is trained; 0: only at the end."""
    T_start: float = 1.0
    """T by gradient starts here."""
    T_lr: float = 0.03
    """Learning rate of Adam on u in T = (largest T) sigmoid(u); it falls linearly to 0."""
    T_every: int = 5
    """Epochs between steps of T."""
    norm_every: int = 100
    """Epochs between measurements of the score norm L and of its slope in T, on the sampler's path."""
    paths: int = 256
    """Sampler paths of one such measurement, and of each T of the search."""
    T_tolerance: float = 0.005
    """Width of the search's last interval of T."""
    penalty_weights: tuple[float, ...] = (0.0, 0.03)
    """Weights of the score-norm penalty: every T is trained with each of them."""
    strata: int = 16
    """Time strata of the score norm in the penalty."""

    def check(self) -> None:
        """Refuse settings that cannot run, before anything is written."""
        super().check()
        if len(self.T) < 2:
            raise UserError("--T needs two values at least: the grid that the search starts from")
        if not self.t_eps < self.T_start < max(self.T):
            raise UserError(f"--T-start must lie between --t-eps and the largest T ({max(self.T)}), not {self.T_start}")
        for name in ("T_every", "norm_every", "paths", "strata"):
            if getattr(self, name) < 1:
                raise UserError(f"--{name.replace('_', '-')} must be at least 1, not {getattr(self, name)}")
        for name in ("T_lr", "T_tolerance"):
            if not 0 < getattr(self, name) < math.inf:
                raise UserError(f"--{name.replace('_', '-')} must be positive and finite, not {getattr(self, name)}")
        check_weights(self.penalty_weights)


def _by_seed(base: ChooseTConfig) -> list[ChooseTConfig]:
    # A run per seed: every choice is made on one training set, and runs fill the cores.
    return [dataclasses.replace(base, seeds=(seed,)) for seed in base.seeds]


_QUICK = ChooseTConfig(
    T=(0.2, 0.4, 0.6, 0.8, 1.0, 1.4, 2.0), epochs=1500, evaluate_every=150, sde_steps=200, mi_draws=2, test_points=500
)
_SMOKE = ChooseTConfig(
    m=16, T=(0.4, 1.0, 2.0), seeds=(0,), epochs=20, evaluate_every=10, sde_steps=10, test_points=50, hidden=16,
    mi_draws=2, norm_every=10, paths=20, T_tolerance=0.1,
)  # fmt: skip

SWEEPS: dict[str, list[ChooseTConfig]] = {
    "paper": _by_seed(ChooseTConfig(evaluate_every=500)),
    "quick": _by_seed(_QUICK),
    "smoke": _by_seed(_SMOKE),
}
