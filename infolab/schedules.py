"""Noise schedules: what x_t = alpha_t x0 + sigma_t eps is at time t, with derivatives and inverse."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from infolab.errors import UserError

# ----------
# Noise schedules: what x_t = alpha_t x0 + sigma_t eps is at time t, with derivatives and inverse.


@dataclass(frozen=True)
class ScheduleValues:
    """A schedule's values and derivatives at times t; every tensor has the shape of t.

    The forward process is dx = drift x dt + sqrt(g2) dw, and x_t = alpha x0 + sigma eps with eps ~ N(0, I).

    Attributes:
        t: time.
        alpha: signal amplitude alpha_t.
        sigma: noise standard deviation sigma_t.
        logsnr: log(alpha^2 / sigma^2).
        drift: d log(alpha) / dt.
        g2: squared diffusion coefficient g(t)^2 = -sigma^2 dlogsnr/dt.
        dalpha_dt: derivative of alpha in t.
        dsigma_dt: derivative of sigma in t.
        dlogsnr_dt: derivative of logsnr in t.
    """

    t: Tensor
    alpha: Tensor
    sigma: Tensor
    logsnr: Tensor
    drift: Tensor
    g2: Tensor
    dalpha_dt: Tensor
    dsigma_dt: Tensor
    dlogsnr_dt: Tensor


class Schedule(Protocol):
    """What every schedule offers; tensors in, tensors of the same shape, dtype and device out."""

    def at(self, t: Tensor) -> ScheduleValues:
        """Return values and derivatives at times t."""

    def t_to_logsnr(self, t: Tensor) -> Tensor:
        """Return log(alpha_t^2 / sigma_t^2)."""

    def logsnr_to_t(self, logsnr: Tensor) -> Tensor:
        """Return the time at which the log-SNR is `logsnr`."""

    def prior_std(self, T: float) -> float:
        """Return the standard deviation of the prior N(0, std^2 I) that stands for the distribution of x_T."""


def append_dims(t: Tensor, x: Tensor) -> Tensor:
    """Reshape t (batch shape, the leading dimensions of x) so that it broadcasts against x.

    >>> append_dims(torch.zeros(5), torch.zeros(5, 3, 8, 8)).shape
    torch.Size([5, 1, 1, 1])
    """
    return t.reshape(t.shape + (1,) * (x.ndim - t.ndim))


def logsnr_to_alpha_sigma(logsnr: Tensor) -> tuple[Tensor, Tensor]:
    """Return alpha = sqrt(s(a)) and sigma = sqrt(s(-a)) at log-SNR a, s the sigmoid (Kong et al. 2023, eq. 1)."""
    return torch.exp(logsigmoid(logsnr) / 2), torch.exp(logsigmoid(-logsnr) / 2)


def values_of_logsnr(t: Tensor, logsnr: Tensor, slope: Tensor) -> ScheduleValues:
    """The level of the variance-preserving schedule with this log-SNR and its derivative in t."""
    alpha, sigma = logsnr_to_alpha_sigma(logsnr)
    drift = slope * sigma**2 / 2
    return ScheduleValues(
        t=t,
        alpha=alpha,
        sigma=sigma,
        logsnr=logsnr,
        drift=drift,
        g2=-slope * sigma**2,
        dalpha_dt=drift * alpha,
        dsigma_dt=-slope * sigma * alpha**2 / 2,
        dlogsnr_dt=slope,
    )


@dataclass(frozen=True)
class VP:
    """Variance preserving SDE, dx = -beta/2 x dt + sqrt(beta) dw (Song et al. 2021, eq. 11).

    The rate is beta(t) = b0 + (b1 - b0) t. Time may exceed 1: the linear beta goes on.

    Attributes:
        beta_min: b0 > 0.
        beta_max: b1 >= b0, the rate at t = 1.
    """

    beta_min: float = 0.1
    beta_max: float = 20.0

    def __post_init__(self) -> None:
        if not 0 < self.beta_min <= self.beta_max < math.inf:
            raise UserError(f"beta_min={self.beta_min}, beta_max={self.beta_max}: expected 0 < beta_min <= beta_max")

    def beta(self, t: Tensor) -> Tensor:
        """Return beta(t) = b0 + (b1 - b0) t."""
        return self.beta_min + (self.beta_max - self.beta_min) * t

    def beta_integral(self, t: Tensor) -> Tensor:
        """Return B(t) = b0 t + (b1 - b0) t^2 / 2."""
        return t * (self.beta_min + (self.beta_max - self.beta_min) * t / 2)

    def at(self, t: Tensor) -> ScheduleValues:
        """Return values and derivatives at t: alpha = exp(-B/2), sigma^2 = 1 - exp(-B)."""
        beta, B = self.beta(t), self.beta_integral(t)
        alpha, variance = torch.exp(-B / 2), -torch.expm1(-B)
        sigma = variance.sqrt()
        return ScheduleValues(
            t=t,
            alpha=alpha,
            sigma=sigma,
            logsnr=-(B + torch.log(variance)),
            drift=-beta / 2,
            g2=beta,
            dalpha_dt=-beta / 2 * alpha,
            dsigma_dt=beta * torch.exp(-B) / (2 * sigma),
            dlogsnr_dt=-beta / variance,
        )

    def t_to_logsnr(self, t: Tensor) -> Tensor:
        """Return -log(expm1(B)) as -(B + log(1 - exp(-B))), which does not overflow."""
        B = self.beta_integral(t)
        return -(B + torch.log(-torch.expm1(-B)))

    def logsnr_to_t(self, logsnr: Tensor) -> Tensor:
        """Return t with B(t) = softplus(-logsnr), the root in the form 2 B / (b0 + sqrt(b0^2 + 2 (b1 - b0) B))."""
        B = -logsigmoid(logsnr)
        return 2 * B / (self.beta_min + torch.sqrt(self.beta_min**2 + 2 * (self.beta_max - self.beta_min) * B))

    def prior_std(self, T: float) -> float:
        """Return 1 at every T."""
        return 1.0


@dataclass(frozen=True)
class VE:
    """Variance exploding SDE, dx = c^t dw, std(t)^2 = (c^(2t) - 1) / (2 log c) (Li et al. 2023's replication).

    Attributes:
        c: base > 1 of the diffusion coefficient.
    """

    c: float = 25.0

    def __post_init__(self) -> None:
        if not 1 < self.c < math.inf:
            raise UserError(f"c={self.c}: expected a finite number above 1")

    def at(self, t: Tensor) -> ScheduleValues:
        """Return values and derivatives at t: alpha = 1, sigma = std(t), g = c^t."""
        rate = 2 * math.log(self.c)
        variance = torch.expm1(rate * t) / rate
        sigma, g2 = variance.sqrt(), torch.exp(rate * t)
        zero = torch.zeros_like(t)
        return ScheduleValues(
            t=t,
            alpha=torch.ones_like(t),
            sigma=sigma,
            logsnr=self.t_to_logsnr(t),
            drift=zero,
            g2=g2,
            dalpha_dt=zero,
            dsigma_dt=g2 / (2 * sigma),
            dlogsnr_dt=rate / torch.expm1(-rate * t),
        )

    def t_to_logsnr(self, t: Tensor) -> Tensor:
        """Return -2 log std(t) as -(y + log(1 - exp(-y)) - log(2 log c)), y = 2 t log c, which does not overflow."""
        rate = 2 * math.log(self.c)
        return math.log(rate) - rate * t - torch.log(-torch.expm1(-rate * t))

    def logsnr_to_t(self, logsnr: Tensor) -> Tensor:
        """Return t = log1p(2 log c exp(-logsnr)) / (2 log c)."""
        rate = 2 * math.log(self.c)
        return -logsigmoid(logsnr - math.log(rate)) / rate

    def prior_std(self, T: float) -> float:
        """Return std(T)."""
        rate = 2 * math.log(self.c)
        return math.sqrt(math.expm1(rate * T) / rate)


@dataclass(frozen=True, eq=False)
class DDPM:
    """Discrete schedule of N steps, abar_i = prod_{s <= i} (1 - beta_s), log-SNR = logit(abar) (Ho et al. 2020).

    Time is the step i in [0, N - 1]; between steps the log-SNR is interpolated linearly in i, per sample. Beyond the
    ends it is held, since a network was trained on these steps only.

    Attributes:
        betas: (N,) float64 in (0, 1).
        time_per_step: what the time that a network is fed grows by at each step: 1 for DDPM, 1,000 / N for IDDPM.
    """

    betas: Tensor
    time_per_step: float = 1.0

    def __post_init__(self) -> None:
        betas = torch.as_tensor(self.betas).detach().cpu().double()
        if betas.ndim != 1 or len(betas) < 2 or not bool(((betas > 0) & (betas < 1)).all()):
            raise UserError("betas: expected at least two numbers between 0 and 1 in one dimension")
        object.__setattr__(self, "betas", betas)

    @classmethod
    def linear(
        cls, steps: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02, time_per_step: float = 1.0
    ) -> "DDPM":
        """Return betas on a line from beta_start to beta_end (Ho et al. 2020; Hugging Face `ddpm-cifar10-32`)."""
        return cls(torch.linspace(beta_start, beta_end, steps, dtype=torch.float64), time_per_step)

    @classmethod
    def cosine(cls, steps: int = 4000, offset: float = 0.008) -> "DDPM":
        """Return IDDPM's beta_i = min(1 - abar((i+1)/N) / abar(i/N), 0.999), time 1,000 / N a step.

        abar(u) = cos^2((u+o)/(1+o) pi/2) up to a factor (Nichol and Dhariwal 2021, eq. 17); its own code feeds step i,
        of signal abar((i+1)/N), as the time 1,000 i / N (`rescale_timesteps` of improved-diffusion).
        """
        u = torch.arange(steps + 1, dtype=torch.float64) / steps
        abar = torch.cos((u + offset) / (1 + offset) * math.pi / 2) ** 2
        return cls((1 - abar[1:] / abar[:-1]).clamp(max=0.999), 1000 / steps)

    @property
    def steps(self) -> int:
        """Number of steps N."""
        return len(self.betas)

    @cached_property
    def log_abar(self) -> Tensor:
        """Cumulative sum of log(1 - beta), (N,) float64."""
        return torch.log1p(-self.betas).cumsum(0)

    @cached_property
    def abar(self) -> Tensor:
        """Cumulative product of 1 - beta, (N,) float64."""
        return self.log_abar.exp()

    @cached_property
    def alpha(self) -> Tensor:
        """Signal amplitude of every step, sqrt(abar), (N,) float64."""
        return torch.exp(self.log_abar / 2)

    @cached_property
    def sigma(self) -> Tensor:
        """Noise standard deviation of every step, sqrt(1 - abar), (N,) float64, exact where abar is near 1."""
        return torch.sqrt(-torch.expm1(self.log_abar))

    @cached_property
    def logsnr(self) -> Tensor:
        """Log-SNR of every step, logit(abar), (N,) float64, decreasing."""
        return self.log_abar - torch.log(-torch.expm1(self.log_abar))

    def _piece(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return the log-SNR at steps t and its slope there."""
        knots = self.logsnr.to(t)
        i = t.floor().clamp(0, self.steps - 2).long()
        slope = knots[i + 1] - knots[i]
        inside = (t >= 0) & (t <= self.steps - 1)  # beyond the ends the log-SNR is held
        return knots[i] + slope * (t.clamp(0, self.steps - 1) - i), torch.where(inside, slope, 0.0)

    def at(self, t: Tensor) -> ScheduleValues:
        """Return values and derivatives of the interpolated schedule: alpha^2 = s(logsnr), sigma^2 = s(-logsnr)."""
        return values_of_logsnr(t, *self._piece(t))

    def t_to_logsnr(self, t: Tensor) -> Tensor:
        """Return the log-SNR at (fractional) steps t."""
        return self._piece(t)[0]

    def logsnr_to_t(self, logsnr: Tensor) -> Tensor:
        """Return the fractional step of each log-SNR, in [0, N - 1]."""
        knots = self.logsnr.to(logsnr)
        right = torch.searchsorted(-knots, -logsnr.contiguous()).clamp(1, self.steps - 1)
        left = right - 1
        fraction = (logsnr - knots[left]) / (knots[right] - knots[left])
        return left + fraction.clamp(0, 1)

    def prior_std(self, T: float) -> float:
        """Return 1."""
        return 1.0


# ----------
# The variance-preserving schedule whose log-SNR falls on a line: the natural time of a denoiser eps_hat(z, logsnr).


@dataclass(frozen=True)
class LogsnrLine:
    """logsnr(t) = high - (high - low) t for t in [0, 1], alpha^2 = s(logsnr), sigma^2 = s(-logsnr).

    With the score -eps_hat/sigma both the probability-flow ODE and the reverse SDE are smooth in this time, where in
    that of a linear beta they are singular at the data. At t = 0 the data is left with the noise of log-SNR `high`.

    Attributes:
        high: log-SNR at t = 0.
        low: log-SNR at t = 1, below `high`; the prior N(0, I) is good to about exp(low) / 2 nats a dimension.
    """

    high: float = 12.0
    low: float = -12.0

    def __post_init__(self) -> None:
        if not -math.inf < self.low < self.high < math.inf:
            raise UserError(f"low={self.low}, high={self.high}: expected finite log-SNRs with low < high")

    def at(self, t: Tensor) -> ScheduleValues:
        """Return values and derivatives at times t."""
        return values_of_logsnr(t, self.t_to_logsnr(t), torch.full_like(t, self.low - self.high))

    def t_to_logsnr(self, t: Tensor) -> Tensor:
        """Return high - (high - low) t."""
        return self.high + (self.low - self.high) * t

    def logsnr_to_t(self, logsnr: Tensor) -> Tensor:
        """Return (high - logsnr) / (high - low)."""
        return (self.high - logsnr) / (self.high - self.low)

    def prior_std(self, T: float) -> float:
        """Return 1 at every T."""
        return 1.0
