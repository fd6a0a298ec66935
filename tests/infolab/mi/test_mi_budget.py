"""A time budget is used, by a clock that every piece of the work moves on."""

import time

import numpy as np
import pytest

from infolab.mi import Settings, denoiser, integrate, mutual_information
from infolab.mi.denoiser import Trainer


@pytest.mark.parametrize(("step", "look", "pair"), [(0.01, 0.06, 1e-7), (0.02, 0.01, 1e-6), (0.01, 0.0, 2e-4)])
def test_a_budget_is_used(step, look, pair, monkeypatch):
    """Seconds of a step (of head or denoiser), of a look at pairs held back, and of a denoised pair."""
    now = [0.0]

    def costing(function, seconds):
        def costed(*arguments, **options):
            now[0] += seconds(*arguments)
            return function(*arguments, **options)

        return costed

    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(Trainer, "step", costing(Trainer.step, lambda *_: step))
    monkeypatch.setattr(
        integrate, "_denoise", costing(integrate._denoise, lambda _, part, *more: pair * part.mean[..., 0].numel())
    )
    looking = costing(denoiser.held_error, lambda *_: look)
    for module in ("denoiser", "integrate"):
        monkeypatch.setattr(f"infolab.mi.{module}.held_error", looking)
    rng = np.random.default_rng(0)
    found = mutual_information(
        *rng.standard_normal((2, 500, 1)), Settings(steps=0, minutes=0.15, batch=16, width=8, points=4)
    )
    assert found.seconds == now[0]
    assert 0.8 * 9 < found.seconds < 9
