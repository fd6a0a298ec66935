"""Exact KL(p0 || p_theta) of your own 1-D score: probability-flow ODE on a grid and quadrature, no sampling.

`python -m scoregen.kl --score module:function --modes M.npy [--weights W.npy] [--json]`; the function takes x (n, 1)
and t (n,), torch tensors on --device, float64 (float32 where the device has no float64), and returns the score s(x, t)
of the VP SDE, in the shape of x.
"""

import dataclasses
import itertools
import json
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from common.arrays import load_function, read_array, tensor_of
from common.config import default_device, parse_options
from common.device import pick_device
from common.errors import RunFailedError, UserError, run_main
from common.likelihood import exact_divergence
from common.mixture import GaussianMixture
from common.precision import has_float64, on_cpu
from common.progress import Progress
from common.schedules import VP
from scoregen.density import flow_steps, grid_density, mode_grid

MANY = 10**8
"""Evaluations of the score from which on their number is said before they begin."""


@dataclass(frozen=True)
class KlConfig:
    """Options of `python -m scoregen.kl`."""

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
    run_main(lambda: _report(parse_options(KlConfig, "python -m scoregen.kl")))


def kl_to_mixture(
    score: Callable[[Tensor, Tensor], Tensor],
    law: GaussianMixture,
    schedule: VP,
    *,
    T: float = 1.0,
    steps: int = 0,
    device: torch.device | str = "cpu",
) -> dict[str, Any]:
    """KL(p0 || p_theta) in nats of a 1-D mixture p0 and the model with the score s(x, t), with its checks.

    Args:
        score: s(x, t), x (n, 1) and t (n,) float64, float32 on a device that has no float64; its derivative in x is
            taken by autograd, exactly.
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
    std = float(law.eigenvalues.min().sqrt())
    middle = float(law.mean())
    reach = float((law.means - middle).abs().max() + 8 * (law.eigenvalues.max().sqrt() - std))
    steps = steps or flow_steps(reach, std)
    x = middle + mode_grid(reach, std)
    log_p0 = law.log_prob(x[:, None])
    both = exact_divergence(score)
    dtype = torch.float64 if has_float64(device) else torch.float32

    def of_grid(state: Tensor, t: float) -> tuple[Tensor, Tensor]:
        points = state.reshape(-1, 1).to(device)
        s, slope = both(points, torch.full((state.numel(),), t, dtype=dtype, device=device))
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
                of_grid,
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
    score = load_function(config.score, "--score")
    found = kl_to_mixture(
        _checked(score, config.score),
        _law(config),
        VP(config.beta_min, config.beta_max),
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
