"""Settings of an estimate of mutual information, and the record that it returns."""

import math
from dataclasses import dataclass, field

from common.errors import UserError, choose
from common.estimate import Estimate

FORMS = ("difference", "orthogonal")


@dataclass(frozen=True)
class Settings:
    """How an estimate is computed.

    Attributes:
        steps: optimiser steps of the denoiser; 0: as many as fit into `minutes`.
        minutes: wall time aimed at where steps is 0. The result then depends on the machine; it says how many steps.
        form: "difference" of errors, or "orthogonal", the squared distance of the two denoisers.
        width: of the denoiser's hidden layers.
        batch: pairs of each step and network.
        lr: largest learning rate of AdamW.
        points: log-SNRs at which each pair is evaluated.
        seed: of halves, weights and noise.
        blocks: 0 for independent pairs; else that many blocks of consecutive rows are nearly independent: the halves
            are the first and the last rows, and the error is over blocks.
    """

    steps: int = 2000
    minutes: float = 0.0
    form: str = "difference"
    width: int = 96
    batch: int = 512
    lr: float = 8e-3
    points: int = 48
    seed: int = 0
    blocks: int = 0

    def check(self) -> None:
        """Refuse settings that cannot run (UserError)."""
        choose("form", self.form, FORMS)
        for name in ("steps", "minutes"):
            if not 0 <= getattr(self, name) < math.inf:
                raise UserError(f"--{name} must be 0 or more, not {getattr(self, name)}")
        if self.steps == 0 and self.minutes == 0:
            raise UserError("--steps and --minutes are both 0: give one of them")
        for name in ("width", "batch", "lr"):
            if not 0 < getattr(self, name) < math.inf:
                raise UserError(f"--{name} must be positive, not {getattr(self, name)}")
        if self.points < 2:
            raise UserError(f"--points must be at least 2, not {self.points}")
        if self.blocks < 0:
            raise UserError(f"--blocks must be 0 (independent pairs) or more, not {self.blocks}")

    def check_one_length(self) -> None:
        """Refuse steps and minutes together (UserError): a command where a user names both means only one of them."""
        if self.steps and self.minutes:
            raise UserError("--steps and --minutes are both given: give one of them")


@dataclass(frozen=True)
class Information:
    """An estimate of I(x; y) and what it is made of.

    Attributes:
        estimate: value and standard error, nats: over pairs, and (as `se_quadrature`) of training, seen in what the
            two halves differ by and in what pairs read more where they were trained on.
        method: form or closed form, and which side was noised.
        maps: the maps of the noised and the given side.
        steps: optimiser steps taken.
        seconds: wall time.
        parts_nats: the summands of the value, by name.
        warnings: what a user should know of the value before using it, a sentence each.
    """

    estimate: Estimate
    method: str
    maps: str
    steps: int
    seconds: float
    parts_nats: dict[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
