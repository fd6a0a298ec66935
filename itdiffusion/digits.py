"""The image study on the built-in scanned digits (8x8, 17 grey levels): denoisers from scratch, and their ensemble.

`python -m itdiffusion.digits [smoke|quick|paper] [--flags]`; `sh itdiffusion/run_digits.sh` does the same from any
folder.
"""

import dataclasses

from infolab.errors import run_main
from infolab.sweep import run_sweep
from itdiffusion.images import experiment
from itdiffusion.images_model import ImagesConfig, over_seeds

# The paper has no digits: its CIFAR-10 settings (batch 128, Adam 1e-4, the spectrum's law of log-SNR) with a smaller
# network, three heads, and more epochs, since these are 1,437 images.
_PAPER = ImagesConfig(
    members=("noise", "gaussian", "levels"),
    network="digits",
    epochs=400,
    batch=128,
    lr=1e-4,
    ema_decay=0.999,
    evaluate_every=100,
    points=1000,
    variational_steps=-1,
)
# A small network, trained briefly: a larger rate that falls to zero, and averaged weights.
_QUICK = dataclasses.replace(
    _PAPER,
    members=("gaussian", "levels"),
    network="digits-narrow",
    epochs=24,
    batch=64,
    lr=2e-3,
    lr_schedule="cosine",
    ema_decay=0.98,
    evaluate_every=6,
    points=64,
    points_while_training=24,
    variational_steps=40,
    sample_steps=60,
    samples=16,
)
_SMOKE = dataclasses.replace(
    _QUICK,
    network="digits-tiny",
    epochs=1,
    batch=512,
    evaluate_every=0,
    test_images=12,
    points=8,
    points_while_training=8,
    variational_steps=3,
    sample_steps=3,
    samples=4,
)

SWEEPS: dict[str, list[ImagesConfig]] = {
    "paper": over_seeds(_PAPER, (0, 1, 2)),
    "quick": over_seeds(_QUICK, (0, 1)),
    "smoke": [_SMOKE],
}


def main() -> None:
    """Run the sweep of the preset."""
    run_main(lambda: run_sweep(experiment("python -m itdiffusion.digits", SWEEPS)))


if __name__ == "__main__":
    main()
