"""What a network may predict, and what its output means in the lab's channel: one linear step."""

from dataclasses import dataclass

import torch
from torch import Tensor

from infolab.device import to_double
from infolab.schedules import ScheduleValues, append_dims, logsnr_to_alpha_sigma

PREDICTS = ("eps", "-eps", "x0", "v", "-v", "score", "flow", "-flow", "edm", "edm-raw")
"""What a network may predict: the noise, the data, v = alpha eps - sigma x0 (alpha^2 + sigma^2 = 1), the score of x_t,
the velocity dx_t/dt of its schedule, EDM's D(x; sigma) (the data) or its raw F under EDM's preconditioning; with -, the
negative."""


@dataclass(frozen=True)
class Prediction:
    """What a denoiser says of z at log-SNR a, each of the shape of z, in the channel's alpha = sqrt(s(a)).

    Attributes:
        x0_hat: E[x | z] of the optimal denoiser.
        eps_hat: E[eps | z].
        v_hat: alpha eps_hat - sigma x0_hat.
    """

    x0_hat: Tensor
    eps_hat: Tensor
    v_hat: Tensor


def read_vp(predicts: str, out: Tensor, z: Tensor, logsnr: Tensor) -> Prediction:
    """What an output of a variance-preserving network means, in the channel: `eps`, `x0` or `v`.

    Args:
        predicts: what `out` is.
        out: of the shape of z.
        z: x_t, which is the channel's z there (n, ...).
        logsnr: (n,).
    """
    alpha, sigma = (append_dims(v.to(z), z) for v in logsnr_to_alpha_sigma(to_double(logsnr)))
    if predicts == "v":
        return Prediction(alpha * z - sigma * out, sigma * z + alpha * out, out)
    x0, eps = (out, (z - alpha * out) / sigma) if predicts == "x0" else ((z - sigma * out) / alpha, out)
    return Prediction(x0, eps, alpha * eps - sigma * x0)


def read(
    kind: str, output: Tensor, z: Tensor, logsnr: Tensor, level: ScheduleValues, sigma_data: float = 0.5
) -> Prediction:
    """What an output means.

    Args:
        kind: what it is, one of `PREDICTS`.
        output: of the network at x_t, z on the scale of its schedule.
        z: in the channel.
        logsnr: (batch...).
        level: of the network's schedule there.
        sigma_data: of EDM's preconditioning.
    """
    sign, kind = (-1.0, kind[1:]) if kind.startswith("-") else (1.0, kind)
    out = sign * output
    if kind == "edm-raw":
        out = _preconditioned(out, z, level, sigma_data)
    if kind in ("x0", "edm", "edm-raw"):
        return read_vp("x0", out, z, logsnr)
    return read_vp("v", out, z, logsnr) if kind == "v" else read_vp("eps", _eps(kind, out, z, level), z, logsnr)


def _eps(kind: str, out: Tensor, z: Tensor, level: ScheduleValues) -> Tensor:
    if kind == "eps":
        return out
    if kind == "score":
        return -append_dims(level.sigma.to(z), z) * out
    # u = alpha' x0 + sigma' eps and c z = alpha x0 + sigma eps, c^2 = alpha^2 + sigma^2
    scale = torch.hypot(level.alpha, level.sigma)
    determinant = level.alpha * level.dsigma_dt - level.sigma * level.dalpha_dt
    of_u, of_z = level.alpha / determinant, -level.dalpha_dt * scale / determinant
    return append_dims(of_u.to(z), z) * out + append_dims(of_z.to(z), z) * z


def _preconditioned(out: Tensor, z: Tensor, level: ScheduleValues, sd: float) -> Tensor:
    """D = c_skip x + c_out F, c_skip = sd^2 / (sigma^2 + sd^2), c_out = sigma sd / sqrt(sigma^2 + sd^2)."""
    sigma = level.sigma
    total = sigma**2 + sd**2
    skip = sd**2 / total * torch.hypot(level.alpha, sigma)
    return append_dims(skip.to(z), z) * z + append_dims((sigma * sd * torch.rsqrt(total)).to(z), z) * out
