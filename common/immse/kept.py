"""Curves and ranges in pieces: what is measured of the first examples is kept when the next ones are begun."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from common.immse.curve import Curve, empty_curve
from common.immse.grid import LogsnrGrid, LogsnrRange
from common.immse.measure import Denoiser, kinds_of, measure_curve, rows_of_a_call
from common.immse.noise import blocks
from common.immse.ranges import widen_range
from common.immse.reference import GaussianReference
from common.immse.rounding import Bins
from common.pieces import Keep

PIECE = 1 << 21
"""Numbers in the network's inputs from which on a piece is whole (and one block of examples at least)."""
TENSORS = ("sums", "log_normal", "products", "target_squares", "control_squares")


def measure_curve_in_pieces(
    keep: Keep,
    name: str,
    denoiser: Denoiser,
    x: Tensor,
    grid: LogsnrGrid,
    reference: GaussianReference,
    *,
    bins: Bins | None = None,
    dequantized: bool = False,
    noise: str = "quasi",
    antithetic: bool = False,
    seed: int = 0,
    batch: int = 0,
    transform: Callable[[Tensor], Tensor] | None = None,
    first: int = 0,
) -> Curve:
    """`measure_curve`, bit by bit: each piece holds the curve of all examples up to its end.

    Args:
        keep: keeps the pieces.
        name: of this curve among the pieces.
        denoiser, x, grid, reference, bins, dequantized, noise, antithetic, seed, batch, transform, first: as in
            `measure_curve`.
    """
    curve = empty_curve(grid, reference, bins, kinds_of(bins, dequantized))

    def measure(start: int, stop: int, so_far: Curve) -> dict[str, Tensor]:
        return _tensors(
            measure_curve(
                denoiser, x[start:stop], grid, reference, bins=bins, dequantized=dequantized, noise=noise,
                antithetic=antithetic, seed=seed, batch=batch, transform=transform, first=first + start, so_far=so_far,
            )
        )  # fmt: skip

    ends = [block.stop for block in blocks(len(x), rows_of_a_call(batch, reference.d) // len(grid), first)]
    start = 0
    for stop in ends:
        if (stop - start) * len(grid) * reference.d >= PIECE or stop == len(x):
            # Both ends are in the name: with another --eval-batch the pieces end elsewhere.
            piece = f"{name}-{first + start:07d}-{first + stop:07d}"
            curve = _restored(curve, keep(piece, lambda: measure(start, stop, curve)))  # noqa: B023 (called at once)
            start = stop
    return curve


def widen_range_in_a_piece(
    keep: Keep,
    name: str,
    denoiser: Denoiser,
    x: Tensor,
    reference: GaussianReference,
    start: LogsnrRange,
    *,
    bins: Bins | None = None,
    dequantized: bool = False,
    seed: int = 0,
    batch: int = 0,
    transform: Callable[[Tensor], Tensor] | None = None,
) -> LogsnrRange:
    """`widen_range`, kept as the piece `name`; the other arguments are its own."""

    def measure() -> dict[str, Tensor]:
        found = widen_range(
            denoiser, x, reference, start, bins=bins, dequantized=dequantized, seed=seed, batch=batch,
            transform=transform,
        )  # fmt: skip
        numbers = [found.loc, found.scale, found.clip, found.tail_nats, found.evaluations]
        return {"range": torch.tensor(numbers, dtype=torch.float64)}

    loc, scale, clip, tail_nats, evaluations = keep(name, measure)["range"].tolist()
    return LogsnrRange(loc, scale, clip, tail_nats, int(evaluations))


def _tensors(curve: Curve) -> dict[str, Tensor]:
    found = {f"{field}/{key}": item for field in TENSORS for key, item in getattr(curve, field).items()}
    return found | {"counts": curve.counts, "spent": torch.tensor([curve.n, curve.evaluations])}


def _restored(like: Curve, kept: dict[str, Tensor]) -> Curve:
    """The curve that `_tensors` took apart, of the same grid, reference and kinds as `like`."""
    fields: dict[str, dict[str, Tensor]] = {field: {} for field in TENSORS}
    for name, item in kept.items():
        field, _, key = name.partition("/")
        if key:
            fields[field][key] = item
    n, evaluations = kept["spent"].tolist()
    return replace(like, n=n, evaluations=evaluations, counts=kept["counts"], **fields)  # type: ignore[arg-type]
