"""The CIFAR-10 study: the two pre-trained networks as they are and fine-tuned on the NLL, one from scratch, ensembles.

`python -m itdiffusion.cifar10 [smoke|quick|paper|ensemble] [--flags]`; `sh itdiffusion/run_cifar10.sh` does the same
from any folder. The pre-trained networks lie in DATA_DIR/pretrained: IDDPM's `cifar10_uncond_vlb_50M_500K.pt` and the
Hugging Face folder `ddpm-cifar10-32`; `--members noise` takes the part of the sweep that needs neither. `ensemble`
comes after `paper`: all four, as they were and tuned.
"""

import dataclasses

from infolab.errors import run_main
from infolab.sweep import run_sweep
from itdiffusion.images import experiment
from itdiffusion.images_model import ImagesConfig

_TEST = ImagesConfig(
    dataset="cifar10",
    network="cifar10",
    epochs=0,
    continuous=True,
    points=1000,
    points_while_training=24,
    integrator="random",
    widen=False,
    variational_steps=100,
    eval_batch=256,
)
"""The published test: all test images, 1,000 random points in the range of the spectrum. The variational bound takes a
stratified 100 of each network's steps (published: all of them)."""

# Fine-tuning with the published batch, rate and epochs; the loss is the continuous NLL, its range the spectrum's.
TUNE_IDDPM = dataclasses.replace(_TEST, members=("iddpm",), epochs=10, batch=32, lr=2.5e-5, evaluate_every=1)
TUNE_DDPM = dataclasses.replace(_TEST, members=("ddpm",), epochs=10, batch=64, lr=1e-4, evaluate_every=1)
BEFORE = dataclasses.replace(_TEST, members=("iddpm", "ddpm"))
"""Both networks before tuning, and their ensemble."""
# From scratch, as in the simple public repository: the architecture of ddpm-cifar10-32, loc 6, scale 3.
SCRATCH = dataclasses.replace(
    _TEST, members=("noise",), epochs=20, batch=128, lr=1e-4, loc=6.0, scale=3.0, evaluate_every=5
)
_QUICK = dataclasses.replace(
    SCRATCH,
    members=("gaussian",),
    network="cifar10-narrow",
    epochs=1,
    lr=1e-3,
    lr_schedule="cosine",
    ema_decay=0.99,
    evaluate_every=0,
    test_images=64,
    points=48,
    integrator="deterministic",
    variational_steps=20,
)
SMOKE = dataclasses.replace(
    _QUICK,
    members=("noise",),
    network="cifar10-tiny",
    batch=4096,
    test_images=6,
    points=6,
    points_while_training=6,
    integrator="deterministic",
    variational_steps=2,
    samples=2,
    sample_steps=2,
    continuous=False,
)

SWEEPS: dict[str, list[ImagesConfig]] = {
    "paper": [BEFORE, TUNE_IDDPM, TUNE_DDPM, SCRATCH],
    "ensemble": [dataclasses.replace(_TEST, members=("iddpm", "ddpm", "tuned:iddpm", "tuned:ddpm"), samples=0)],
    "quick": [_QUICK],
    "smoke": [SMOKE],
}


def main() -> None:
    """Run the sweep of the preset."""
    run_main(lambda: run_sweep(experiment("python -m itdiffusion.cifar10", SWEEPS)))


if __name__ == "__main__":
    main()
