"""One VAE on all training images, over learning rates, with the bounds; and one with a ghost decoder for its MI term.

`python -m vae.full [smoke|quick|paper] [--flags]`; `sh vae/run_vae.sh` does the same from any folder. In the preset
`paper` a data set of the same family takes the place of the published one: `paper --dataset fashion-mnist`.
"""

import dataclasses

from infolab.errors import run_main
from infolab.sweep import Experiment, run_sweep
from vae.config import VAEConfig, family, kind, runs
from vae.run import cost, run_vae
from vae.tables import Curves

# The published settings: binarised MNIST with two learning rates, CIFAR-10, CelebA.
MNIST = VAEConfig(dataset="mnist", logpx_every=5, evaluate_every=5, logpx_images=6000)
CIFAR10 = VAEConfig(
    dataset="cifar10", model="diagonal-gaussian-dc", latent=64, n_z=128, flip=True, logpx_every=50, logpx_images=6000
)
CELEBA = VAEConfig(
    dataset="celeba", model="constant-gaussian-dc", latent=32, n_z=128, flip=True, epochs=50, evaluate_every=5,
    logpx_every=25, logpx_images=6000,
)  # fmt: skip
# The papers have no digits: a smaller network for 64 pixels.
DIGITS = VAEConfig(
    dataset="digits",
    canvas=0,
    hidden=(256, 128),
    latent=8,
    epochs=60,
    evaluate_every=2,
    logpx_every=10,
    n_z=128,
)
SMOKE = dataclasses.replace(
    DIGITS, m=64, hidden=(16, 8), latent=2, epochs=2, evaluate_every=1, logpx_every=1, n_z=4, logpx_images=32
)


def with_rates(base: VAEConfig, rates: tuple[float, ...]) -> list[VAEConfig]:
    """`base` at each learning rate."""
    return [dataclasses.replace(base, lr=rate) for rate in rates]


def with_ghost(configs: list[VAEConfig]) -> list[VAEConfig]:
    """`configs` and, beside each, the run with a ghost decoder, whose log p(x) is not measured."""
    ghosts = [dataclasses.replace(config, mode="ghost", logpx_every=0) for config in configs]
    return [*configs, *ghosts]


SWEEPS: dict[str, list[VAEConfig]] = {
    "paper": [*with_rates(MNIST, (1e-3, 1e-4)), CIFAR10, CELEBA, *with_ghost([MNIST])[1:]],
    "quick": with_ghost(with_rates(DIGITS, (1e-3, 1e-4))),
    "smoke": with_ghost([SMOKE]),
}
EXPERIMENT = Experiment("python -m vae.full", SWEEPS, Curves, VAEConfig.check, run_vae, cost, kind, runs, family)


def main() -> None:
    """Run the sweep of the preset."""
    run_main(lambda: run_sweep(EXPERIMENT))


if __name__ == "__main__":
    main()
