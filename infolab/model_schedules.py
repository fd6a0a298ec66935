"""Schedules that users' models were trained on: EDM's sigma, rectified flow, cosine, and any alpha(t), sigma(t)."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from infolab.errors import UserError
from infolab.schedules import DDPM, VP, LogsnrLine, Schedule, ScheduleValues, values_of_logsnr


def _level(t: Tensor, alpha: Tensor, sigma: Tensor, dalpha: Tensor, dsigma: Tensor) -> ScheduleValues:
    """The level of any alpha(t) > 0 and sigma(t) > 0 with their derivatives."""
    drift = dalpha / alpha
    slope = 2 * (drift - dsigma / sigma)
    return ScheduleValues(
        t=t,
        alpha=alpha,
        sigma=sigma,
        logsnr=2 * (alpha.log() - sigma.log()),
        drift=drift,
        g2=-(sigma**2) * slope,
        dalpha_dt=dalpha,
        dsigma_dt=dsigma,
        dlogsnr_dt=slope,
    )


@dataclass(frozen=True)
class EDM:
    """x_sigma = x0 + sigma eps, time being sigma itself (Karras et al. 2022)."""

    def at(self, t: Tensor) -> ScheduleValues:
        """Return values and derivatives at sigma = t > 0."""
        one = torch.ones_like(t)
        return _level(t, one, t, torch.zeros_like(t), one)

    def t_to_logsnr(self, t: Tensor) -> Tensor:
        """Return -2 log sigma."""
        return -2 * t.log()

    def logsnr_to_t(self, logsnr: Tensor) -> Tensor:
        """Return exp(-logsnr / 2)."""
        return torch.exp(-logsnr / 2)

    def prior_std(self, T: float) -> float:
        """Return T: x_T is N(0, T^2) where T is large beside the data."""
        return T


@dataclass(frozen=True)
class RectifiedFlow:
    """x_t on the straight line between data and noise (Liu et al. 2023; Lipman et al. 2023).

    Attributes:
        noise_first: False: x_t = (1 - t) x0 + t eps, data at t = 0 (rectified flow, Stable Diffusion 3); True:
            x_t = t x0 + (1 - t) eps, noise at t = 0 (flow matching). The velocity is dx_t/dt in either.
    """

    noise_first: bool = False

    def at(self, t: Tensor) -> ScheduleValues:
        """Return values and derivatives at t in (0, 1)."""
        one = torch.ones_like(t)
        if self.noise_first:
            return _level(t, t, 1 - t, one, -one)
        return _level(t, 1 - t, t, -one, one)

    def t_to_logsnr(self, t: Tensor) -> Tensor:
        """Return 2 log((1 - t) / t), or the negative."""
        falling = 2 * (torch.log1p(-t) - t.log())
        return -falling if self.noise_first else falling

    def logsnr_to_t(self, logsnr: Tensor) -> Tensor:
        """Return s(-logsnr / 2), the share of noise, or s(logsnr / 2), that of data."""
        return torch.sigmoid(logsnr / 2 if self.noise_first else -logsnr / 2)

    def prior_std(self, T: float) -> float:
        """Return 1, the noise at the far end."""
        return 1.0


@dataclass(frozen=True)
class Cosine:
    """alpha_t = cos(pi t / 2), sigma_t = sin(pi t / 2) (Nichol and Dhariwal 2021 without offset; Salimans and Ho 2022).

    log-SNR = -2 log tan(pi t / 2).
    """

    def at(self, t: Tensor) -> ScheduleValues:
        """Return values and derivatives at t in (0, 1)."""
        angle = t * (math.pi / 2)
        slope = -2 * math.pi / torch.sin(2 * angle)
        return values_of_logsnr(t, self.t_to_logsnr(t), slope)

    def t_to_logsnr(self, t: Tensor) -> Tensor:
        """Return -2 log tan(pi t / 2)."""
        return -2 * torch.tan(t * (math.pi / 2)).log()

    def logsnr_to_t(self, logsnr: Tensor) -> Tensor:
        """Return (2 / pi) atan(exp(-logsnr / 2))."""
        return torch.atan(torch.exp(-logsnr / 2)) * (2 / math.pi)

    def prior_std(self, T: float) -> float:
        """Return 1."""
        return 1.0


@dataclass(frozen=True)
class Given:
    """Any alpha(t) and sigma(t), differentiable, whose log-SNR falls or rises all the way; its inverse by bisection.

    Attributes:
        alpha, sigma: functions of t (a tensor), positive inside.
        first, last: the times between which they are meant.
    """

    alpha: Callable[[Tensor], Tensor]
    sigma: Callable[[Tensor], Tensor]
    first: float = 0.0
    last: float = 1.0

    def __post_init__(self) -> None:
        t = torch.linspace(self.first, self.last, 203, dtype=torch.float64)[1:-1]
        steps = self.t_to_logsnr(t).diff()
        if not bool(torch.isfinite(steps).all()) or not (bool((steps > 0).all()) or bool((steps < 0).all())):
            raise UserError(
                f"alpha(t) and sigma(t) between {self.first:g} and {self.last:g}: expected positive functions whose "
                "ratio falls, or rises, all the way"
            )

    def at(self, t: Tensor) -> ScheduleValues:
        """Return values, and derivatives by automatic differentiation, at t."""
        alpha, dalpha = torch.func.jvp(self.alpha, (t,), (torch.ones_like(t),))[:2]
        sigma, dsigma = torch.func.jvp(self.sigma, (t,), (torch.ones_like(t),))[:2]
        return _level(t, alpha, sigma, dalpha, dsigma)

    def t_to_logsnr(self, t: Tensor) -> Tensor:
        """Return 2 log(alpha / sigma)."""
        return 2 * (self.alpha(t).log() - self.sigma(t).log())

    def logsnr_to_t(self, logsnr: Tensor) -> Tensor:
        """Return the time of each log-SNR to float64's rounding; beyond the ends the nearer end."""
        wanted = logsnr.double()
        low, high = (torch.full_like(wanted, float(end)) for end in (self.first, self.last))
        middle = torch.tensor([0.25, 0.75], dtype=torch.float64) * (self.last - self.first) + self.first
        falls = bool(self.t_to_logsnr(middle).diff() < 0)
        for _ in range(60):
            t = (low + high) / 2
            before = (self.t_to_logsnr(t) > wanted) == falls  # the time that is sought comes later
            low, high = torch.where(before, t, low), torch.where(before, high, t)
        return ((low + high) / 2).to(logsnr)

    def prior_std(self, T: float) -> float:
        """Return sigma(T)."""
        return float(self.sigma(torch.tensor(float(T), dtype=torch.float64)))


def preserves_variance(schedule: Schedule | None) -> bool:
    """Whether alpha^2 + sigma^2 = 1 at every time by construction, so that x_t is the channel's z as it stands.

    None is the channel itself.
    """
    return schedule is None or isinstance(schedule, (VP, DDPM, LogsnrLine, Cosine))
