"""Samplers from noise to data: in the steps of a DDPM, in continuous time, and made of two models."""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from infolab.denoise import Denoiser, check_model
from infolab.errors import UserError, check_choice
from infolab.noise import SampleNoise, StepNoise
from infolab.schedules import DDPM, Schedule, append_dims
from infolab.storage import Keep

# ----------
# Samplers in the steps of a discrete schedule: DDPM, DDIM in any number of steps, and DDIM run backwards.

Noise = Callable[[int], Tensor]
"""Maps the number of a jump to standard normal noise of the shape of x_t (`infolab.sample.SampleNoise`)."""

ETA_PUBLISHED = 0.01
"""eta of the public code of Wang et al. (2023)."""

CLEAN = -1
"""The place after step 0, where abar = 1: the data."""


def grid(schedule: DDPM, steps: int) -> list[int]:
    """The steps that `steps` calls of the network visit, from the last one, N - 1, down: round(N k / steps) - 1.

    Evenly spaced in time; the last jump goes from the lowest of them to the data. All N steps are every step once.

    Raises:
        UserError: fewer than 1 or more than N steps.

    >>> grid(DDPM.linear(1000), 4)
    [999, 749, 499, 249]
    """
    if not 1 <= steps <= schedule.steps:
        raise UserError(f"steps = {steps}: expected 1 .. {schedule.steps}, the steps of the schedule")
    return [round(schedule.steps * k / steps) - 1 for k in range(steps, 0, -1)]


@dataclass(frozen=True)
class Jump:
    """A jump from a step (abar A) to an earlier one (abar B), or to the data (B = 1).

    x' = sqrt(B) x0_hat + sqrt(1 - B - spread^2) eps_hat + noise z, x0_hat = (x - sqrt(1-A) eps_hat) / sqrt(A): the
    abar of x0_hat is that of the step which the network was asked at (Song, Meng, Ermon 2021, eq. 12).

    Attributes:
        alpha: sqrt(A), sigma: sqrt(1 - A), of where the jump starts.
        alpha_to: sqrt(B), sigma_to: sqrt(1 - B - spread^2), of where it ends.
        noise: standard deviation of the fresh noise; the spread, but for DDPM's large variance.
    """

    alpha: float
    sigma: float
    alpha_to: float
    sigma_to: float
    noise: float = 0.0

    def __call__(self, x: Tensor, eps_hat: Tensor, clip: bool) -> Tensor:
        """The mean of x'; with `clip`, x0_hat is clamped to [-1, 1] and eps_hat made to fit it and x."""
        if clip:
            x0_hat = ((x - self.sigma * eps_hat) / self.alpha).clamp(-1, 1)
            eps_hat = (x - self.alpha * x0_hat) / self.sigma
            return self.alpha_to * x0_hat + self.sigma_to * eps_hat
        scale = self.alpha_to / self.alpha
        return torch.add(scale * x, eps_hat, alpha=self.sigma_to - scale * self.sigma)

    def undo(self, x: Tensor, eps_hat: Tensor) -> Tensor:
        """The x that a jump without noise takes to `x`, where its eps_hat is known."""
        scale = self.alpha / self.alpha_to
        return torch.add(scale * x, eps_hat, alpha=self.sigma - scale * self.sigma_to)


def level(schedule: DDPM, step: int) -> tuple[float, float]:
    """(sqrt(abar), sqrt(1 - abar)) of a step, (1, 0) at the data, in float64."""
    if step == CLEAN:
        return 1.0, 0.0
    log_abar = float(schedule.log_abar[step])
    return math.exp(log_abar / 2), math.sqrt(-math.expm1(log_abar))


def jumps(schedule: DDPM, path: Sequence[int], eta: float = 0.0, variance: str = "small") -> list[Jump]:
    """The jumps between neighbours of `path`, which descends and ends at `CLEAN` or at a step.

    spread^2 = eta^2 (1-B)/(1-A) (1 - A/B), so eta = 0 is DDIM and eta = 1 over all steps is DDPM (there spread^2 is
    the posterior's beta~). `variance` large puts noise of variance 1 - A/B (beta over all steps) on the same mean.
    """
    found = []
    for start, end in itertools.pairwise(path):
        (alpha, sigma), (alpha_to, sigma_to) = level(schedule, start), level(schedule, end)
        log_ratio = float(schedule.log_abar[start]) - (float(schedule.log_abar[end]) if end != CLEAN else 0.0)
        share = math.sqrt(-math.expm1(log_ratio))  # sqrt(1 - A/B)
        spread = eta * share * sigma_to / sigma
        noise = share if variance == "large" and end != CLEAN else spread
        found.append(Jump(alpha, sigma, alpha_to, math.sqrt(max(sigma_to**2 - spread**2, 0.0)), noise))
    return found


