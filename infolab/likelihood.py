"""Likelihood of data under a diffusion model: by the probability-flow ODE, and bounded below by the ELBO."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torchdiffeq import odeint

from infolab.denoise import Denoiser, check_model
from infolab.device import has_float64
from infolab.epochs import DebiasedTime, UniformTime
from infolab.errors import RunFailedError
from infolab.schedules import Schedule, append_dims

DETAIL_VARIANCE = 0.1
"""Variance per dimension that a good denoiser cannot tell from noise: 0.03 to 1 serve logit images about equally."""


def log_normal(x: Tensor, std: float | Tensor, batch_dims: int) -> Tensor:
    """log N(x; 0, std^2 I), summed over all but the first `batch_dims` dimensions; std a number or (batch...)."""
    std = torch.as_tensor(std, dtype=x.dtype, device=x.device)
    squared = x.flatten(batch_dims).square().sum(-1) / std**2
    return -0.5 * squared - x[(0,) * batch_dims].numel() * (0.5 * math.log(2 * math.pi) + std.log())


def draw_probe(kind: str, shape: tuple[int, ...], source: torch.Generator) -> Tensor:
    """A probe for Hutchinson's estimate of a divergence: `rademacher` (+-1 with equal odds) or `gaussian`."""
    if kind == "rademacher":
        return torch.randint(0, 2, shape, generator=source).float() * 2 - 1
    return torch.randn(shape, generator=source)


@dataclass(frozen=True)
class OdeLikelihood:
    """log p(x) (batch...) in nats, where the flow carried x, and the number of score evaluations it took."""

    log_p: Tensor
    x_T: Tensor
    evaluations: int


