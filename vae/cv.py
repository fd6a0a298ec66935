"""The K x L cross-validation grid: log p(x) of every image under networks that were and were not trained on it.

`python -m vae.cv [smoke|quick|paper] [--flags]`. A run is one repeat and a group of folds, which train as one batch of
networks (all K for the MLP; one for the convolutional models): stopped anywhere, the same command goes on there.
"""

import dataclasses

from infolab.errors import run_main
from infolab.sweep import Experiment, run_sweep
from vae.config import VAEConfig, family, kind, runs
from vae.full import CELEBA, CIFAR10, DIGITS, MNIST, SMOKE, with_rates
from vae.run import cost, run_vae
from vae.tables import Curves


def grid(config: VAEConfig, repeats: int, K: int = 10) -> VAEConfig:
    """The grid of a `full` run: log p(x) of all training images, loss and KL at the same epochs."""
    return dataclasses.replace(config, mode="cv", K=K, L=repeats, logpx_images=0, evaluate_every=config.logpx_every)


SWEEPS: dict[str, list[VAEConfig]] = {
    "paper": [*with_rates(grid(MNIST, 10), (1e-3, 1e-4)), grid(CIFAR10, 10), grid(CELEBA, 10)],
    "quick": with_rates(grid(DIGITS, 2), (1e-3, 1e-4)),
    "smoke": [grid(SMOKE, 2, K=2)],
}
EXPERIMENT = Experiment("python -m vae.cv", SWEEPS, Curves, VAEConfig.check, run_vae, cost, kind, runs, family)


def main() -> None:
    """Run the sweep of the preset."""
    run_main(lambda: run_sweep(EXPERIMENT))


if __name__ == "__main__":
    main()
