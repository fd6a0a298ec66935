"""Samplers in continuous time: the lambda family of reverse processes, by Euler-Maruyama steps."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from common.errors import UserError
from common.pieces import Keep
from common.schedules import Schedule, expand

Score = Callable[[Tensor, Tensor], Tensor]
"""Score s(x, t) of the noised law: x (batch..., event...), t (batch...), the shape of x out."""

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
    score: Score,
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
        score: s(x, t).
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
        s = score(x, t)
        if observe is not None:
            observe(s, t)
        push = expand((1 - lam / 2) * level.g2 * size, x) * s
        x = x * expand(1 - level.drift * size, x) + push
        if lam < 1:
            x = x + expand(torch.sqrt((1 - lam) * level.g2 * size), x) * noise(step)
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