@torch.no_grad()
def ode_log_likelihood(
    model: Denoiser,
    schedule: Schedule,
    x0: Tensor,
    T: float | Tensor,
    *,
    probe: Tensor | None = None,
    tolerance: float = 1e-5,
    heun_steps: int = 0,
) -> OdeLikelihood:
    """log p(x0) by the probability-flow ODE and the instantaneous change of variables (Song et al. 2021, eq. 39).

    dx/dt = f - g^2 s / 2 from 0 to T, log p(x0) = log N(x_T; 0, std^2 I) + Int_0^T div(f - g^2 s / 2) dt.

    Args:
        model: the model; called with tensors of the dtype of x0.
        schedule: the forward process.
        x0: data (batch..., event...).
        T: diffusion time, a number or one per leading batch entry (broadcastable to the batch shape).
        probe: of the shape of x0, for Hutchinson's estimate of the divergence; None: exact.
        tolerance: absolute and relative tolerance of the adaptive solver (dopri5 of torchdiffeq).
        heun_steps: when positive, this many steps of Heun's rule instead (two evaluations each).

    Raises:
        RunFailedError: the solver could not keep its tolerance, or the result is not finite.
    """
    check_model(model)
    times = torch.as_tensor(T, dtype=x0.dtype, device=x0.device)
    batch = x0.shape[: max(times.ndim, 1)]
    stds = [schedule.prior_std(float(one)) for one in times.flatten()]
    prior = torch.tensor(stds, dtype=x0.dtype, device=x0.device).reshape(times.shape).expand(batch)
    times = times.expand(batch)
    d = x0[(0,) * len(batch)].numel()
    # The state is float64 where the device has it: the solver's error control is finer than float32's rounding.
    precise = torch.float64 if has_float64(x0.device) else torch.float32
    evaluations = 0

    def field(u: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        nonlocal evaluations
        evaluations += 1
        x = state[0].to(x0.dtype)
        t = times * u.to(x0.dtype)
        level = schedule.at(t)
        s, divergence = model.score_and_divergence(x, t, schedule, probe)
        # Time runs over u = t/T in [0, 1], so that networks of different T are solved side by side.
        dx = append_dims(times * level.drift, x) * x - append_dims(times * level.g2 / 2, x) * s
        dlog = times * (d * level.drift - level.g2 / 2 * divergence)
        return dx.to(precise), dlog.to(precise)

    start = (x0.to(precise), torch.zeros(batch, dtype=precise, device=x0.device))
    ends = torch.tensor([0.0, 1.0], dtype=precise, device=x0.device)
    settings: dict[str, Any] = {"method": "dopri5", "options": {"dtype": precise}}
    if heun_steps:
        settings = {"method": "heun2", "options": {"step_size": 1 / heun_steps}}
    try:
        states, logs = odeint(field, start, ends, rtol=tolerance, atol=tolerance, **settings)
    except AssertionError as error:
        raise RunFailedError(f"the ODE solver failed ({error}): raise --ode-tolerance or train longer") from error
    log_p = log_normal(states[-1], prior.to(precise), len(batch)) + logs[-1]
    if not bool(torch.isfinite(log_p).all()):
        raise RunFailedError("the ODE likelihood is not finite: the score diverges along the flow")
    return OdeLikelihood(log_p, states[-1], evaluations)


@dataclass(frozen=True)
class ElboDraw:
    """What one draw of the ELBO is made of: one time and one noise per row of the data x0 (n, event...).

    Attributes:
        u: uniforms on (0, 1) that choose t (n,); stratified ones cut the variance.
        eps: noise at time t, of the shape of x0.
        eps_T: noise at time T, of the shape of x0.
    """

    u: Tensor
    eps: Tensor
    eps_T: Tensor


@torch.no_grad()
def elbo(
    model: Denoiser,
    schedule: Schedule,
    x0: Tensor,
    time: UniformTime | DebiasedTime,
    draw: ElboDraw,
    probe: Tensor | None = None,
) -> Tensor:
    """One draw per row of the ELBO of the plug-in reverse SDE (Huang et al. 2021, eq. 24), a lower bound of log p(x0).

    With a = g s:  log N(x_T; 0, std^2 I) + Int_0^T E[-|a|^2/2 - div(g a - f)] dt, the integral by one t per row,
    weighted by the inverse of its density. Unbiased for the bound.

    Args:
        model: the model.
        schedule: the forward process.
        x0: data (n, event...).
        time: distribution of t: `UniformTime(T)` or `DebiasedTime(schedule, T)` (uniform in log-SNR, less variance).
        draw: times and noise.
        probe: as in `ode_log_likelihood`.

    Returns:
        Values (n,), in nats.
    """
    check_model(model)
    t, density = time.sample(draw.u)
    level = schedule.at(t)
    x_t = append_dims(level.alpha, x0) * x0 + append_dims(level.sigma, x0) * draw.eps
    s, divergence = model.score_and_divergence(x_t, t, schedule, probe)
    integrand = -level.g2 * (0.5 * _dot(s, s) + divergence) + x0[0].numel() * level.drift
    return _log_prior(schedule, x0, time, draw) + integrand / density


@torch.no_grad()
def elbo_from_denoising(model: Denoiser, schedule: Schedule, x0: Tensor, time: DebiasedTime, draw: ElboDraw) -> Tensor:
    """The same bound as `elbo`, without a divergence and with far less variance.

    Given x0, E div s(x_t) = E s . eps / sigma (Stein's identity), so the integrand -g^2 (|s|^2/2 + div s) has the same
    mean as -g^2 (|s|^2/2 + s . eps/sigma) = -(g^2/sigma^2) (|sigma s + eps|^2 - |eps|^2) / 2. A score that sees a share
    c of the noise leaves (1 - c)^2 |eps|^2 of the first square, so for t above `time.t_eps` the control variate
    (g^2/sigma^2) (2c - c^2) (d - |eps|^2) / 2, whose mean is 0, is added, with c = sigma^2/(sigma^2 + v alpha^2) and
    v = `DETAIL_VARIANCE`. Any v is unbiased; a good one cuts the variance.

    Args:
        model: the model.
        schedule, x0, time, draw: as in `elbo`.

    Returns:
        Values (n,), in nats.
    """
    t, density = time.sample(draw.u)
    level = schedule.at(t)
    x_t = append_dims(level.alpha, x0) * x0 + append_dims(level.sigma, x0) * draw.eps
    s = model.score(x_t, t, schedule)
    d = x0[0].numel()
    integrand = -level.g2 * (0.5 * _dot(s, s) + _dot(s, draw.eps) / level.sigma) + d * level.drift
    seen = level.sigma**2 / (level.sigma**2 + DETAIL_VARIANCE * level.alpha**2)
    control = level.g2 / level.sigma**2 * (2 * seen - seen**2) * (d - _dot(draw.eps, draw.eps)) / 2
    integrand = integrand + torch.where(t > time.t_eps, control, 0.0)
    return _log_prior(schedule, x0, time, draw) + integrand / density


def _log_prior(schedule: Schedule, x0: Tensor, time: UniformTime | DebiasedTime, draw: ElboDraw) -> Tensor:
    last = schedule.at(torch.as_tensor(time.T, dtype=x0.dtype, device=x0.device))
    x_T = last.alpha * x0 + last.sigma * draw.eps_T
    return log_normal(x_T, schedule.prior_std(float(time.T)), 1)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).flatten(1).sum(1)
