"""The image study on CIFAR-10 (32x32, colour): few-shot and full, over T and seeds.

`python -m diffusion.cifar10 [smoke|quick|paper] [--flags]`; `sh diffusion/run_cifar10.sh` does the same from any
folder. `--m 16` takes the few-shot half of the published sweep, `--m 0` the full one; `--R` sets the bound's
constant.
"""

import dataclasses

from diffusion import mnist
from diffusion.digits import PAPER_T
from diffusion.image import experiment
from diffusion.image_model import ImageConfig, over_T_and_seeds
from infolab.errors import run_main
from infolab.sweep import run_sweep

# The settings of MNIST with CIFAR-10's network, training images mirrored at random (the public loader mirrors the test
# images too, which is not done here). The full set's 10,000 iterations are 25 epochs.
FEW_SHOT = dataclasses.replace(mnist.FEW_SHOT, dataset="cifar10", network="cifar10", flip=True, eval_batch=256)
FULL = dataclasses.replace(FEW_SHOT, m=0)
QUICK = dataclasses.replace(mnist.QUICK, dataset="cifar10", network="cifar10-narrow")
SMOKE = dataclasses.replace(mnist.SMOKE, dataset="cifar10", network="cifar10-tiny", flip=True)

SWEEPS: dict[str, list[ImageConfig]] = {
    "paper": [*over_T_and_seeds(FEW_SHOT, PAPER_T, (0, 1, 2)), *over_T_and_seeds(FULL, PAPER_T, (0, 1, 2))],
    "quick": over_T_and_seeds(QUICK, mnist.QUICK_T, (0, 1, 2)),
    "smoke": [SMOKE, dataclasses.replace(SMOKE, m=0)],
}


def main() -> None:
    """Run the sweep of the preset."""
    run_main(lambda: run_sweep(experiment("python -m diffusion.cifar10", SWEEPS)))


if __name__ == "__main__":
    main()
