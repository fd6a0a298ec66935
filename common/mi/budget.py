"""How many steps fit into a time limit: a few steps are timed on this machine."""

import time

import torch

from common.mi.denoiser import CHECKS, Conditioned, held_error, train_denoiser
from common.mi.head import train_head
from common.mi.integrate import Trust, integrate
from common.mi.levels import BINS, Levels
from common.mi.pairs import Halves
from common.mi.settings import Settings

TIMED = 40
"""Steps that are timed, after a first few that pay for starting up."""
LEAST_STEPS = 50
MARGIN = 0.9
"""Share of the time that is planned: other programs come and go."""
LABEL_STEPS_PER_MINUTE = 2000
"""Steps taken for a label, whose network is small: more of them find nothing more."""


def steps_within(settings: Settings, halves: Halves, begun: float) -> int:
    """Steps of the denoiser (the head takes half as many) that, with all else, take `settings.minutes` from `begun` on.

    Looks at the pairs held back are timed apart from the steps: there are as many of them in a run of any length.
    """
    batch, lr = settings.batch, settings.lr
    for steps in (4, TIMED):
        start = time.perf_counter()
        head = train_head(halves, steps=steps // 2, batch=batch, lr=lr, seed=0)
        with torch.no_grad():
            data, held = (Conditioned(pairs, *head(pairs.y)) for pairs in (halves.train, halves.validation))
        levels = Levels(-6.0, 10.0, data.mean.device)
        model = train_denoiser(
            data, held, levels, steps=steps, batch=batch, width=settings.width, lr=lr, seed=0, checks=1
        )
        trained = time.perf_counter()
        held_error(model, held, levels, 0).cpu()  # a GPU is waited for
        look = time.perf_counter() - trained
        each = max(trained - start - 2 * look, 0.0) / steps  # it looked before the first step and after the last
    some, points, start = data[:1024], 4, time.perf_counter()
    trust = torch.ones(2, len(halves.rho), BINS, device=some.mean.device)
    integrate(model, some, levels, Trust(*trust), points, 0).squared.cpu()
    pair = (time.perf_counter() - start) / (points * some.mean.shape[1])
    # Test pairs at all points, validation pairs at twice as many, seen pairs at a third.
    evaluation = pair * settings.points * (len(halves.test) + 2 * len(halves.validation) + len(halves.train) / 3)
    left = MARGIN * 60 * settings.minutes - evaluation - CHECKS * look - (time.perf_counter() - begun)
    return max(int(left / max(each, 1e-9)), LEAST_STEPS)
