"""From a denoiser and data to NLLs in one call: range, points, curve, estimates."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from common.immse.curve import Curve
from common.immse.grid import LogsnrRange, make_grid
from common.immse.kept import measure_curve_in_pieces, widen_range_in_a_piece
from common.immse.measure import Denoiser, measure_curve
from common.immse.nll import NllEstimate, continuous_nll, dequantized_nll, discrete_nll
from common.immse.reference import GaussianReference
from common.immse.rounding import Bins
from common.pieces import Keep, unkept


@dataclass(frozen=True)
class Nlls:
    """Estimates by name ("continuous", or "discrete" and "dequantized"), their curve, and all evaluations spent."""

    by_name: dict[str, NllEstimate]
    curve: Curve
    evaluations: int

    def __getitem__(self, name: str) -> NllEstimate:
        return self.by_name[name]


def estimate_nll(
    denoiser: Denoiser,
    x: Tensor,
    reference: GaussianReference,
    *,
    bins: Bins | None = None,
    dequantized: bool = False,
    points: int = 100,
    integrator: str = "deterministic",
    logsnr_range: LogsnrRange | None = None,
    widen: bool = True,
    noise: str = "quasi",
    seed: int = 0,
    batch: int = 0,
    transform: Callable[[Tensor], Tensor] | None = None,
    store: Path | None = None,
    keep: Keep = unkept,
) -> Nlls:
    """NLL of data under a denoiser: a density without bins, else a mass ("discrete", and "dequantized" if wanted).

    Args:
        denoiser, x, reference, bins, dequantized, noise, seed, batch, transform, store: as in `measure_curve`.
        points: log-SNR points.
        integrator: deterministic, random or rqmc.
        logsnr_range: None: the range of the reference's spectrum.
        widen: move its ends until the tails are negligible, see `widen_range`.
        keep: keeps range and curve piece by piece (without `store`).

    Raises:
        UserError: data that the estimand does not fit.
    """
    if bins is None:
        reference.require_density()
    chosen = logsnr_range or LogsnrRange.from_spectrum(reference.spectrum)
    shared: dict[str, Any] = {
        "bins": bins,
        "dequantized": dequantized,
        "seed": seed,
        "batch": batch,
        "transform": transform,
    }
    if widen:
        chosen = widen_range_in_a_piece(keep, "range", denoiser, x, reference, chosen, **shared)
    grid = make_grid(chosen, points, integrator, seed)
    if store:
        curve = measure_curve(denoiser, x, grid, reference, noise=noise, store=store, **shared)
    else:
        curve = measure_curve_in_pieces(keep, "curve", denoiser, x, grid, reference, noise=noise, **shared)
    spent = curve.evaluations + chosen.evaluations
    if bins is None:
        return Nlls({"continuous": continuous_nll(curve)}, curve, spent)
    found = {"discrete": discrete_nll(curve)}
    if dequantized:
        found["dequantized"] = dequantized_nll(curve)
    return Nlls(found, curve, spent)