def sample_loop(
    model: Denoiser,
    schedule: DDPM,
    x: Tensor,
    path: Sequence[int],
    moves: Sequence[Jump],
    noise: Noise | None = None,
    clip: bool = False,
    first: int = 0,
) -> Tensor:
    """Take the jumps `moves` along `path`, one call of the model each; `first` is the number of the first jump."""
    check_model(model)
    for number, (step, move) in enumerate(zip(path, moves, strict=False), first):
        at = torch.full((len(x),), step, dtype=torch.int64, device=x.device)
        x = move(x, model.eps_at_step(x, at, schedule), clip)
        if move.noise:
            if noise is None:
                raise UserError("this sampler draws noise: give noise=SampleNoise(...), or eta = 0")
            x = torch.add(x, noise(number).to(x), alpha=move.noise)
    return x


@torch.no_grad()
def ddim(
    model: Denoiser,
    schedule: DDPM,
    x_T: Tensor,
    steps: int = 50,
    eta: float = 0.0,
    noise: Noise | None = None,
    clip: bool = False,
) -> Tensor:
    """DDIM in any number of steps (Song, Meng, Ermon 2021, eqs. 12 and 16).

    Args:
        model: the model, asked for eps_hat at whole steps.
        schedule: the discrete schedule whose steps are taken; the model's own, or any other.
        x_T: (n, *event), draws of the distribution at the last step (close to N(0, I)).
        steps: calls of the network, 1 .. N, at the steps of `grid`.
        eta: 0 is deterministic; 1 has DDPM's variance; the public code of Wang et al. (2023) takes 0.01.
        noise: needed where eta > 0.
        clip: clamp x0_hat to [-1, 1] at every step (the public code does not).

    Returns:
        Samples x0 of the shape of x_T.

    Raises:
        UserError: steps or eta out of range, or noise that is missing.
    """
    path = [*grid(schedule, steps), CLEAN]
    return sample_loop(model, schedule, x_T, path, jumps(schedule, path, check_eta(eta, noise)), noise, clip)


@torch.no_grad()
def ddpm(
    model: Denoiser, schedule: DDPM, x_T: Tensor, noise: Noise, variance: str = "small", clip: bool = False
) -> Tensor:
    """Ancestral sampling over all N steps (Ho, Jain, Abbeel 2020, algorithm 2).

    Args:
        model: the model, asked for eps_hat at whole steps.
        schedule: the discrete schedule.
        x_T: (n, *event).
        noise: of each step but the last.
        variance: `small`, beta~ = (1 - abar_{t-1})/(1 - abar_t) beta (as published), or `large`, beta.
        clip: clamp x0_hat to [-1, 1].

    Returns:
        Samples x0 of the shape of x_T.

    Raises:
        UserError: an unknown variance.
    """
    check_choice("variance", variance, ("small", "large"))
    path = [*grid(schedule, schedule.steps), CLEAN]
    return sample_loop(model, schedule, x_T, path, jumps(schedule, path, 1.0, variance), noise, clip)


@torch.no_grad()
def invert(model: Denoiser, schedule: DDPM, x0: Tensor, steps: int = 1000, rule: str = "predicted") -> Tensor:
    """The x_T from which `ddim` with eta = 0 and as many steps returns x0: each of its jumps undone, nearly.

    A jump's own eps_hat is that of where it starts, which is not known yet. `published` takes that of where it ends
    instead (error of order 1/steps; 0.3% for Gaussian data at 1,000 steps). `predicted` asks at the point to which the
    eps_hat of the jump before leads (order 1/steps^2; 0.001%), with as many calls. Both begin with the eps_hat of x0 at
    the lowest step visited. A model with codes carries that of x0: `model.given(code)`.

    Args:
        model: the model, asked for eps_hat at whole steps.
        schedule: the discrete schedule.
        x0: data (n, *event).
        steps: calls of the network, as in `ddim`.
        rule: `predicted` or `published`.

    Returns:
        x_T of the shape of x0.

    Raises:
        UserError: an unknown rule, or steps out of range.
    """
    check_model(model)
    check_choice("rule", rule, ("predicted", "published"))
    upward = [*grid(schedule, steps), CLEAN][::-1]
    moves = jumps(schedule, upward[::-1])[::-1]
    x, eps_hat = x0, torch.empty(0)
    for number, (move, lower, upper) in enumerate(zip(moves, upward[:-1], upward[1:], strict=True)):
        asked, step = x, lower
        if number == 0:
            step = upper
        elif rule == "predicted":
            asked, step = move.undo(x, eps_hat), upper
        at = torch.full((len(x),), step, dtype=torch.int64, device=x.device)
        eps_hat = model.eps_at_step(asked, at, schedule)
        x = move.undo(x, eps_hat)
    return x


