"""What small feature networks detect: one network a data set, FID of distorted images in standard errors.

`python -m infodiffusion.sensitivity [smoke|quick|paper] [--flags]`; `run_sensitivity.sh` does the same.
"""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from infodiffusion.tables import InfoSensitivity
from infolab.config import EXCLUDED_FROM_RUN_ID, AtLeast, OneOf, RunConfig
from infolab.data import NAMES
from infolab.data.places import default_data_dir
from infolab.errors import UserError, run_main
from infolab.metrics.inputs import data_set, read_images, targets_of
from infolab.metrics.networks import SmallNetwork, train_extractor
from infolab.results import write
from infolab.runs import Run
from infolab.sweep import Cost, Experiment, run_sweep


@dataclass(frozen=True)
class SensitivityConfig(RunConfig):
    """The network that `python -m infodiffusion.metrics features --data DATASET` trains."""

    data_dir: Path = field(default_factory=default_data_dir, metadata=EXCLUDED_FROM_RUN_ID)
    """Folder of data sets that are not built in."""
    dataset: Annotated[str, OneOf("data set", NAMES)] = "digits"
    """Image set (`python -m infolab.data doctor` lists them)."""
    steps: Annotated[int, AtLeast(1)] = 400
    """Optimiser steps of the network, 128 images each."""
    seed: int = 0
    """Seed of its weights and batches."""


def sets(names: tuple[str, ...], steps: int = 400) -> list[SensitivityConfig]:
    """One network of each data set."""
    return [SensitivityConfig(dataset=name, steps=steps) for name in names]


SWEEPS = {
    "paper": sets(("sprites", "digits", "mnist", "fashion-mnist")),
    "quick": sets(("sprites", "digits")),
    "smoke": sets(("digits",), steps=20),
}


def run_sensitivity(preset: str, config: SensitivityConfig) -> None:
    """One run: train, measure, keep the network and the table."""
    run = Run("infodiffusion", f"sensitivity-{config.dataset}", preset, config)
    with run.open():
        train, test = (f"{config.dataset}:{split}" for split in ("train", "test"))
        images, held_out = (read_images(one, "--dataset", config.data_dir) for one in (train, test))
        targets, modes = (targets_of(data_set(one, config.data_dir)) for one in (train, test))
        network = train_extractor(images, targets, f"small-{config.dataset}", config.seed, config.steps)
        network.calibrate(held_out, modes).save(run.folder / f"{network.name}.safetensors")
        if network.sensitivity is None:
            raise UserError(f"{config.dataset} has {len(held_out)} test images, too few to measure what is seen")
        settings = {"dataset": config.dataset, "network": network.name, "seed": config.seed, "steps": config.steps}
        rows = [
            InfoSensitivity(**settings, **dataclasses.asdict(row), standard_errors=row.standard_errors)
            for row in network.sensitivity.rows
        ]
        write(config.results_dir, InfoSensitivity, run.id, rows, run.provenance())
    run.say(f"{network.name}: {network.sensitivity}")


def cost(config: SensitivityConfig) -> Cost:
    """Expected cost of one run: its steps, of about 16,000 operations a pixel, forward and back."""
    parameters = sum(part.numel() for part in SmallNetwork("", 1, (10,)).parameters())
    pixels, work = 64 if config.dataset == "digits" else 1_024, 128.0 * config.steps
    return Cost(parameters, 16.0 * parameters, work, work * pixels * 1.6e4)


def main() -> None:
    """Run the sweep of the preset."""
    experiment = Experiment(
        command="python -m infodiffusion.sensitivity",
        presets=dict(SWEEPS),
        row_type=InfoSensitivity,
        check=SensitivityConfig.check,
        run=run_sensitivity,
        cost=cost,
        kind=lambda config: config.dataset,
    )
    run_main(lambda: run_sweep(experiment))


if __name__ == "__main__":
    main()
