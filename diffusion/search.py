"""Least values of functions of one variable, several at a time: a coarse grid, then golden section."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

GOLDEN = (math.sqrt(5) - 1) / 2


def grid_then_golden(
    function: Callable[[Tensor], Tensor], members: int, grid: Sequence[float], tolerance: float
) -> tuple[Tensor, list[tuple[float, Tensor]]]:
    """Minimise k functions side by side: each between the neighbours of its best grid point, by golden section.

    Args:
        function: arguments (k,) float64 -> values (k,), member by member.
        members: k.
        grid: arguments, two at least, the same for all members.
        tolerance: width of the last interval.

    Returns:
        The best argument of each member among all that were tried (k,), and the grid with its values (k,).

    >>> best, _ = grid_then_golden(lambda x: (x - torch.tensor([0.3, 2.0])).square(), 2, [0.0, 0.5, 1.0], 1e-3)
    >>> [round(float(x), 2) for x in best]
    [0.3, 1.0]
    """
    arguments = torch.tensor(sorted(grid), dtype=torch.float64)
    scanned = [(float(x), function(x.repeat(members)).double()) for x in arguments]
    values = torch.stack([value for _, value in scanned])
    lowest, index = values.min(0)
    best = arguments[index]
    low, high = arguments[(index - 1).clamp(min=0)], arguments[(index + 1).clamp(max=len(arguments) - 1)]

    inner = [high - GOLDEN * (high - low), low + GOLDEN * (high - low)]
    at = [function(x).double() for x in inner]
    while True:
        for x, value in zip(inner, at, strict=True):
            better = value < lowest
            best, lowest = torch.where(better, x, best), torch.where(better, value, lowest)
        left = at[0] < at[1]  # the minimum lies in [low, right inner point], else in [left inner point, high]
        low, high = torch.where(left, low, inner[0]), torch.where(left, inner[1], high)
        if float((high - low).max()) <= tolerance:
            return best, scanned
        # Of the two new inner points one is an old one; the other is evaluated.
        new = torch.where(left, high - GOLDEN * (high - low), low + GOLDEN * (high - low))
        at_new = function(new).double()
        inner, at = (
            [torch.where(left, new, inner[1]), torch.where(left, inner[0], new)],
            [torch.where(left, at_new, at[1]), torch.where(left, at[0], at_new)],
        )
