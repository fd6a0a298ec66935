"""Settings of the table of mutual information."""

import dataclasses
from dataclasses import dataclass

from common.config import RunConfig
from common.errors import UserError, choose
from common.mi import Settings
from itdiffusion.mi_laws import LAWS

DIGITS = ("digits-image-label", "digits-left-right")
COVERED = ("gaussian-dense-2+2", "cube+cdf-sparse-3+3", "additive-0.75", "student-2+2")
"""Laws of the coverage study."""


@dataclass(frozen=True)
class MiConfig(RunConfig):
    """One estimate on one draw of one law, or on the digits."""

    case: str = "gaussian-1+1"
    """Law with a known answer (itdiffusion/mi_laws.py), digits-image-label or digits-left-right."""
    n: int = 10_000
    """Pairs (of the digits: all 1,797)."""
    seed: int = 0
    """Seed of data, halves, initial weights and noise."""
    form: str = "difference"
    """difference of the two errors, or orthogonal (squared distance of the denoisers, less its floor)."""
    steps: int = 2000
    """Optimiser steps of the denoiser; 0: what fits into --minutes."""
    minutes: float = 0.0
    """Wall time aimed at, where --steps is 0."""
    width: int = 96
    """Width of the denoiser's three hidden layers."""
    batch: int = 512
    """Pairs of one optimiser step."""
    lr: float = 8e-3
    """Largest learning rate of AdamW."""
    points: int = 48
    """Log-SNRs at which each pair is evaluated."""

    def settings(self) -> Settings:
        """What the estimator takes."""
        own = {item.name for item in dataclasses.fields(self)}
        names = own & {item.name for item in dataclasses.fields(Settings)}
        return Settings(**{name: getattr(self, name) for name in names})

    def check(self) -> None:
        """Refuse settings that cannot run, before anything is written."""
        choose("case", self.case, [*LAWS, *DIGITS])
        self.settings().check()
        if self.n < 40:
            raise UserError(f"--n must be at least 40, not {self.n}")


def _cases(base: MiConfig, names: tuple[str, ...]) -> list[MiConfig]:
    return [dataclasses.replace(base, case=name) for name in names]


def _coverage(seeds: int) -> list[MiConfig]:
    base = MiConfig(n=2000, steps=0, minutes=0.5)
    # Seeds from 100 on: the rule of the standard error was settled while looking at the first ones.
    return [dataclasses.replace(base, case=name, seed=100 + seed) for name in COVERED for seed in range(seeds)]


_QUICK = MiConfig(n=4000, steps=400)
_FORM = MiConfig(form="orthogonal")
_SMOKE = MiConfig(n=500, steps=10, width=16, batch=64, points=4)

SWEEPS: dict[str, list[MiConfig]] = {
    "paper": [
        *_cases(MiConfig(), (*LAWS, *DIGITS)),
        *_cases(_FORM, ("gaussian-dense-5+5", "student-3+3", "additive-0.1", "independent-5+5")),
        *_coverage(20),
    ],
    "quick": _cases(
        _QUICK, ("gaussian-dense-5+5", "cube+cdf-sparse-3+3", "additive-0.1", "student-2+2", "independent-5+5", *DIGITS)
    ),
    "smoke": _cases(_SMOKE, ("gaussian-1+1", "student-2+2", "label-2")),
}