def check_eta(eta: float, noise: Noise | None) -> float:
    """Return eta.

    Raises:
        UserError: eta outside 0 .. 1, or above 0 without noise.
    """
    if not 0 <= eta <= 1:
        raise UserError(f"eta = {eta}: expected 0 (deterministic) .. 1 (the variance of DDPM)")
    if eta and noise is None:
        raise UserError(f"eta = {eta} draws noise: give noise=SampleNoise(...), or eta = 0")
    return eta


# ----------
# Samplers in continuous time: the lambda family of reverse processes, by Euler-Maruyama steps.

PIECE = 32
"""Steps after which a sampler's state is kept: those whose noise is drawn together (`StepNoise`)."""


def step_count(T: float, rule: str, steps_at_one: int) -> int:
    """Number N of sampler steps at diffusion time T.

    `fixed_number`: N = steps_at_one at every T, so the step T/N grows with T (the published figures).
    `fixed_size`: the step is 1/steps_at_one at every T, so N = T * steps_at_one.

    Raises:
        UserError: an unknown rule.

    >>> step_count(0.4, "fixed_number", 1000), step_count(0.4, "fixed_size", 1000)
    (1000, 400)
    """
    if rule == "fixed_number":
        return steps_at_one
    if rule == "fixed_size":
        return max(1, round(T * steps_at_one))
    raise UserError(f"unknown step rule '{rule}': choose one of fixed_number, fixed_size")


@torch.no_grad()
def reverse_sde(
    model: Denoiser,
    schedule: Schedule,
    x_T: Tensor,
    T: float | Tensor,
    steps: int,
    noise: Callable[[int], Tensor],
    lam: float = 0.0,
    observe: Callable[[Tensor, Tensor], None] | None = None,
    part: range | None = None,
) -> Tensor:
    """Euler-Maruyama steps of the lambda family of reverse processes (Huang et al. 2021, eq. 19).

    In the time u = T - t that runs from noise to data
        dx = [(1 - lam/2) g^2 s(x, t) - f(x, t)] du + sqrt(1 - lam) g dw,
    whose marginals are the same for every lam in [0, 1]: 0 is the reverse SDE, 1 the probability-flow ODE. The score
    is taken at the forward time t = T - u that belongs to the state.

    Args:
        model: the model, asked for the score s(x, t).
        schedule: the forward process (f = drift x, g).
        x_T: starting points (batch..., event...), draws of the prior.
        T: diffusion time; a tensor broadcastable to the batch shape runs networks of different T side by side.
        steps: N, number of steps of size T/N.
        noise: maps the step number to standard normal noise of the shape of x_T.
        lam: member of the family.
        observe: called with (score values, t) at every step.
        part: the steps to take, of 0 .. N - 1; None: all. `x_T` is then the state before the first of them.

    Returns:
        Samples, of the shape of x_T; after a part of the steps the state there.
    """
    check_model(model)
    if not 0 <= lam <= 1:
        raise UserError(f"lam must lie in [0, 1], not {lam}")
    T = torch.as_tensor(T, dtype=x_T.dtype, device=x_T.device)
    batch = x_T.shape[: max(T.ndim, 1)]
    T = T.expand(batch)
    size = T / steps
    x = x_T
    for step in range(steps) if part is None else part:
        t = T * (1 - step / steps)
        level = schedule.at(t)
        s = model.score(x, t, schedule)
        if observe is not None:
            observe(s, t)
        push = append_dims((1 - lam / 2) * level.g2 * size, x) * s
        x = x * append_dims(1 - level.drift * size, x) + push
        if lam < 1:
            x = x + append_dims(torch.sqrt((1 - lam) * level.g2 * size), x) * noise(step)
    return x


