"""Points and weights on the log-SNR axis: the range, three integrators, and the error that each makes."""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from infolab.errors import UserError, check_choice
from infolab.noise import generator

INTEGRATORS = ("deterministic", "random", "rqmc")
SHIFTS = 5
"""Independent shifts of the randomised quasi-random rule; its error is read off their spread."""
PUBLISHED_C = 3 / math.pi
"""The c of the public code; 3/pi^2 would match the logistic's variance. The wider one costs a little variance only."""


@dataclass(frozen=True)
class LogsnrRange:
    """A logistic distribution of log-SNRs cut at low = loc - clip scale and high = loc + clip scale.

    Attributes:
        loc: location.
        scale: scale > 0.
        clip: cut, in units of scale; 4 as published.
        tail_nats: an estimate of what lies outside [low, high], 0 where nobody looked.
        evaluations: network evaluations that were spent on finding the ends.
    """

    loc: float
    scale: float
    clip: float = 4.0
    tail_nats: float = 0.0
    evaluations: int = 0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.loc) and 0 < self.scale < math.inf and 0 < self.clip < math.inf):
            raise UserError(
                f"log-SNR range of loc {self.loc}, scale {self.scale}, clip {self.clip}: expected finite numbers, "
                "scale and clip above 0"
            )

    @property
    def low(self) -> float:
        """Left end."""
        return self.loc - self.clip * self.scale

    @property
    def high(self) -> float:
        """Right end."""
        return self.loc + self.clip * self.scale

    def sample(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Map uniforms u in (0, 1), of any shape, to log-SNRs and weights 1/density: E_u[weight f(a)] = Int f da.

        a = loc + scale logit(s(-clip) + u (s(clip) - s(-clip))), weight = scale tanh(clip/2) / (s(v) s(-v)) with
        v = (a - loc)/scale, since s(clip) - s(-clip) = tanh(clip/2) (Kong et al. 2023, app. B).
        """
        edge = 1 / (1 + math.exp(self.clip))
        p = edge + (1 - 2 * edge) * u
        v = torch.logit(p)
        return self.loc + self.scale * v, self.scale * math.tanh(self.clip / 2) / (p * (1 - p))

    @classmethod
    def from_spectrum(cls, eigenvalues: Tensor, c: float = PUBLISHED_C, clip: float = 4.0) -> "LogsnrRange":
        """loc = -mean(log l), scale = sqrt(1 + c Var(log l)) of a spectrum (population variance).

        Raises:
            UserError: an eigenvalue that is not positive: give the reference a floor first.

        >>> LogsnrRange.from_spectrum(torch.ones(3))
        LogsnrRange(loc=0.0, scale=1.0, clip=4.0, tail_nats=0.0, evaluations=0)
        """
        if not bool((eigenvalues > 0).all()):
            raise UserError("a log-SNR range of a spectrum with zeros: give the reference a floor (D^2/12 for a grid)")
        logs = eigenvalues.double().log()
        return cls(0.0 - float(logs.mean()), math.sqrt(1 + c * float(logs.var(correction=0))), clip)

    @classmethod
    def from_ends(cls, low: float, high: float, clip: float = 4.0) -> "LogsnrRange":
        """The range from low to high.

        Raises:
            UserError: low is not below high.
        """
        if not low < high:
            raise UserError(f"log-SNR range from {low} to {high}: expected low < high")
        return cls((low + high) / 2, (high - low) / (2 * clip), clip)

    @classmethod
    def from_curve(cls, logsnr: Tensor, mse: Tensor, d: int, clip: float = 4.0) -> "LogsnrRange":
        """loc where the rising side of a measured curve crosses d/2, scale = (a_{d/2} - a_{d/4}) / log 3.

        On a logistic curve d s((a - loc)/scale) this is exact. The curve of discrete data falls back to 0 at high
        log-SNR: read the dequantised one.

        Args:
            logsnr: increasing (J,).
            mse: mean |eps - eps_hat|^2 (J,).
            d: dimensions.
            clip: see the class.

        Raises:
            UserError: the curve does not cross d/4 and d/2.
        """
        half, quarter = _crossing(logsnr, mse, d / 2), _crossing(logsnr, mse, d / 4)
        if half is None or quarter is None or not quarter < half:
            raise UserError(f"the curve does not rise through {d / 4:g} and {d / 2:g}: measure it on a wider range")
        return cls(half, (half - quarter) / math.log(3), clip)


@dataclass(frozen=True, eq=False)
class LogsnrGrid:
    """Points a_j, increasing, and weights w_j with sum_j w_j f(a_j) ~ Int f da over the range.

    Attributes:
        logsnr: (J,) float64.
        weights: (J,) float64.
        integrator: one of `INTEGRATORS`.
        range: where the points lie.
        shift: (J,) which random shift each point belongs to (rqmc only; zeros otherwise).
    """

    logsnr: Tensor
    weights: Tensor
    integrator: str
    range: LogsnrRange
    shift: Tensor

    def __len__(self) -> int:
        return len(self.logsnr)

    def integrate(self, values: Tensor) -> Tensor:
        """sum_j w_j f_j of values (..., J), shape (...)."""
        return values.double() @ self.weights

    def coarse_rule_differences(self, values: Tensor) -> Tensor:
        """Integrals of values (..., J) by three rules, of every third point each, less that of all points, (..., 3).

        Three rules and not two: the error of a coarse rule goes like the cosine of where its points lie, and two
        rules half a step apart can both stand where it is 0.
        """
        coarse = torch.stack([self._every_third(k) for k in range(3)])
        return values.double() @ (coarse - self.weights).T

    def error(self, mean: Tensor, coarse_rule_se: Tensor | float = 0.0) -> float:
        """Error of the integral of the mean curve (J,).

        deterministic: a ninth of the error of the rules of three times the step (the amplitude, as seen in
        `coarse_rule_differences`),
        since the trapezoid rule's is of second order or better; what is noise in it is taken off in squares. random:
        sd / sqrt(J) of the weighted points. rqmc: sd / sqrt(R) of the R shifted rules.

        Args:
            mean: values (J,).
            coarse_rule_se: standard errors of `coarse_rule_differences(mean)`, (3,).
        """
        terms = self.weights * mean.double()
        if self.integrator == "deterministic":
            seen = (
                self.coarse_rule_differences(mean).square().sum()
                - (torch.as_tensor(coarse_rule_se) * torch.ones(3)).square().sum()
            )
            return math.sqrt(2 / 3 * max(0.0, float(seen))) / 9
        if self.integrator == "random":
            return float(terms.std()) * math.sqrt(len(self))
        parts = torch.zeros(SHIFTS, dtype=torch.float64).index_add(0, self.shift, SHIFTS * terms)
        return float(parts.std()) / math.sqrt(SHIFTS)

    def _every_third(self, first: int) -> Tensor:
        """Trapezoid weights (J,) on every third point and the two ends."""
        keep = torch.zeros(len(self), dtype=torch.bool)
        keep[first::3] = keep[0] = keep[-1] = True
        coarse = torch.zeros(len(self), dtype=torch.float64)
        coarse[keep] = _trapezoid(self.logsnr[keep])
        return coarse


def make_grid(
    logsnr_range: LogsnrRange, points: int = 100, integrator: str = "deterministic", seed: int = 0
) -> LogsnrGrid:
    """Return the points of one rule.

    deterministic: trapezoid rule with equal steps from low to high; the integrand is smooth and vanishes at both ends,
    so it converges faster than any power of the step. random: independent draws of the logistic, as published.
    rqmc: equal steps with a random shift, `SHIFTS` times.

    Args:
        logsnr_range: where.
        points: J; rqmc rounds it down to a multiple of `SHIFTS`.
        integrator: one of `INTEGRATORS`.
        seed: of random and rqmc.

    Raises:
        UserError: an unknown integrator, or fewer than 3 points (10 for rqmc).
    """
    check_choice("integrator", integrator, INTEGRATORS)
    least = 2 * SHIFTS if integrator == "rqmc" else 3
    if points < least:
        raise UserError(f"{points} log-SNR points: the {integrator} rule needs at least {least}")
    shift = torch.zeros(points, dtype=torch.long)
    source = generator(seed, "logsnr", integrator)
    if integrator == "deterministic":
        logsnr = torch.linspace(logsnr_range.low, logsnr_range.high, points, dtype=torch.float64)
        return LogsnrGrid(logsnr, _trapezoid(logsnr), integrator, logsnr_range, shift)
    if integrator == "random":
        u = torch.rand(points, generator=source, dtype=torch.float64).clamp(min=2.0**-40)
        logsnr, weights = logsnr_range.sample(u.sort().values)
        return LogsnrGrid(logsnr, weights / points, integrator, logsnr_range, shift)
    each = points // SHIFTS
    u = (torch.arange(each) + torch.rand(SHIFTS, 1, generator=source, dtype=torch.float64)) / each
    width = logsnr_range.high - logsnr_range.low
    logsnr, order = (logsnr_range.low + width * u).flatten().sort()
    weights = torch.full_like(logsnr, width / len(logsnr))
    return LogsnrGrid(logsnr, weights, integrator, logsnr_range, order // each)


def with_tail(logsnr_range: LogsnrRange, tail_nats: float, evaluations: int) -> LogsnrRange:
    """The same range with what is known of its tails."""
    return replace(logsnr_range, tail_nats=tail_nats, evaluations=evaluations)


def _trapezoid(points: Tensor) -> Tensor:
    gaps = points.diff() / 2
    zero = gaps.new_zeros(1)
    return torch.cat([gaps, zero]) + torch.cat([zero, gaps])


def _crossing(logsnr: Tensor, mse: Tensor, level: float) -> float | None:
    """The first log-SNR at which the curve rises through `level`, by linear interpolation."""
    above = torch.nonzero((mse[:-1] < level) & (mse[1:] >= level))
    if not len(above):
        return None
    i = int(above[0])
    share = (level - float(mse[i])) / float(mse[i + 1] - mse[i])
    return float(logsnr[i]) + share * float(logsnr[i + 1] - logsnr[i])
