"""Exact KL(p0 || p_theta) of a 1-D score: probability-flow ODE on a grid and quadrature, no sampling."""

import dataclasses
import itertools
import json
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from infolab.arrays import load_function, read_array, tensor_of
from infolab.config import called_as, default_device, parse_options
from infolab.denoise import Denoiser, check_model
from infolab.device import has_float64, on_cpu, pick_device
from infolab.errors import RunFailedError, UserError, run_main
from infolab.mixture import GaussianMixture
from infolab.progress import Progress
from infolab.schedules import VP

# ----------
# The exact density of a 1-D score model on a grid: probability-flow ODE, KL by quadrature, no sampling.

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


def of_slopes(both: Callable[[Tensor, float], tuple[Tensor, Tensor]], schedule: VP) -> Denoiser:
    """1-D models side by side, of known slope: (x (k, g), t) -> scores and their derivatives ds/dx, both (k, g)."""

    def with_divergence(x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        s, slope = both(x[..., 0], float(t.flatten()[0]))  # all at one time
        return s[..., None], slope

    return Denoiser.of_score(lambda x, t: with_divergence(x, t)[0], schedule, with_divergence)


@torch.no_grad()
def grid_density(
    model: Denoiser,
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
        model: all models side by side, asked for scores and divergences at x (k, g, 1), t (k, g) float64.
        schedule: the forward process.
        x: grid, float64.
        models: k.
        T: diffusion time.
        steps: steps of the rule, see `flow_steps`.
        dtype: type of the x at which `model` is asked; the state is float64.
        tick: called after each step.
        std: standard deviation of the modes, see `flow_times`.
    """
    check_model(model)
    times = flow_times(schedule, T, steps, std)
    beta = {t: float(schedule.beta(torch.tensor(t, dtype=torch.float64))) for t in _with_middles(times)}

    def field(state: Tensor, t: float) -> tuple[Tensor, Tensor]:
        times = torch.full((1, 1), t, dtype=torch.float64, device=state.device).expand(state.shape)
        s, slope = model.score_and_divergence(state.to(dtype)[..., None], times, schedule)
        return -beta[t] / 2 * (state + s[..., 0]), -beta[t] / 2 * (1 + slope.double())

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


# ----------
# Exact KL(p0 || p_theta) of your own 1-D score: probability-flow ODE on a grid and quadrature, no sampling.
#
# `python -m scoregen.kl --score module:function --modes M.npy [--weights W.npy] [--json]`; the function takes x (n, 1)
# and t (n,), torch tensors on --device, float64 (float32 where the device has no float64), and returns the score s(x,
# t) of the VP SDE, in the shape of x.

MANY = 10**8
"""Evaluations of the score from which on their number is said before they begin."""


@dataclass(frozen=True)
class KlConfig:
    """Exact KL(p0 || p_theta) in nats of a one-dimensional score in the VP SDE, p0 a mixture of Gaussians."""

    score: str = ""
    """module:function of the score s(x, t): x (n, 1) and t (n,) on --device in, (n, 1) out."""
    modes: str = ""
    """A .npy file with the means of p0, a mixture of Gaussians."""
    weights: str = ""
    """A .npy file with their weights, of any sum; equal ones when it is not given."""
    std: float = 1.0
    """Standard deviation of every mode."""
    T: float = 1.0
    """Diffusion time at which the model starts from N(0, 1)."""
    beta_min: float = 0.1
    """beta(0) of the VP SDE."""
    beta_max: float = 20.0
    """beta(1) of the VP SDE."""
    steps: int = 0
    """Steps of the ODE; 0: by the distance of the modes. Twice as many show the error."""
    device: str = field(default_factory=default_device)
    """Where the score is called: cpu, cuda, mps (in float32) or auto; the flow itself is solved on the CPU."""
    json: bool = False
    """Print one JSON object on standard output and nothing else there."""


def main() -> None:
    """Print KL, normalisation and what they rest on."""
    run_main(lambda: _report(parse_options(KlConfig, called_as("python -m scoregen.kl"))))


def kl_to_mixture(
    model: Denoiser,
    law: GaussianMixture,
    schedule: VP,
    *,
    T: float = 1.0,
    steps: int = 0,
    device: torch.device | str = "cpu",
) -> dict[str, Any]:
    """KL(p0 || p_theta) in nats of a 1-D mixture p0 and the model, with its checks.

    Args:
        model: the model, whose score is asked for at x (n, 1) and t (n,) float64, float32 on a device that has no
            float64; its derivative in x is exact.
        law: p0, 1-D, with densities.
        schedule: the VP SDE.
        T: diffusion time.
        steps: steps of the ODE; 0: by the distance of the modes.
        device: where the score is called; the state of the flow is on the CPU, in float64.

    Returns:
        kl_nats with its quadrature and solver error (the change under half the steps and half the points),
        normalisation (p_theta over the grid, by quadrature), mass (the same without quadrature), evaluations.

    Raises:
        RunFailedError: the flow is not finite.
    """
    check_model(model)
    std = float(law.eigenvalues.min().sqrt())
    middle = float(law.mean())
    reach = float((law.means - middle).abs().max() + 8 * (law.eigenvalues.max().sqrt() - std))
    steps = steps or flow_steps(reach, std)
    x = middle + mode_grid(reach, std)
    log_p0 = law.log_prob(x[:, None])
    dtype = torch.float64 if has_float64(device) else torch.float32

    def of_grid(state: Tensor, t: float) -> tuple[Tensor, Tensor]:
        points = state.reshape(-1, 1).to(device)
        times = torch.full((state.numel(),), t, dtype=dtype, device=device)
        s, slope = model.score_and_divergence(points, times, schedule)
        return on_cpu(s).reshape(state.shape), on_cpu(slope).reshape(state.shape)

    evaluations = 4 * (steps + steps // 2) * len(x)
    if evaluations > MANY:
        sys.stderr.write(
            f"{len(x):,} grid points, a fifth of a mode's standard deviation apart, and {steps + steps // 2:,} steps "
            f"of the ODE: {evaluations:.1e} evaluations of the score (--steps asks for fewer steps)\n"
        )
    with Progress("the probability flow", steps + steps // 2) as progress:
        ticks = itertools.count(1)
        fine, coarse = (
            grid_density(
                of_slopes(of_grid, schedule),
                schedule,
                x,
                1,
                T=T,
                steps=count,
                dtype=dtype,
                std=std,
                tick=lambda: progress.update(next(ticks)),
            )
            for count in (steps, steps // 2)
        )
    kl, normalisation = float(fine.kl(log_p0)[0]), float(fine.normalisation()[0])
    if not (math.isfinite(kl) and math.isfinite(normalisation)):
        raise RunFailedError("the probability flow is not finite: the score overflows on the way from the data to T")
    fewer = dataclasses.replace(coarse, x=x[::2], log_p=fine.log_p[:, ::2])
    error = max(abs(kl - float(coarse.kl(log_p0)[0])), abs(kl - float(fewer.kl(log_p0[::2])[0])))
    return {
        "kl_nats": {"value": kl, "se": 0.0, "se_quadrature": error},
        "normalisation": normalisation,
        "mass": float(fine.mass()[0]),
        "evaluations": evaluations,
        "points": len(x),
        "steps": steps,
    }


def _report(config: KlConfig) -> None:
    for name in ("score", "modes"):
        if not getattr(config, name):
            what = "module:function" if name == "score" else "a .npy file with the means of the modes"
            raise UserError(f"--{name} is missing: give {what}")
    if not (0 < config.std < math.inf and 0 < config.T < math.inf) or config.steps < 0 or config.steps == 1:
        raise UserError("--std and --T must be positive and finite, --steps 0 or at least 2")
    score, schedule = load_function(config.score, "--score"), VP(config.beta_min, config.beta_max)
    found = kl_to_mixture(
        Denoiser.of_score(_checked(score, config.score), schedule),
        _law(config),
        schedule,
        T=config.T,
        steps=config.steps,
        device=pick_device(config.device),
    )
    if config.json:
        sys.stdout.write(json.dumps({**found, "settings": dataclasses.asdict(config)}) + "\n")
        return
    kl = found["kl_nats"]
    sys.stdout.write(f"kl_nats        {kl['value']:.6g} +- {kl['se_quadrature']:.1g}\n")
    sys.stdout.write(f"normalisation  {found['normalisation']:.6f} (without quadrature: {found['mass']:.6f})\n")


def _law(config: KlConfig) -> GaussianMixture:
    means = read_array(Path(config.modes), least=1)
    if means.numel() != len(means):
        raise UserError(
            f"'{config.modes}' has shape {tuple(means.shape)}: expected the means of 1-D modes, (k,) or (k, 1)"
        )
    weights = read_array(Path(config.weights), least=1).flatten() if config.weights else torch.ones(len(means))
    return GaussianMixture(weights, means.reshape(-1, 1), config.std**2)


def _checked(score: Callable[[Tensor, Tensor], Tensor], name: str) -> Callable[[Tensor, Tensor], Tensor]:
    called, expected = f"--score {name}", "a tensor of x's shape for x (n, 1) and t (n,)"

    def call(x: Tensor, t: Tensor) -> Tensor:
        s = tensor_of(score, (x, t), called, expected)
        if s.shape != x.shape:
            raise UserError(f"{called} returned {tuple(s.shape)} for x {tuple(x.shape)}: expected {expected}")
        if not s.requires_grad:
            raise UserError(f"--score {name} has no gradient in x: compute it with torch, without no_grad or detach")
        return s.to(x)

    return call


if __name__ == "__main__":
    main()
