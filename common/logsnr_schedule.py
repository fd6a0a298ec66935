"""The variance-preserving schedule whose log-SNR falls on a line: the natural time of a denoiser eps_hat(z, logsnr)."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from common.errors import UserError
from common.schedules import Level, level_of_logsnr


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

    def at(self, t: Tensor) -> Level:
        """Return values and derivatives at times t."""
        return level_of_logsnr(t, self.t_to_logsnr(t), torch.full_like(t, self.low - self.high))

    def t_to_logsnr(self, t: Tensor) -> Tensor:
        """Return high - (high - low) t."""
        return self.high + (self.low - self.high) * t

    def logsnr_to_t(self, logsnr: Tensor) -> Tensor:
        """Return (high - logsnr) / (high - low)."""
        return (self.high - logsnr) / (self.high - self.low)

    def prior_std(self, T: float) -> float:
        """Return 1 at every T."""
        return 1.0
