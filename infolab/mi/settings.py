"""Settings of an estimate of mutual information, the record that it returns, and the arrays that a user gives."""

import math
from dataclasses import dataclass, field

import numpy as np

from infolab.errors import UserError, check_choice
from infolab.estimate import Estimate

# ----------
# Settings of an estimate of mutual information, and the record that it returns.

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
        check_choice("form", self.form, FORMS)
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


# ----------
# What a user gives as one side of the pairs, as numbers in double precision.

Array = np.ndarray
LEAST_EXAMPLES = 40
SIZES = (1e-100, 1e100)
"""Least range of a coordinate that varies, and largest size of a number: beyond them moments leave double precision."""


def examples(name: str, array: Array) -> Array:
    """The examples of one side as (n, d) float64; what differs in `array` differs in it too.

    Whole numbers that double precision cannot hold (identifiers beyond 2^53, say) become ranks, names of classes
    numbers: mutual information stays the same.

    Args:
        name: "x" or "y", for messages.
        array: examples first, (n,) or (n, ...).

    Raises:
        UserError: no array of finite numbers, too few examples, or sizes at the ends of double precision.
    """
    array = np.asarray(array)
    if array.dtype.kind in "US":  # names of classes
        array = np.unique(array, return_inverse=True)[1].reshape(array.shape)
    if array.ndim < 1 or array.dtype.kind not in "fiub" or array.size == 0:
        raise UserError(f"{name} has shape {array.shape} and type {array.dtype}: expected numbers, examples first")
    if len(array) < LEAST_EXAMPLES:
        raise UserError(f"{name} has {len(array)} examples: at least {LEAST_EXAMPLES} are needed")
    flat = _as_double(array.reshape(len(array), -1))
    if not np.isfinite(flat).all():
        raise UserError(f"{name} has values that are not finite: remove them first")
    low, high = SIZES
    if np.abs(flat).max() > high or ((flat.min(0) != flat.max(0)) & (np.ptp(flat, axis=0) < low)).any():
        raise UserError(
            f"{name} has numbers larger than {high:g} or coordinates that vary by less than {low:g}: rescale them "
            "(mutual information stays the same)"
        )
    return flat


def _as_double(flat: Array) -> Array:
    out = flat.astype(np.float64)
    if flat.dtype.kind in "iu" and np.abs(out).max() >= 2.0**53:
        for column, exact in zip(out.T, flat.T, strict=True):
            levels, ranks = np.unique(exact, return_inverse=True)
            if len(np.unique(column)) < len(levels):
                column[:] = ranks
    return out
