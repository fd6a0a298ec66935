"""The image study on the built-in patches (32x32x3 crops of two photographs): CIFAR-10's shape without its files.

`python -m itdiffusion.patches [smoke|quick|paper] [--flags]`; `sh itdiffusion/run_patches.sh` does the same from any
folder.
"""

import dataclasses

from infolab.errors import run_main
from infolab.sweep import run_sweep
from itdiffusion.cifar10 import SCRATCH
from itdiffusion.cifar10 import SMOKE as CIFAR10_SMOKE
from itdiffusion.images import experiment
from itdiffusion.images_model import ImagesConfig, over_seeds

# The settings of CIFAR-10 from scratch; a sixth of the images, so six times the epochs; the law from the spectrum.
_PAPER = dataclasses.replace(SCRATCH, dataset="patches", epochs=120, loc=0.0, scale=0.0, evaluate_every=30)
# A narrow network for two CPU cores and a minute: the linear optimal denoiser carries most of it.
_QUICK = dataclasses.replace(
    _PAPER,
    members=("gaussian",),
    network="cifar10-narrow",
    epochs=1,
    batch=64,
    lr=2e-3,
    lr_schedule="cosine",
    ema_decay=0.95,
    evaluate_every=0,
    test_images=40,
    points=40,
    integrator="deterministic",
    variational_steps=12,
    samples=9,
    sample_steps=25,
)

SWEEPS: dict[str, list[ImagesConfig]] = {
    "paper": over_seeds(_PAPER, (0, 1, 2)),
    "quick": [_QUICK],
    "smoke": [dataclasses.replace(CIFAR10_SMOKE, dataset="patches")],
}


def main() -> None:
    """Run the sweep of the preset."""
    run_main(lambda: run_sweep(experiment("python -m itdiffusion.patches", SWEEPS)))


if __name__ == "__main__":
    main()
