"""A row of the table of instruments: what it measures, how data is moved, and what theory says of the value then."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

EPS = float(np.finfo(np.float64).eps)
DECADES = 9.0
"""Data is scaled by 10^-9 to 10^9."""
DEVIATIONS = 1e6
"""Data is shifted by up to so many of its standard deviations, every coordinate by its own."""
KINDS = ("scale", "shift", "permutation", "copies")


@dataclass(frozen=True)
class Numbers:
    """What was measured.

    Attributes:
        values: the numbers.
        errors: standard errors where they are random in themselves (folds, noise), which a permutation draws anew.
        numerical: errors that the instrument reports of its own integrals.
    """

    values: np.ndarray
    errors: np.ndarray | float = 0.0
    numerical: np.ndarray | float = 0.0


@dataclass(frozen=True)
class Sample:
    """Arrays by name, and the unit and origin that they are in.

    Attributes:
        arrays: examples first.
        moved: names of the arrays that are scaled and shifted, all alike.
        groups: names of arrays that share their examples: permuted and copied together.
        unit: what it was scaled by.
        origin: what was added, in every coordinate (after scaling).
    """

    arrays: dict[str, np.ndarray]
    moved: tuple[str, ...]
    groups: tuple[tuple[str, ...], ...]
    unit: float = 1.0
    origin: np.ndarray | float = 0.0

    def __getitem__(self, name: str) -> Any:
        return self.arrays[name]


def move(sample: Sample, kind: str, amount: float, limits: dict[str, float]) -> Sample:
    """The sample transformed; `amount` in [-1, 1] says how far (the seed of a permutation, for that)."""
    arrays = dict(sample.arrays)
    if kind == "scale":
        unit = 10 ** (amount * limits.get(kind, DECADES))
        arrays |= {name: arrays[name] * unit for name in sample.moved}
        return replace(sample, arrays=arrays, unit=unit)
    if kind == "shift":
        spread = arrays[sample.moved[0]].std(0)
        uneven = 1 + np.arange(spread.size).reshape(spread.shape) / max(1, spread.size)
        origin = amount * limits.get(kind, DEVIATIONS) * spread * uneven
        arrays |= {name: arrays[name] + origin for name in sample.moved}
        return replace(sample, arrays=arrays, origin=origin)
    source = np.random.default_rng(int(abs(amount) * 2**20))
    for group in sample.groups:
        n = len(arrays[group[0]])
        rows = source.permutation(n) if kind == "permutation" else np.tile(np.arange(n), 2)
        arrays |= {name: arrays[name][rows] for name in group}
    return replace(sample, arrays=arrays)


Theory = Callable[[Numbers, Sample, Sample], np.ndarray]
"""The values that theory expects, from the numbers before, the sample before and the sample after."""


@dataclass(frozen=True)
class Instrument:
    """One row.

    Attributes:
        name: what is measured.
        covers: public names that the row runs, `module.name` or `module command`.
        draw: a sample from a generator.
        measure: its numbers.
        theory: what theory says under each of `KINDS`; a text: why nothing is said.
        rounding: relative error of the values for a relative rounding of 1 in the data, measured in units of its spread
            (a shift of D deviations rounds it to D * EPS, everything else to EPS). Values near 0 are taken as 1.
        single: absolute error, for what is computed in float32 by definition.
        relative: values near 0 too are compared relatively.
        limits: decades, or deviations, where the instrument allows less than `DECADES` and `DEVIATIONS`, and why not.
        why_limits: the reason.
    """

    name: str
    covers: tuple[str, ...]
    draw: Callable[[np.random.Generator], Sample]
    measure: Callable[[Sample], Numbers]
    theory: dict[str, Theory | str]
    rounding: float = 1e3
    single: float = 0.0
    relative: bool = False
    limits: dict[str, float] = field(default_factory=dict)
    why_limits: str = ""

    def check(self, kind: str, seed: int, amount: float) -> None:
        """Measure before and after, and compare the change with theory."""
        theory = self.theory[kind]
        assert callable(theory)
        before_sample = self.draw(np.random.default_rng(seed))
        after_sample = move(before_sample, kind, amount, self.limits)
        before, after = self.measure(before_sample), self.measure(after_sample)
        expected = np.asarray(theory(before, before_sample, after_sample), dtype=float)
        # Rounding of shift and value, and 6 standard errors of both where they are random: of the tens of thousands of
        # comparisons of the slow test, none should fail by chance.
        rounded = EPS * (1 + (self.limits.get(kind, DEVIATIONS) * abs(amount) * 2 if kind == "shift" else 0))
        size = np.abs(expected) if self.relative else np.maximum(np.abs(expected), 1.0)
        tolerance = self.rounding * rounded * size + self.single + 2 * (before.numerical + after.numerical)
        if kind in ("permutation", "copies"):
            tolerance = tolerance + 6 * np.hypot(before.errors, after.errors)
        wrong = ~(np.abs(after.values - expected) <= tolerance)
        assert not wrong.any(), (
            f"{self.name}, {kind} by {amount}: {after.values[wrong]}, expected {expected[wrong]} within "
            f"{np.broadcast_to(tolerance, expected.shape)[wrong]}"
        )


def same(before: Numbers, _sample: Sample, _after: Sample) -> np.ndarray:
    """Nothing changes."""
    return before.values


def power(exponent: Any) -> Theory:
    """Values are of the data's unit to this power (one for each value, or one for all)."""
    return lambda before, _, after: before.values * after.unit ** np.asarray(exponent, dtype=float)
