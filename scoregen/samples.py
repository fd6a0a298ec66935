"""The Swish network against the sample size, by SGD with early stopping, at m = n and at fixed m.

`python -m scoregen.samples [smoke|quick|paper] [--flags]`; `sh scoregen/run_samples.sh` does the same from any folder.
"""

import dataclasses

from infolab.errors import run_main
from infolab.sweep import Experiment, run_sweep
from scoregen.mixture import MixtureConfig, cost, run_mixture
from scoregen.tables import ScoreKl

BATCH = 512
_BASE = MixtureConfig(optimizer="sgd", lr=0.5, init="uniform", batch=BATCH)


def at_size(n: int, width: int, sweep: str, steps: int, looks: int, seeds: tuple[int, ...]) -> MixtureConfig:
    """The config of n points (a power of two): equally many optimiser steps at every n, `looks` KLs on the way."""
    epochs = steps // max(1, n // BATCH)
    return dataclasses.replace(
        _BASE, n=n, width=width, sweep=sweep, epochs=epochs, evaluate_every=max(1, epochs // looks), seeds=seeds
    )


def _sweep(equal: range, fixed: range, width: int, steps: int, looks: int) -> list[MixtureConfig]:
    seeds = (0, 1, 2)
    return [
        *(at_size(2**e, 2**e, "samples_m=n", steps, looks, seeds) for e in equal),
        *(at_size(2**e, width, "samples_fixed_m", steps, looks, seeds) for e in fixed),
    ]


SWEEPS: dict[str, list[MixtureConfig]] = {
    # m = n ends at 2^11, where a step costs a million hidden units; the random features go on to 2^14.
    "paper": _sweep(range(5, 12), range(5, 15), 256, 4096, 64),
    "quick": _sweep(range(5, 8), range(5, 11), 64, 1024, 16),
    "smoke": _sweep(range(4, 6), range(4, 6), 8, 20, 4),
}
EXPERIMENT = Experiment(
    "python -m scoregen.samples", SWEEPS, ScoreKl, MixtureConfig.check, run_mixture, cost, kind=lambda one: one.sweep
)


def main() -> None:
    """Run the sweep of the preset."""
    run_main(lambda: run_sweep(EXPERIMENT))


if __name__ == "__main__":
    main()