def walk_in_pieces(
    keep: Keep,
    name: str,
    x_T: Tensor,
    steps: int,
    walk: Callable[[Tensor, range], dict[str, Tensor]],
    size: int = PIECE,
) -> Iterator[dict[str, Tensor]]:
    """A sampler's way in pieces that survive a stop: yields what each keeps, the last one's `x` being the samples.

    Args:
        keep: keeps the pieces.
        name: of this way; the pieces are numbered.
        x_T: where it starts.
        steps: N.
        walk: (state, steps to take) -> the state after them as `x`, and whatever else was measured on these steps.
        size: steps of one piece.
    """
    x = x_T
    for first in range(0, steps, size):
        part = range(first, min(first + size, steps))
        kept = keep(f"{name}-{first:06d}", lambda: walk(x, part))  # noqa: B023 (called at once)
        x = kept["x"].to(x_T)
        yield kept


# ----------
# Samplers made of two models: two phases along one path, and a code drawn before the sample.


@torch.no_grad()
def two_phase(
    first: Denoiser,
    second: Denoiser,
    schedule: DDPM,
    x_T: Tensor,
    split_step: int = 500,
    steps: int = 1000,
    eta: float = 0.0,
    noise: Noise | None = None,
    clip: bool = False,
) -> Tensor:
    """One path of DDIM by two models (Wang et al. 2023): the first takes the noisiest `split_step` of the N steps.

    Args:
        first: from noise, the vanilla diffusion model.
        second: the rest, the model with a code from the prior, `model.given(code)`.
        schedule: the discrete schedule of both.
        x_T: (n, *event).
        split_step: steps of the schedule, counted from the noise, that are the first model's (published: 500 of
            1,000). Where the path visits fewer steps, the switch is at the same noise level.
        steps, eta, noise, clip: as in `ddim`.

    Returns:
        Samples x0 of the shape of x_T.

    Raises:
        UserError: split_step outside 0 .. N, and as `ddim`.
    """
    check_model(first)
    check_model(second)
    if not 0 <= split_step <= schedule.steps:
        raise UserError(f"split_step = {split_step}: expected 0 .. {schedule.steps}, the steps of the schedule")
    path = [*grid(schedule, steps), CLEAN]
    moves = jumps(schedule, path, check_eta(eta, noise))
    count = sum(step >= schedule.steps - split_step for step in path[:-1])
    x = sample_loop(first, schedule, x_T, path, moves[:count], noise, clip)
    return sample_loop(second, schedule, x, path[count:], moves[count:], noise, clip, first=count)


@torch.no_grad()
def latent(
    code_model: Denoiser,
    model: Denoiser,
    schedule: DDPM,
    a_T: Tensor,
    x_T: Tensor,
    code_schedule: DDPM | None = None,
    code_steps: int = 0,
    centre: Tensor | float = 0.0,
    scale: Tensor | float = 1.0,
    steps: int = 50,
    eta: float = 0.0,
    noise: Noise | None = None,
    clip: bool = False,
) -> tuple[Tensor, Tensor]:
    """A code drawn by a diffusion over codes, then a sample given that code (Preechakul et al. 2022, Wang et al. 2023).

    Args:
        code_model: of codes with `centre` taken off and divided by `scale`.
        model: of samples, its network called with x_t, the step and the code a.
        schedule: the discrete schedule of the samples.
        a_T: noise (n, a_dim) of the codes, drawn by DDIM with eta = 0.
        x_T: noise (n, *event) of the samples.
        code_schedule: of the codes; None: the same as that of the samples.
        code_steps: calls of the code model; 0: all steps of its schedule.
        centre, scale: (a_dim,) mean and standard deviation of the codes the code model was trained on.
        steps, eta, noise, clip: of the samples, as in `ddim`.

    Returns:
        Samples x0 of the shape of x_T, and their codes of the shape of a_T.
    """
    check_model(code_model)
    check_model(model)
    code_schedule = code_schedule or schedule
    code = centre + scale * ddim(code_model, code_schedule, a_T, code_steps or code_schedule.steps)
    return ddim(model.given(code), schedule, x_T, steps, eta, noise, clip), code


# ----------
# Samplers that run a diffusion model from noise to data, in continuous time and in the steps of a DDPM.

__all__ = [
    "ETA_PUBLISHED",
    "SampleNoise",
    "StepNoise",
    "ddim",
    "ddpm",
    "grid",
    "invert",
    "latent",
    "reverse_sde",
    "step_count",
    "two_phase",
    "walk_in_pieces",
]
