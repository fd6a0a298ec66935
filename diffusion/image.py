"""The image study, one run: train a U-Net at one T on few-shot or full data, measure likelihood and bound.

The sweeps are in `diffusion.digits` and its neighbours, one module per data set.
"""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import torch

from common.data import ImageSet
from common.device import pick_device
from common.networks.arithmetic import set_arithmetic
from common.networks.unet import UNet, UNetConfig
from common.pieces import Pieces
from common.results import ImageBound, write, write_arrays
from common.runs import Run
from common.schedules import VP
from common.sweep import Cost, Experiment
from common.training import Training, train
from common.transforms import LogitTransform
from diffusion.image_config import ImageConfig
from diffusion.image_data import load_images
from diffusion.image_evaluate import ImageEvaluation
from diffusion.image_model import ImageObjective, ImageScore

AnyConfig = TypeVar("AnyConfig", bound=ImageConfig)
MakeObjective = Callable[[AnyConfig, ImageScore, ImageSet, LogitTransform], ImageObjective]


def run_image(preset: str, config: ImageConfig) -> None:
    """One run: config, data, model, loop, results."""
    run = Run("diffusion", config.dataset, preset, config)
    device = pick_device(config.device)
    data, test = load_images(config, device)
    with run.open():
        columns, pictures = train_and_measure(run, config, data, test, ImageObjective)
        provenance = run.provenance()
        write_arrays(config.results_dir, "diffusion", run.id, pictures, provenance)
        path = write(config.results_dir, ImageBound, run.id, [ImageBound(**row) for row in columns], provenance)
        run.say(f"{summary(config, columns)}, in {path} after {run.seconds:.0f} s")


def train_and_measure(
    run: Run, config: AnyConfig, data: ImageSet, test: ImageSet, make_objective: MakeObjective[AnyConfig]
) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    """Train the model on the images `data`, from the run's last checkpoint where there is one, and measure it.

    Args:
        run: the run, open.
        config: its settings.
        data: training images, on the device.
        test: held-out images, on the device.
        make_objective: (config, model, images, transform) -> the loss of a step.

    Returns:
        Columns of the rows of the bound, and pictures (see `ImageEvaluation.rows`).
    """
    transform = LogitTransform(data.levels, config.logit_A)
    score = ImageScore(
        UNet(config.unet(), config.seed), VP(config.beta_min, config.beta_max), config.parametrization
    ).to(data.images.device)
    set_arithmetic(score, config)
    objective = make_objective(config, score, data, transform)
    training = Training(
        model=score,
        optimizer=torch.optim.Adam(score.parameters(), lr=config.lr, fused=True),
        objective=objective,
        steps=config.iterations,
        ema_decay=config.ema_decay,
    )
    train(run, training)

    score.load_state_dict(training.averaged(), strict=False)
    epoch = config.iterations // objective.per_epoch
    return ImageEvaluation(config, data, test, transform, Pieces(run.folder, score)).rows(score, epoch)


def summary(config: ImageConfig, columns: list[dict[str, Any]]) -> str:
    """One line of a finished run's settings and its likelihood."""
    bpd = columns[0]["bpd_ode"]
    return f"{config.split}, T = {config.T}, seed {config.seed}: {bpd:.3f} bits/dim by the ODE"


def cost(config: ImageConfig) -> Cost:
    """Expected cost of one run: training, samplers under both step rules, ODE, ELBO and score losses."""
    size = config.unet()
    parameters = _parameters(size)
    # A convolution uses its weights at every pixel of its level: a factor that the coarser levels shrink.
    per_image = 2.0 * parameters * size.image_size**2 / 3
    images = float(config.iterations) * min(config.batch, config.m or config.batch)
    sampler_steps = config.sde_steps + max(1, round(config.T * config.sde_steps))
    evaluated = config.samples * sampler_steps + config.test_images * (config.elbo_draws + 3 * 100 * config.ode_probes)
    evaluated += 2 * config.score_draws * config.score_replicates
    memory = 16.0 * parameters + min(config.batch, 4096) * size.model_channels * size.image_size**2 * 4 * 60
    return Cost(parameters, memory, images + evaluated, per_image * (3 * images + evaluated))


@functools.lru_cache
def _parameters(size: UNetConfig) -> int:
    """Number of weights, counted on a network that is built: once for each size, since a sweep asks for every run."""
    return sum(item.numel() for item in UNet(size).parameters())


def experiment(command: str, sweeps: dict[str, list[ImageConfig]]) -> Experiment:
    """The image study on one data set's sweeps."""
    return Experiment(command, sweeps, ImageBound, ImageConfig.check, run_image, cost, kind=lambda config: config.split)
