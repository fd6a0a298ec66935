"""The type of the model: a network in whatever convention it was trained, as a denoiser in the lab's channel."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from infolab.device import to_double
from infolab.errors import UserError, check_choice
from infolab.schedules import (
    DDPM,
    LogsnrLine,
    Schedule,
    ScheduleValues,
    append_dims,
    logsnr_to_alpha_sigma,
    values_of_logsnr,
)

# ----------
# One type for the model: a network in whatever convention it was trained, as a denoiser in the lab's channel.
#
# The channel is z = sqrt(s(a)) x + sqrt(s(-a)) eps at log-SNR a, s the sigmoid. A network was trained on x_t = alpha_t
# x + sigma_t eps of some schedule, is told the time in some way, and predicts something that with x_t gives eps. All
# of that is linear: x_t = sqrt(alpha_t^2 + sigma_t^2) z at the time whose log-SNR is a.

PREDICTS = ("eps", "-eps", "x0", "v", "-v", "score", "flow", "-flow", "edm", "edm-raw")
"""What a network may predict: the noise, the data, v = alpha eps - sigma x0 (alpha^2 + sigma^2 = 1), the score of x_t,
the velocity dx_t/dt of its schedule, EDM's D(x; sigma) (the data) or its raw F under EDM's preconditioning; with -, the
negative."""
Time = Callable[[ScheduleValues], Tensor]
TIMES: dict[str, Time] = {
    "t": lambda level: level.t,
    "1000t": lambda level: 1000 * level.t,
    "sigma": lambda level: level.sigma,
    "log-sigma/4": lambda level: level.sigma.log() / 4,
    "logsnr": lambda level: level.logsnr,
}
"""What a network may be told of the time, from the level of its schedule; (n,), float."""


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


class Denoiser(nn.Module):
    """A network as a denoiser in the channel.

    Args:
        network: called with x_t (n, ...) and the time (n,), and conditions by name; returns a tensor like x_t, or
            something with `sample` (as diffusers' models do).
        predicts: one of `PREDICTS`.
        schedule: of its training; None: the channel itself, time being the log-SNR.
        time: what it is told of the time: a key of `TIMES`, or a function of the schedule's `Level`. Default: t; for a
            discrete schedule the step, between two of which it is interpolated (`DDPM.logsnr_to_network_t`).
        sigma_data: of EDM's preconditioning (`edm-raw`).

    Raises:
        UserError: an unknown word.

    >>> unit_normal = Denoiser(lambda x, t: torch.zeros_like(x), "v")
    >>> found = unit_normal(torch.tensor([[0.5]]), torch.tensor([0.0]))
    >>> round(float(found.x0_hat), 4), round(float(found.eps_hat), 4)
    (0.3536, 0.3536)
    """

    def __init__(
        self,
        network: Callable[..., Any],
        predicts: str = "eps",
        schedule: Schedule | None = None,
        time: str | Time = "",
        sigma_data: float = 0.5,
    ):
        super().__init__()
        check_choice("prediction", predicts, PREDICTS)
        self.network, self.predicts, self.sigma_data = network, predicts, sigma_data
        self.schedule = schedule
        if schedule is None:
            time = time or "logsnr"
        self.time = TIMES[check_choice("time", time, tuple(TIMES))] if isinstance(time, str) and time else time

    def forward(self, z: Tensor, logsnr: Tensor, **condition: Any) -> Prediction:
        """What the network says of z (n, ...) at log-SNRs a (n,), in the channel."""
        level = self.level(logsnr)
        return self.read(self.output(z, level, **condition), z, logsnr, level)

    def eps(self, z: Tensor, logsnr: Tensor, **condition: Any) -> Tensor:
        """eps_hat alone, the function that `infolab.immse` and the like take."""
        return self(z, logsnr, **condition).eps_hat

    def score(self, x_t: Tensor, t: Tensor, schedule: Schedule, **condition: Any) -> Tensor:
        """The score of x_t = alpha_t x + sigma_t eps at times t (n,) of any schedule, -eps_hat / sigma_t."""
        level = schedule.at(t)
        z = x_t / append_dims(torch.hypot(level.alpha, level.sigma), x_t)
        return -self.eps(z, level.logsnr, **condition) / append_dims(level.sigma, x_t)

    def level(self, logsnr: Tensor) -> ScheduleValues:
        """The level of the network's own schedule at log-SNRs (n,), float64 (on the CPU where a device has none)."""
        schedule = self.schedule or LogsnrLine(high=1.0, low=-1.0)
        return schedule.at(schedule.logsnr_to_t(to_double(logsnr)))

    def output(self, z: Tensor, level: ScheduleValues, **condition: Any) -> Tensor:
        """The network's own output at x_t, the channel's z on the scale of its schedule.

        Raises:
            UserError: it is no tensor like x_t.
        """
        scale = torch.hypot(level.alpha, level.sigma)
        x_t = append_dims(scale.to(z), z) * z
        sigma = level.sigma
        if self.predicts == "edm-raw":
            x_t = append_dims(torch.rsqrt(sigma**2 + self.sigma_data**2).to(z), z) * x_t
        found = self.network(x_t, self._told(level).to(z), **condition)
        found = getattr(found, "sample", found)
        if not isinstance(found, Tensor) or found.shape != z.shape:
            what = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
            raise UserError(
                f"the network returned {what}: expected a tensor of shape {tuple(z.shape)}, as it was given"
            )
        return found

    def read(self, output: Tensor, z: Tensor, logsnr: Tensor, level: ScheduleValues, predicts: str = "") -> Prediction:
        """What an output means, taken as `predicts` (default: as told).

        Args:
            output: of the network at x_t.
            z: in the channel.
            logsnr: (n,).
            level: of its schedule there.
            predicts: one of `PREDICTS`.
        """
        kind = predicts or self.predicts
        sign, kind = (-1.0, kind[1:]) if kind.startswith("-") else (1.0, kind)
        out = sign * output
        if kind == "v":
            return read_vp("v", out, z, logsnr)
        if kind in ("x0", "edm", "edm-raw"):
            return read_vp("x0", self._preconditioned(out, z, level) if kind == "edm-raw" else out, z, logsnr)
        return read_vp("eps", self._eps(out, z, level, kind), z, logsnr)

    def _eps(self, out: Tensor, z: Tensor, level: ScheduleValues, kind: str) -> Tensor:
        if kind == "eps":
            return out
        if kind == "score":
            return -append_dims(level.sigma.to(z), z) * out
        # u = alpha' x0 + sigma' eps and c z = alpha x0 + sigma eps, c^2 = alpha^2 + sigma^2
        scale = torch.hypot(level.alpha, level.sigma)
        determinant = level.alpha * level.dsigma_dt - level.sigma * level.dalpha_dt
        of_u, of_z = level.alpha / determinant, -level.dalpha_dt * scale / determinant
        return append_dims(of_u.to(z), z) * out + append_dims(of_z.to(z), z) * z

    def _preconditioned(self, out: Tensor, z: Tensor, level: ScheduleValues) -> Tensor:
        """D = c_skip x + c_out F, c_skip = sd^2 / (sigma^2 + sd^2), c_out = sigma sd / sqrt(sigma^2 + sd^2)."""
        sigma, sd = level.sigma, self.sigma_data
        total = sigma**2 + sd**2
        skip = sd**2 / total * torch.hypot(level.alpha, sigma)
        return append_dims(skip.to(z), z) * z + append_dims((sigma * sd * torch.rsqrt(total)).to(z), z) * out

    def _told(self, level: ScheduleValues) -> Tensor:
        if not isinstance(self.time, str):
            return self.time(level)
        return self.schedule.logsnr_to_network_t(level.logsnr) if isinstance(self.schedule, DDPM) else level.t


# ----------
# Schedules that users' models were trained on: EDM's sigma, rectified flow, cosine, and any alpha(t), sigma(t).


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
