"""The image study on the built-in scanned digits (8x8, 17 grey levels): few-shot and full, over T and seeds.

`python -m diffusion.digits [smoke|quick|paper] [--flags]`; `sh diffusion/run_digits.sh` does the same from any folder.
"""

import dataclasses

from diffusion.image import experiment
from diffusion.image_model import ImageConfig, over_T_and_seeds
from infolab.errors import run_main
from infolab.sweep import run_sweep

PAPER_T = tuple(round(0.2 * k, 1) for k in range(1, 11))

# The paper has no digits: these are its MNIST settings with a smaller network (and 400 epochs of the full set).
_FEW_SHOT = ImageConfig(m=16)
_FULL = ImageConfig(m=0)
# A small network, trained briefly: the velocity, a moving average and log-SNR-uniform times get further in few steps.
_QUICK = ImageConfig(
    network="digits-narrow",
    parametrization="velocity",
    time_sampler="importance",
    iterations=200,
    test_images=64,
    batch=32,
    lr=2e-3,
    ema_decay=0.97,
    sde_steps=100,
    samples=36,
    elbo_draws=16,
    ode_tolerance=1e-3,
    mi_outer=1437,
    score_draws=256,
)
_QUICK_FULL = dataclasses.replace(_QUICK, m=0, iterations=450, lr=3e-3, ema_decay=0.98)
_QUICK_T = (0.2, 0.5, 1.0, 2.0)
_SMOKE = ImageConfig(
    network="digits-tiny",
    parametrization="noise",
    iterations=6,
    batch=8,
    sde_steps=5,
    test_images=4,
    samples=4,
    elbo_draws=2,
    ode_tolerance=1e-2,
    mi_outer=16,
    score_draws=8,
    score_replicates=2,
    ema_decay=0.9,
)

SWEEPS: dict[str, list[ImageConfig]] = {
    "paper": [*over_T_and_seeds(_FEW_SHOT, PAPER_T, (0, 1, 2)), *over_T_and_seeds(_FULL, PAPER_T, (0, 1, 2))],
    "quick": [*over_T_and_seeds(_QUICK, _QUICK_T, (0, 1, 2)), *over_T_and_seeds(_QUICK_FULL, _QUICK_T, (0, 1, 2))],
    "smoke": [
        *over_T_and_seeds(_SMOKE, (0.5,), (0,)),
        *over_T_and_seeds(dataclasses.replace(_SMOKE, m=0, time_sampler="importance"), (0.5,), (0,)),
    ],
}


def main() -> None:
    """Run the sweep of the preset."""
    run_main(lambda: run_sweep(experiment("python -m diffusion.digits", SWEEPS)))


if __name__ == "__main__":
    main()
