"""The image study on MNIST (28x28): few-shot and full, over T and seeds.

`python -m diffusion.mnist [smoke|quick|paper] [--flags]`; `sh diffusion/run_mnist.sh` does the same from any folder.
`--m 16` takes the few-shot half of the published sweep, `--m 0` the full one; `--R` sets the bound's constant.
"""

import dataclasses

from diffusion.digits import PAPER_T
from diffusion.image import experiment
from diffusion.image_model import ImageConfig, over_T_and_seeds
from infolab.errors import run_main
from infolab.sweep import run_sweep

FEW_SHOT = ImageConfig(
    dataset="mnist",
    m=16,
    network="mnist",
    dropout=0.0,
    iterations=10_000,
    batch=128,
    lr=1e-4,
    sde_steps=1000,
    R=4000.0,
    test_images=100,
    mi_outer=1000,
)
"""The published few-shot settings: one batch of all 16 images an epoch."""
FULL = dataclasses.replace(FEW_SHOT, m=0)
"""The published settings with the full training set: 10,000 iterations are 21 epochs."""
# Few-shot only, a narrow network, briefly trained: the velocity, a moving average and log-SNR-uniform times (published:
# the drift, no average, uniform times) get further in few steps.
QUICK = ImageConfig(
    dataset="mnist",
    m=16,
    network="mnist-narrow",
    parametrization="velocity",
    time_sampler="importance",
    iterations=200,
    batch=16,
    lr=2e-3,
    ema_decay=0.97,
    sde_steps=100,
    test_images=24,
    samples=16,
    elbo_draws=16,
    ode_tolerance=1e-3,
    score_draws=128,
)
QUICK_T = (0.2, 0.5, 1.0, 2.0)
SMOKE = ImageConfig(
    dataset="mnist",
    m=16,
    network="mnist-tiny",
    parametrization="velocity",
    time_sampler="importance",
    iterations=4,
    batch=8,
    ema_decay=0.9,
    sde_steps=4,
    test_images=4,
    samples=4,
    elbo_draws=2,
    ode_tolerance=1e-1,
    mi_outer=16,
    score_draws=8,
    score_replicates=2,
)

SWEEPS: dict[str, list[ImageConfig]] = {
    "paper": [*over_T_and_seeds(FEW_SHOT, PAPER_T, (0, 1, 2)), *over_T_and_seeds(FULL, PAPER_T, (0, 1, 2))],
    "quick": over_T_and_seeds(QUICK, QUICK_T, (0, 1, 2)),
    "smoke": [SMOKE, dataclasses.replace(SMOKE, m=0)],
}


def main() -> None:
    """Run the sweep of the preset."""
    run_main(lambda: run_sweep(experiment("python -m diffusion.mnist", SWEEPS)))


if __name__ == "__main__":
    main()
