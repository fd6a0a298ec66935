"""How two implementations are timed against each other: in turns, in one process, at least five times each."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from infolab.errors import UserError
from infolab.results import Speed

LEAST_REPEATS = 5


@dataclass(frozen=True)
class Duel:
    """One row of the speed table before it is measured; both sides are warmed up already.

    Attributes:
        setting: sizes, and how a time was scaled where only a part was run.
        unit: unit of what `ours` and `reference` return.
        wanted: the least ratio wanted on two CPU cores.
        ours: repeat number -> time in `unit`.
        reference: repeat number -> time in `unit`.
        evaluations_ours: network evaluations (examples that went through a network) per unit.
        evaluations_reference: the same of the reference.
        flops_ours: arithmetic of ours in matrix products, per unit; 0 where there is hardly any.
        seconds_per_unit: what `unit` is in seconds.
        note: called after the last repeat; a sentence to print below the table ("" for none).
    """

    setting: str
    unit: str
    wanted: float
    ours: Callable[[int], float]
    reference: Callable[[int], float]
    evaluations_ours: int
    evaluations_reference: int
    flops_ours: float = 0.0
    seconds_per_unit: float = 1.0
    note: Callable[[], str] = lambda: ""


def check_repeats(repeats: int) -> None:
    """Refuse fewer than five repeats.

    Raises:
        UserError: `repeats` is too small.
    """
    if repeats < LEAST_REPEATS:
        raise UserError(f"--repeats must be at least {LEAST_REPEATS}, not {repeats}")


def duel_to_row(name: str, duel: Duel, repeats: int) -> Speed:
    """Run reference and ours in turns and return medians, with the ratio reference / ours of each pair.

    Raises:
        UserError: fewer than five repeats.
    """
    check_repeats(repeats)
    # Neighbours in time make a pair, so that a slow moment of the machine meets both sides of one ratio.
    pairs = [(duel.reference(repeat), duel.ours(repeat)) for repeat in range(repeats)]
    ratios = [reference / ours for reference, ours in pairs]
    return Speed(
        name=name,
        setting=duel.setting,
        unit=duel.unit,
        ours=statistics.median(ours for _, ours in pairs),
        reference=statistics.median(reference for reference, _ in pairs),
        ratio=statistics.median(ratios),
        ratio_low=min(ratios),
        ratio_high=max(ratios),
        wanted=duel.wanted,
        evaluations_ours=duel.evaluations_ours,
        evaluations_reference=duel.evaluations_reference,
    )


def achieved_gflops(duel: Duel, row: Speed) -> float:
    """Matrix-product arithmetic of ours per second of its median time, in GFLOP/s."""
    return duel.flops_ours / (row.ours * duel.seconds_per_unit) / 1e9


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def sgemm_gflops(size: int = 2048, repeats: int = 5) -> float:
    """Best rate of the machine's float32 matrix product of two (size, size) matrices, in GFLOP/s.

    Args:
        size: rows and columns; 2 size^3 operations.
        repeats: products timed, after one that is not.
    """
    a, b = torch.ones(size, size), torch.ones(size, size)
    out = torch.empty(size, size)
    torch.mm(a, b, out=out)
    best = min(seconds(lambda: torch.mm(a, b, out=out)) for _ in range(repeats))
    return 2 * size**3 / best / 1e9
