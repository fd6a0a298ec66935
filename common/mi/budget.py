"""How many steps fit into a time limit: a few steps are timed on this machine."""

import time
from dataclasses import dataclass

import torch

from common.mi.denoiser import CHECKS, Conditioned, held_error, train_denoiser
from common.mi.head import train_head
from common.mi.integrate import ROWS, Trust, integrate
from common.mi.levels import BINS, Levels
from common.mi.pairs import Halves
from common.mi.settings import Settings

FIRST, TIMED = 4, (40, 500)
"""First steps, which pay for starting up, and the least and largest number of those that are timed after them."""
TIMED_SHARE = 0.05
"""Share of the time that they may take, were they as slow as the first ones."""
LEAST_STEPS = 50
MARGIN = 0.9
"""Share of the time that is planned: other programs come and go."""
LABEL_STEPS_PER_MINUTE = 2000
"""Steps taken for a label, whose network is small: more of them find nothing more."""


def steps_within(settings: Settings, halves: Halves, begun: float) -> int:
    """Steps of the denoiser (the head takes half as many) that, with all else, take `settings.minutes` from `begun` on.

    Looks at the pairs held back are timed apart from the steps: there are as many of them in a run of any length.
    """
    first = _timed(settings, halves, FIRST)
    steps = int(TIMED_SHARE * 60 * settings.minutes / max(first.step, 1e-9))
    timed = _timed(settings, halves, min(max(steps, TIMED[0]), TIMED[1]))
    # Test pairs at all points, validation pairs at twice as many, seen pairs at a third.
    pairs = settings.points * (len(halves.test) + 2 * len(halves.validation) + len(halves.train) / 3)
    left = MARGIN * 60 * settings.minutes - timed.pair * pairs - timed.look * CHECKS - (time.perf_counter() - begun)
    return max(int(left / max(timed.step, 1e-9)), LEAST_STEPS)


@dataclass(frozen=True)
class _Times:
    """Seconds of one step of the denoiser with half a step of the head, of a look, and of a pair at one log-SNR."""

    step: float
    look: float
    pair: float


def _timed(settings: Settings, halves: Halves, steps: int) -> _Times:
    batch, lr = settings.batch, settings.lr
    start = time.perf_counter()
    head = train_head(halves, steps=steps // 2, batch=batch, lr=lr, seed=0)
    with torch.no_grad():
        data, held = (Conditioned(pairs, *head(pairs.y)) for pairs in (halves.train, halves.validation))
    levels = Levels(-6.0, 10.0, data.mean.device)
    model = train_denoiser(data, held, levels, steps=steps, batch=batch, width=settings.width, lr=lr, seed=0, checks=1)
    trained = time.perf_counter()
    held_error(model, held, levels, 0).cpu()  # a GPU is waited for
    looked = time.perf_counter()
    some, points = data[:ROWS], 4
    trust = torch.ones(2, len(halves.rho), BINS, device=some.mean.device)
    integrate(model, some, levels, Trust(*trust), points, 0).squared.cpu()
    ended = time.perf_counter()
    # The denoiser looked before the first of these steps and after the last.
    own = max(trained - start - 2 * (looked - trained), 0.0)
    return _Times(own / steps, looked - trained, (ended - looked) / (points * len(some.pairs)))
