"""Whether a denoiser returns eps_hat at all: what else its output may be, where that fits the data far better."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from common.immse import Denoiser, GaussianReference, LogsnrRange
from common.immse.noise import curve_noise
from common.schedules import logsnr_to_alpha_sigma

PILOT = 256
LEVELS = 9
READINGS: dict[str, Callable[[Tensor, Tensor, float, float], Tensor]] = {
    "eps_hat": lambda out, z, alpha, sigma: out,
    "-eps_hat": lambda out, z, alpha, sigma: -out,
    "x0_hat": lambda out, z, alpha, sigma: (z - alpha * out) / sigma,
    "v_hat = alpha eps - sigma x0": lambda out, z, alpha, sigma: sigma * z + alpha * out,
    "-v_hat = sigma x0 - alpha eps": lambda out, z, alpha, sigma: sigma * z - alpha * out,
    "the score -eps_hat / sigma": lambda out, z, alpha, sigma: -sigma * out,
}
"""What a network may return, as eps_hat in the channel z = alpha x + sigma eps."""
TOLD = "eps_hat"


@dataclass(frozen=True)
class Suspicion:
    """Another reading of a denoiser's output that fits far better than eps_hat; and evaluations."""

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
    """Name what a denoiser seems to return, where that is not eps_hat.

    On a pilot of examples at some log-SNRs the mean square error of each reading is set beside that of the optimal
    linear denoiser, the Gaussian's. Another reading is named if, summed over them, the output taken as told is worse
    than the Gaussian and the other reading at most a tenth worse than it, and if the other one is nowhere worse than
    what was told by more than a hundredth (where little noise is left v_hat is all but eps_hat).

    Args:
        denoiser: called as in `common.immse.measure_curve`.
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
    linear, errors = [], []
    for j, a in enumerate(levels):
        alpha, sigma = (float(v) for v in logsnr_to_alpha_sigma(a))
        z = alpha * flat + sigma * eps[:, j]
        rows = torch.full((len(flat),), float(a), dtype=flat.dtype, device=flat.device)
        out = denoiser(z.reshape(pilot.shape).clone(), rows).flatten(1)
        errors.append([_square_error(eps[:, j], read(out, z, alpha, sigma)) for read in READINGS.values()])
        linear.append(_square_error(eps[:, j], reference.eps_hat(z, rows)))
    found, gaussian = torch.tensor(errors), torch.tensor(linear)
    told = found[:, list(READINGS).index(TOLD)]
    spent = LEVELS * len(flat)
    name = list(READINGS)[int(found.sum(0).argmin())]
    other = found[:, list(READINGS).index(name)]
    fits = bool(other.sum() <= 1.1 * gaussian.sum()) and bool((other <= 1.01 * told).all())
    wrong = bool(told.sum() > 1.1 * gaussian.sum())
    return Suspicion(name if fits and wrong and name != TOLD else None, spent)


def _square_error(eps: Tensor, eps_hat: Tensor) -> float:
    return float((eps - eps_hat).square().sum(1).double().mean())
