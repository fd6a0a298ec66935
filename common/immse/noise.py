"""The noise of a curve: a function of (seed, example, log-SNR point), spread evenly along the curve by default."""

from collections.abc import Iterator
from functools import lru_cache

import torch
from torch import Tensor

from common.errors import choose
from common.seeds import derive, generator

BLOCK = 64
"""Examples whose noise comes from one stream; example i has row i % BLOCK of stream i // BLOCK."""
KINDS = ("quasi", "independent", "shared")


def curve_noise(kind: str, shape: tuple[int, ...], first: int, points: Tensor, total: int, seed: int) -> Tensor:
    """Standard normal noise of examples first .. first + n - 1 at some points of the curve, (n, points, d) float32.

    quasi: eps_ij = Phi^-1(frac(q_j + r_i)), q_j the Sobol sequence in d dimensions along the curve and r_i uniform
    (Cranley and Patterson 1976). Each eps_ij is exactly normal, but along the curve the noise of one example is spread
    evenly, so that the integral over the curve averages it better than independent draws. independent: a draw per
    point. shared: one draw per example for the whole curve, (n, 1, d); errors of neighbouring points then add up.

    Args:
        kind: one of `KINDS`.
        shape: (n, d).
        first: index of the first example in its data set.
        points: indices j of the points (int64).
        total: J, points of the whole curve.
        seed: of everything.

    Raises:
        UserError: an unknown kind.
    """
    n, d = shape
    choose("noise", kind, KINDS)
    if kind == "independent":
        drawn = [_rows(seed, f"point {j}", n, d, first, normal=True) for j in points.tolist()]
        return torch.stack(drawn, 1)
    if kind == "shared":
        return _rows(seed, "shared", n, d, first, normal=True)[:, None]
    shift = _rows(seed, "shift", n, d, first, normal=False)
    u = torch.frac(_sobol_along_a_curve(d, total, seed)[points] + shift[:, None])
    # Float32 uniforms are multiples of 2^-24: the ends are moved in by half of that.
    return torch.special.ndtri(u.clamp(2.0**-25, 1 - 2.0**-24))


def blocks(n: int, size: int, first: int = 0) -> Iterator[slice]:
    """Slices of about `size` examples, cut where the noise streams of a data set begin."""
    step = max(1, size // BLOCK) * BLOCK
    start = 0
    while start < n:
        stop = min(n, (first + start) // step * step + step - first)
        yield slice(start, stop)
        start = stop


def _rows(seed: int, stream: str, n: int, d: int, first: int, *, normal: bool) -> Tensor:
    parts, draw = [], torch.randn if normal else torch.rand
    for block in range(first // BLOCK, (first + n - 1) // BLOCK + 1):
        rows = draw(BLOCK, d, generator=generator(seed, "immse", stream, block))
        parts.append(rows[max(0, first - block * BLOCK) : first + n - block * BLOCK])
    return torch.cat(parts)


def sobol(d: int, total: int, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """The first `total` points of a scrambled Sobol sequence in d dimensions, (total, d).

    The sequence is known in 21,201 dimensions. More are taken in blocks of that size, each with a scrambling of its
    own: every coordinate is then as evenly spread along the curve, and coordinates of different blocks are as random
    draws to each other.

    Args:
        d: dimensions, any number.
        total: points.
        seed: of the scrambling.
        dtype: float32 or float64.
    """
    parts = []
    for first in range(0, d, torch.quasirandom.SobolEngine.MAXDIM):
        own = seed if first == 0 else derive(seed, "sobol", first) % 2**31
        size = min(torch.quasirandom.SobolEngine.MAXDIM, d - first)
        parts.append(torch.quasirandom.SobolEngine(size, scramble=True, seed=own).draw(total, dtype=dtype))
    return parts[0] if len(parts) == 1 else torch.cat(parts, 1)


@lru_cache(maxsize=4)
def _sobol_along_a_curve(d: int, total: int, seed: int) -> Tensor:
    return sobol(d, total, derive(seed, "immse", "sobol") % 2**31)
