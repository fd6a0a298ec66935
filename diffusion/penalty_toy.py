"""The bound as a regulariser on a 2-D set: networks trained side by side under five weights of the penalty.

`python -m diffusion.penalty_toy [smoke|quick|paper] [--flags]`; `sh diffusion/run_penalty_toy.sh` does the same from
any folder.
"""

import dataclasses
from dataclasses import dataclass
from typing import Annotated, Any

import torch

from diffusion import toy
from diffusion.penalty import BoundPenalty, PenalisedLoss, check_weights
from diffusion.tables import ToyPenalty
from diffusion.toy import ToyConfig, ToyStudy
from infolab.config import AtLeast
from infolab.device import pick_device
from infolab.errors import run_main
from infolab.results import write
from infolab.runs import Run
from infolab.schedules import VP
from infolab.sweep import Cost, Experiment, run_sweep


@dataclass(frozen=True)
class PenaltyToyConfig(ToyConfig):
    """One batch of networks: every T with every weight of the penalty and every seed."""

    penalty_weights: tuple[float, ...] = (0.0, 0.01, 0.03, 0.1, 1.0)
    """w of the training loss, denoising score matching + w sqrt(2) R T3(L_hat); 1: the bound itself is trained."""
    strata: Annotated[int, AtLeast(1)] = 16
    """Time strata of L_hat, the largest mean score norm of a stratum of the batch."""

    def check(self) -> None:
        """Refuse settings that cannot run, before anything is written."""
        super().check()
        check_weights(self.penalty_weights)


def _at(base: PenaltyToyConfig, times: tuple[float, ...]) -> list[PenaltyToyConfig]:
    return [dataclasses.replace(base, T=(T,)) for T in times]


_QUICK = PenaltyToyConfig(epochs=1500, sde_steps=200, mi_draws=2, test_points=500)
_SMOKE = PenaltyToyConfig(
    m=16, seeds=(0,), epochs=20, sde_steps=10, test_points=50, hidden=16, mi_draws=2, penalty_weights=(0.0, 0.1, 1.0)
)

SWEEPS: dict[str, list[PenaltyToyConfig]] = {
    "paper": _at(PenaltyToyConfig(), (0.6, 1.0)),
    "quick": _at(_QUICK, (0.6, 1.0)),
    "smoke": _at(_SMOKE, (0.6,)),
}


def main() -> None:
    """Run the sweep of the preset."""
    run_main(lambda: run_sweep(EXPERIMENT))


def run_penalty(preset: str, config: PenaltyToyConfig) -> None:
    """One run: config, data, models, loop, results."""
    run = Run("diffusion", "penalty_toy", preset, config)
    members = [(T, seed, weight) for T in config.T for weight in config.penalty_weights for seed in config.seeds]

    def row(index: int, columns: dict[str, Any]) -> ToyPenalty:
        return ToyPenalty(**columns, penalty_weight=members[index][2], strata=config.strata)

    with run.open():
        schedule, device = VP(config.beta_min, config.beta_max), pick_device(config.device)
        times, weights = (torch.tensor([member[i] for member in members], device=device) for i in (0, 2))
        penalty = BoundPenalty(weights, times, config.m, config.sde_steps, config.R, schedule, config.strata)
        study = ToyStudy(config, [(T, seed) for T, seed, _ in members], PenalisedLoss(penalty, schedule), row)
        rows = study.train(run, ToyPenalty)
        path = write(config.results_dir, ToyPenalty, run.id, rows, run.provenance())
        run.say(f"T = {config.T}: {len(rows)} rows in {path} after {run.seconds:.0f} s")


def cost(config: PenaltyToyConfig) -> Cost:
    """Expected cost of one run: the toy study's, for every weight."""
    one, k = toy.cost(config), len(config.penalty_weights)
    return Cost(k * one.parameters, k * one.memory_bytes, k * one.evaluations, k * one.flops)


EXPERIMENT = Experiment(
    "python -m diffusion.penalty_toy", SWEEPS, ToyPenalty, PenaltyToyConfig.check, run_penalty, cost
)


if __name__ == "__main__":
    main()
