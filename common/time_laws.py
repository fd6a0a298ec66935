"""Laws that times of the diffusion are drawn from: uniform, or uniform in log-SNR."""

from dataclasses import dataclass

import torch
from torch import Tensor

from common.schedules import Schedule


@dataclass(frozen=True)
class UniformTime:
    """Times uniform on (0, T); T a float or a tensor that broadcasts with u."""

    T: float | Tensor = 1.0

    def sample(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Map uniforms u in (0, 1) to t = T u and its density 1/T, both in the broadcast shape."""
        T = torch.as_tensor(self.T, dtype=u.dtype, device=u.device)
        t = T * u
        return t, (1 / T).expand_as(t)


@dataclass(frozen=True)
class DebiasedTime:
    """Times on (0, T) with density proportional to g^2/sigma^2, flat below t_eps (Huang, Lim, Courville 2021, app. C).

    g^2/sigma^2 = -dlogsnr/dt, so above t_eps the log-SNR is uniform and the inverse CDF is closed form. The density is
    continuous at t_eps. With the weight 1/(T p(t)) a mean over these t is a mean over t ~ U(0, T).

    Attributes:
        schedule: VP or VE.
        T: end of time, a float or a tensor that broadcasts with u.
        t_eps: end of the flat part (all is flat where T <= t_eps).
    """

    schedule: Schedule
    T: float | Tensor = 1.0
    t_eps: float = 1e-3

    def sample(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Map uniforms u in (0, 1) to times t and their density p(t), both in the broadcast shape."""
        T = torch.as_tensor(self.T, dtype=u.dtype, device=u.device)
        u = u.clamp(min=2.0**-25)  # generators may return 0, where sigma = 0 and the log-SNR is infinite
        t_eps = T.clamp(max=self.t_eps)
        start = self.schedule.at(t_eps)
        flat = -start.dlogsnr_dt * t_eps
        total = flat + start.logsnr - self.schedule.t_to_logsnr(T)
        mass = u * total
        above = self.schedule.logsnr_to_t(start.logsnr - (mass - flat).clamp(min=0))
        t = torch.where(mass < flat, mass / flat * t_eps, above)
        t = torch.minimum(t, T)  # rounding may lead one ulp past the end
        density = -self.schedule.at(torch.maximum(t, t_eps)).dlogsnr_dt / total
        return t, density
