"""The image study on Fashion-MNIST (28x28): MNIST's sweeps on a set in MNIST's format that Debian and Ubuntu package.

`python -m diffusion.fashion_mnist [smoke|quick|paper] [--flags]`; `sh diffusion/run_fashion_mnist.sh` does the same
from any folder. `apt-get install dataset-fashion-mnist` puts the images where they are found.
"""

import dataclasses

from diffusion import mnist
from diffusion.image import experiment
from diffusion.image_model import ImageConfig
from infolab.errors import run_main
from infolab.sweep import run_sweep

# The paper has no Fashion-MNIST: it stands in for MNIST where that is not at hand, with the same settings.
SWEEPS: dict[str, list[ImageConfig]] = {
    preset: [dataclasses.replace(config, dataset="fashion-mnist") for config in configs]
    for preset, configs in mnist.SWEEPS.items()
}


def main() -> None:
    """Run the sweep of the preset."""
    run_main(lambda: run_sweep(experiment("python -m diffusion.fashion_mnist", SWEEPS)))


if __name__ == "__main__":
    main()
