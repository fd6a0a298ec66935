"""The exact density of a 1-D score model on a grid: probability-flow ODE, KL by quadrature, no sampling."""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from common.schedules import VP

ScoreAndSlope = Callable[[Tensor, float], tuple[Tensor, Tensor]]
"""(x (k, g), t) -> scores and their derivatives ds/dx, both (k, g)."""

GRID_STEP = 0.2
"""In units of the modes' standard deviation: the rule's error is below 1e-12 for the Gaussians themselves."""
GRID_REACH = 8.0
"""Standard deviations beyond the outermost modes."""


@dataclass(frozen=True)
class GridDensity:
    """Densities of k models on one uniform grid.

    Attributes:
        x: grid (g,).
        log_p: log densities (k, g), nats.
        x_T: where the flow carries the grid points (k, g), float64.
    """

    x: Tensor
    log_p: Tensor
    x_T: Tensor

    @property
    def step(self) -> float:
        """Distance of the grid's points."""
        return float(self.x[1] - self.x[0])

    def normalisation(self) -> Tensor:
        """Int p_theta over the grid by the trapezoid rule (k,)."""
        return torch.trapezoid(self.log_p.exp(), dx=self.step)

    def mass(self) -> Tensor:
        """The same mass without quadrature (k,): a flow in 1-D is monotone, so it is Phi(x_T) between the ends."""
        return torch.special.ndtr(self.x_T[:, -1]) - torch.special.ndtr(self.x_T[:, 0])

    def mass_right(self, at: float = 0.0) -> Tensor:
        """P_theta(x > at) = 1 - Phi(x_T), at the grid point nearest to `at` (k,)."""
        return torch.special.ndtr(-self.x_T[:, int((self.x - at).abs().argmin())])

    def kl(self, log_p0: Tensor) -> Tensor:
        """KL(p0 || p_theta) = Int p0 (log p0 - log p_theta) by the trapezoid rule (k,), nats.

        Args:
            log_p0: the true log density on the grid, (g,) or (k, g).
        """
        return torch.trapezoid(log_p0.exp() * (log_p0 - self.log_p), dx=self.step)


def mode_grid(reach: float, std: float = 1.0, step: float = GRID_STEP) -> Tensor:
    """A uniform grid with 0 on it that covers modes at distance up to `reach` from 0, (g,) float64."""
    half = math.ceil((reach + GRID_REACH * std) / (step * std))
    return torch.arange(-half, half + 1, dtype=torch.float64) * (step * std)


def flow_steps(reach: float, std: float = 1.0) -> int:
    """Steps of the ODE for modes at distance up to `reach`: with the exact score the KL is then good to 3e-5.

    Between two modes at -mu and mu the flow contracts at the rate (mu / std)^2, which a step must resolve; modes that
    are narrower than the prior widen by a factor 1 / std.
    """
    return max(32, math.ceil(6 * reach / std), math.ceil(32 - 32 * math.log(std)))


def flow_times(schedule: VP, T: float, steps: int, std: float = 1.0) -> list[float]:
    """Times 0 .. T at equal distances of v = (sigma^2/sigma_T^2 + B/B_T) / 2, B the integral of beta.

    A mixture's score varies evenly with sigma^2; where sigma is near 1, with B; where modes are narrower than the prior
    (`std` below 1), with log(1 + sigma^2 / std^2), which then stands for sigma^2.
    """
    t = torch.linspace(0, T, 20 * steps + 1, dtype=torch.float64)
    if std < 1:
        t = torch.cat([t[:1], T * torch.logspace(math.log10(std**2) - 4, 0, 20 * steps, dtype=torch.float64)])
    B = schedule.beta_integral(t)
    variance = torch.expm1(-B) / torch.expm1(-B[-1])
    if std < 1:
        variance = torch.log1p(-torch.expm1(-B) / std**2)
        variance = variance / variance[-1]
    v = (variance + B / B[-1]) / 2
    return np.interp(np.linspace(0, 1, steps + 1), v.numpy(), t.numpy()).tolist()


@torch.no_grad()
def grid_density(
    score: ScoreAndSlope,
    schedule: VP,
    x: Tensor,
    models: int,
    *,
    T: float = 1.0,
    steps: int = 32,
    dtype: torch.dtype,
    tick: Callable[[], None] = lambda: None,
    std: float = 1.0,
) -> GridDensity:
    """Densities of `models` score models on the grid x (g,) by the probability-flow ODE, all in one batch.

    dx/dt = -beta/2 (x + s), d log p/dt along it = beta/2 (1 + ds/dx), prior N(0, 1) at T, by `steps` steps of the
    classical Runge-Kutta rule at `flow_times`: 4 evaluations each, none of them chosen by the worst of the models. A
    model whose flow overflows gets values that are not finite, the others do not notice.

    Args:
        score: scores and slopes of all models at one time.
        schedule: the forward process.
        x: grid, float64.
        models: k.
        T: diffusion time.
        steps: steps of the rule, see `flow_steps`.
        dtype: type in which `score` is evaluated; the state is float64.
        tick: called after each step.
        std: standard deviation of the modes, see `flow_times`.
    """
    times = flow_times(schedule, T, steps, std)
    beta = {t: float(schedule.beta(torch.tensor(t, dtype=torch.float64))) for t in _with_middles(times)}

    def field(state: Tensor, t: float) -> tuple[Tensor, Tensor]:
        s, slope = score(state.to(dtype), t)
        return -beta[t] / 2 * (state + s), -beta[t] / 2 * (1 + slope.double())

    state = x.expand(models, -1).clone()
    log_det = torch.zeros_like(state)
    for start, end in itertools.pairwise(times):
        size, middle = end - start, (start + end) / 2
        k1, d1 = field(state, start)
        k2, d2 = field(state + size / 2 * k1, middle)
        k3, d3 = field(state + size / 2 * k2, middle)
        k4, d4 = field(state + size * k3, end)
        state = state + size / 6 * (k1 + 2 * (k2 + k3) + k4)
        log_det += size / 6 * (d1 + 2 * (d2 + d3) + d4)
        tick()
    log_p = -state.square() / 2 - 0.5 * math.log(2 * math.pi) + log_det
    return GridDensity(x, log_p, state)


def _with_middles(times: list[float]) -> list[float]:
    return [*times, *((a + b) / 2 for a, b in itertools.pairwise(times))]
