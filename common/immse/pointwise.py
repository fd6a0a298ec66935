"""-log p(x) of single points, for densities on a grid or scores of single examples."""

from dataclasses import dataclass

import torch
from torch import Tensor

from common.errors import UserError
from common.immse.grid import LogsnrGrid
from common.immse.measure import ELEMENTS, Denoiser
from common.immse.noise import sobol
from common.immse.reference import GaussianReference
from common.schedules import logsnr_to_alpha_sigma
from common.seeds import derive


@dataclass(frozen=True)
class PointwiseNll:
    """-log p(x) of each of n points under the denoiser.

    Attributes:
        nll_nats: (n,) float64.
        se_nats: (n,) float64, over the draws of the noise; common to all points is the noise itself.
        evaluations: network evaluations.
    """

    nll_nats: Tensor
    se_nats: Tensor
    evaluations: int


@torch.no_grad()
def pointwise_nll(
    denoiser: Denoiser,
    x: Tensor,
    reference: GaussianReference,
    grid: LogsnrGrid,
    *,
    draws: int = 4,
    seed: int = 0,
    batch: int = 0,
) -> PointwiseNll:
    """-log p(x) = -log N(x) - 1/2 Int E_eps[|eps - eps_G|^2 - |eps - eps_hat|^2] da for each x.

    The noise along the curve is a Sobol sequence in d dimensions (log-SNR and noise are spread evenly together),
    scrambled anew for each draw, and the same for all x: the estimate is then smooth in x. Exact when p is the
    Gaussian. In expectation over x it is an upper bound for any denoiser; for one x it can be off either way.

    Args:
        denoiser: see `measure_curve`.
        x: points (n, ...).
        reference: Gaussian of the same data scale.
        grid: log-SNR points.
        draws: independent scramblings, >= 2; the cost is n J draws evaluations.
        seed: of the noise.
        batch: rows per network call; 0: about half a million numbers.

    Raises:
        UserError: fewer than two draws, or a reference without a density.
    """
    if draws < 2:
        raise UserError(f"{draws} draws: expected at least 2, so that the error is known")
    normal = reference.log_prob(x)
    d, J = reference.d, len(grid)
    rows = batch or max(64, min(1 << 14, ELEMENTS // d))
    alpha, sigma = (v.to(x)[:, None] for v in logsnr_to_alpha_sigma(grid.logsnr))
    values = torch.zeros(draws, len(x), dtype=torch.float64)
    for draw in range(draws):
        eps = _noise(d, J, seed, draw).to(x)
        for start in range(0, len(x), max(1, rows // J)):
            block = slice(start, start + max(1, rows // J))
            part = x[block].flatten(1)
            z = (alpha * part[:, None] + sigma * eps).reshape(-1, *x.shape[1:])
            logsnr = grid.logsnr.to(x).repeat(len(part))
            pieces = zip(z.split(rows), logsnr.split(rows), strict=True)
            eps_hat = torch.cat([denoiser(*piece) for piece in pieces]).reshape(len(part), J, d)
            own = (eps - eps_hat).square().sum(-1).cpu().double()
            mean, deviation = reference.errors(
                reference.project(part), eps.cpu()[None].expand(len(part), -1, -1), grid.logsnr
            )
            values[draw, block] = -normal[block] - grid.integrate(mean + deviation - own) / 2
    return PointwiseNll(values.mean(0), values.std(0) / draws**0.5, draws * len(x) * J)


def _noise(d: int, J: int, seed: int, draw: int) -> Tensor:
    """One scrambling of J points of the Sobol sequence as standard normal noise, (J, d) float64."""
    scramble = derive(seed, "immse", "pointwise", draw) % 2**31
    u = sobol(d, J, scramble, torch.float64)
    return torch.special.ndtri(u.clamp(2.0**-31, 1 - 2.0**-31))
