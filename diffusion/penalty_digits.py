"""The bound as a regulariser on the built-in scanned digits: image models under five weights of the penalty.

`python -m diffusion.penalty_digits [smoke|quick|paper] [--flags]`; `sh diffusion/run_penalty_digits.sh` does the same
from any folder.
"""

import dataclasses
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from diffusion import digits
from diffusion.image import cost, summary, train_and_measure
from diffusion.image_model import ImageConfig, ImageObjective, ImageScore, load_images
from diffusion.penalty import BoundPenalty, check_weights
from diffusion.tables import ImagePenalty
from infolab.config import AtLeast
from infolab.data import ImageSet
from infolab.data.images import LogitTransform
from infolab.device import pick_device
from infolab.errors import run_main
from infolab.results import write
from infolab.runs import Run
from infolab.sweep import Experiment, run_sweep

SEEDS = (0, 1, 2)
WEIGHTS = (0.0, 1e-6, 1e-5, 1e-4, 1.0)
"""R is 4,000 here, so w = 1 outweighs the score matching by orders of magnitude, and 1e-4 is of its size."""


@dataclass(frozen=True)
class PenaltyImageConfig(ImageConfig):
    """One network: the image study's settings, and the weight of the penalty."""

    penalty_weight: float = 0.0
    """w of the training loss, denoising score matching + w sqrt(2) R T3(L_hat); 1: the bound itself is trained."""
    strata: Annotated[int, AtLeast(1)] = 16
    """Time strata of L_hat, the largest mean score norm of a stratum of the batch."""

    def check(self) -> None:
        """Refuse settings that cannot run, before anything is written."""
        super().check()
        check_weights((self.penalty_weight,))


class PenalisedObjective(ImageObjective):
    """The image study's loss of one step plus the penalty, from one network call."""

    def __init__(self, config: PenaltyImageConfig, score: ImageScore, images: ImageSet, transform: LogitTransform):
        super().__init__(config, score, images, transform)
        weight, T = (torch.tensor([item], device=self.device) for item in (config.penalty_weight, config.T))
        self.penalty = BoundPenalty(weight, T, len(images), config.sde_steps, config.R, score.schedule, config.strata)

    def __call__(self, step: int) -> Tensor:
        """The loss, a scalar."""
        batch = self.denoise(step)
        return batch.loss() + self.penalty(batch.s[None], batch.t[None])[0]


def sweep(
    preset: str, m: int, seeds: tuple[int, ...], weights: tuple[float, ...], strata: int
) -> list[PenaltyImageConfig]:
    """The image study's settings of this preset and training set, at T = 1 under every weight."""
    base = next(config for config in digits.SWEEPS[preset] if config.m == m)
    fields = {item.name: getattr(base, item.name) for item in dataclasses.fields(base)}
    return [
        PenaltyImageConfig(**{**fields, "T": 1.0, "seed": seed, "penalty_weight": weight, "strata": strata})
        for seed in seeds
        for weight in weights
    ]


# Few-shot batches are 16 images: four of them to a stratum.
SWEEPS: dict[str, list[PenaltyImageConfig]] = {
    "paper": [*sweep("paper", 16, SEEDS, WEIGHTS, 4), *sweep("paper", 0, SEEDS, WEIGHTS, 16)],
    "quick": sweep("quick", 16, SEEDS, WEIGHTS, 4),
    "smoke": sweep("smoke", 16, (0,), (0.0, 1e-5), 4),
}


def main() -> None:
    """Run the sweep of the preset."""
    run_main(lambda: run_sweep(EXPERIMENT))


def run_penalty(preset: str, config: PenaltyImageConfig) -> None:
    """One run: config, data, model, loop, results."""
    run = Run("diffusion", f"penalty_{config.dataset}", preset, config)
    data, test = load_images(config, pick_device(config.device))
    with run.open():
        columns, _ = train_and_measure(run, config, data, test, PenalisedObjective)
        rows = [ImagePenalty(**row, penalty_weight=config.penalty_weight, strata=config.strata) for row in columns]
        path = write(config.results_dir, ImagePenalty, run.id, rows, run.provenance())
        weight = f"weight {config.penalty_weight:g}"
        run.say(f"{weight}, {summary(config, columns)}, in {path} after {run.seconds:.0f} s")


EXPERIMENT = Experiment(
    "python -m diffusion.penalty_digits", SWEEPS, ImagePenalty, PenaltyImageConfig.check, run_penalty, cost,
    kind=lambda config: config.split,
)  # fmt: skip


if __name__ == "__main__":
    main()
