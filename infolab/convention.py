"""Whether a model is in the convention that it was told: another one that fits the data far better is named."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from infolab.denoise import Denoiser
from infolab.device import to_double
from infolab.immse import GaussianReference, LogsnrRange
from infolab.noise import curve_noise
from infolab.predictions import PREDICTS
from infolab.schedules import logsnr_to_alpha_sigma

PILOT = 256
LEVELS = 9
BETTER = 1.05
SAME = {"edm": "x0"}
"""Predictions that are the same number under two names."""


@dataclass(frozen=True)
class Suspicion:
    """Another reading of a model's output (one of `PREDICTS`) that fits far better than what was told; evaluations."""

    reading: str | None
    evaluations: int


@torch.no_grad()
def suspect(
    denoiser: Denoiser,
    x: Tensor,
    reference: GaussianReference,
    where: LogsnrRange,
    seed: int,
    transform: Callable[[Tensor], Tensor],
) -> Suspicion:
    """Name what a model seems to predict, where that is not what it was told to.

    On a pilot of examples at some log-SNRs the mean square error of each reading is set beside that of the optimal
    linear denoiser, the Gaussian's. Another reading is named if, summed over them, it is no worse than the Gaussian and
    better than the output as told by a twentieth, and if it is nowhere worse than that by more than a hundredth (where
    little noise is left v_hat is all but eps_hat).

    Args:
        denoiser: in the convention that was told.
        x: examples.
        reference: the Gaussian of the data.
        where: the range of log-SNRs.
        seed: of the noise.
        transform: of a block of examples.
    """
    pilot = transform(x[torch.linspace(0, len(x) - 1, min(len(x), PILOT)).round().long()])
    flat, points = pilot.flatten(1), torch.arange(LEVELS)
    levels = torch.linspace(where.low, where.high, LEVELS, dtype=torch.float64)
    eps = curve_noise("independent", (len(flat), reference.d), 0, points, LEVELS, seed).to(flat)
    kinds, told = readings(denoiser), SAME.get(denoiser.predicts, denoiser.predicts)
    linear: list[float] = []
    errors: list[list[float]] = []
    for j, a in enumerate(levels):
        alpha, sigma = (float(v) for v in logsnr_to_alpha_sigma(a))
        z = (alpha * flat + sigma * eps[:, j]).reshape(pilot.shape)
        rows = torch.full((len(flat),), float(a), dtype=flat.dtype, device=flat.device)
        level = denoiser.level(rows)
        out = denoiser.output(z, level)
        hats = [denoiser.read(out, z, rows, level, kind).eps_hat.flatten(1) for kind in kinds]
        errors.append([_square_error(eps[:, j], hat) for hat in hats])
        linear.append(_square_error(eps[:, j], reference.eps_hat(z, rows).flatten(1)))
    found, gaussian = torch.tensor(errors), torch.tensor(linear)
    as_told = found[:, kinds.index(told)]
    name = kinds[int(found.sum(0).argmin())]
    other = found[:, kinds.index(name)]
    fits = bool(other.sum() <= gaussian.sum()) and bool((other <= 1.01 * as_told).all())
    better = bool(as_told.sum() > BETTER * other.sum())
    return Suspicion(name if fits and better else None, LEVELS * len(flat))


def readings(denoiser: Denoiser) -> list[str]:
    """What its output might be: the channel has no velocity, and only EDM's network sees a preconditioned input."""
    raw = denoiser.predicts == "edm-raw"
    return [
        kind
        for kind in PREDICTS
        if kind not in SAME and (kind != "edm-raw" or raw) and (denoiser.schedule or not kind.endswith("flow"))
    ]


def _square_error(eps: Tensor, eps_hat: Tensor) -> float:
    return float(to_double((eps - eps_hat).square().sum(1)).mean())
