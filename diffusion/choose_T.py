"""The diffusion time T chosen by the bound: as a parameter trained beside a network, and by a search over T.

`python -m diffusion.choose_T [smoke|quick|paper] [--flags]`; `sh diffusion/run_choose_T.sh` does the same from any
folder. T1 + sqrt(2) R T2 alone falls in T, so the least T is that of the whole bound, as the networks stand.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable
from typing import Any

import torch

from common.device import pick_device
from common.errors import run_main
from common.pieces import Keep, Pieces
from common.results import write
from common.results.tables.diffusion import BoundColumns, ToyChoice
from common.runs import Run
from common.schedules import VP
from common.sweep import Cost, Experiment, run_sweep
from common.training import Training, train
from diffusion import toy
from diffusion.bound_in_T import BoundInT, TermsInT
from diffusion.choose_T_config import SWEEPS, ChooseTConfig
from diffusion.choose_T_model import SharedNetworks, SharedObjective
from diffusion.penalty import BoundPenalty, PenalisedLoss
from diffusion.search import grid_then_golden
from diffusion.toy import ToyStudy, training_data
from diffusion.toy_evaluate import TERM1_POINTS

TermsAt = Callable[[torch.Tensor], TermsInT]
"""All terms of the bound at T (k,)."""
T_BETAS = (0.9, 0.95)
"""Adam's memories for T: short ones, since the bound of an untrained network has far larger gradients."""


def main() -> None:
    """Run the sweep of the preset."""
    run_main(lambda: run_sweep(EXPERIMENT))


def run_choice(preset: str, config: ChooseTConfig) -> None:
    """One run: T by gradient and by search on shared networks, then networks of their own at each T, results."""
    run = Run("diffusion", "choose_T", preset, config)
    own = Run("diffusion", "choose_T_own", preset, config)
    with run.open(), own.open():
        chosen = choose(run, config)
        measured = measure(own, config, chosen)
        provenance = run.provenance()
        path = write(config.results_dir, ToyChoice, run.id, [*chosen, *measured], provenance)
        found = {rule: [row.T for row in last(chosen, rule)] for rule in ("gradient", "search")}
        texts = [f"T by {rule} {', '.join(f'{T:.3f}' for T in values)}" for rule, values in found.items()]
        run.say(f"{'; '.join(texts)}; {len(chosen) + len(measured)} rows in {path} after {run.seconds:.0f} s")


def choose(run: Run, config: ChooseTConfig) -> list[ToyChoice]:
    """Train the shared networks and T together, then search over T on them: rows of network `shared`."""
    device, seeds = pick_device(config.device), list(config.seeds)
    schedule = VP(config.beta_min, config.beta_max)
    data = training_data(config, seeds).to(device)
    model = SharedNetworks(config).to(device)
    bound = BoundInT(data, seeds, schedule, R=config.R, steps=config.sde_steps, paths=config.paths)
    optimizer = torch.optim.Adam(
        [
            {"params": list(model.network.parameters()), "lr": config.lr},
            {"params": [model.u], "lr": config.T_lr, "betas": T_BETAS},
        ],
        fused=True,
    )
    objective = SharedObjective(config, model, bound, optimizer)
    per_epoch = objective.batches.steps_per_epoch
    every = config.evaluate_every or config.epochs

    def evaluate(step: int) -> list[dict[str, Any]]:
        epoch = step // per_epoch
        terms_at = measurer(config, model, bound, Pieces(run.folder, model))
        rows = gradient_rows(config, model, terms_at, epoch)
        if epoch == config.epochs:
            rows += search_rows(config, terms_at)
        return toy.as_dicts(rows)

    training = Training(
        model=model,
        optimizer=optimizer,
        objective=objective,
        steps=config.epochs * per_epoch,
        evaluate=evaluate,
        evaluate_after=[epoch * per_epoch for epoch in {*range(every, config.epochs + 1, every), config.epochs}],
    )
    return [ToyChoice(**row) for row in train(run, training)]


def measurer(config: ChooseTConfig, model: SharedNetworks, bound: BoundInT, keep: Keep) -> TermsAt:
    """Measures all terms on the shared networks as they stand, L on the sampler's path at the T that is asked for.

    `keep` keeps each call as a piece: the same T are asked for, in the same order, whenever it is done again.
    """
    draws = max(config.mi_draws, -(-TERM1_POINTS // config.m))
    numbers = itertools.count()

    @torch.no_grad()
    def measure(T: torch.Tensor) -> dict[str, torch.Tensor]:
        norm = bound.norm(model.score, T)
        terms = bound.terms(model.score, T, norm, "choose_T", draws=draws, points=512, replicates=16)
        return {name: item for name, item in vars(terms).items() if name != "R"}

    return lambda T: TermsInT(**keep(f"terms-{next(numbers):03d}", lambda: measure(T)), R=config.R)


def gradient_rows(config: ChooseTConfig, model: SharedNetworks, terms_at: TermsAt, epoch: int) -> list[BoundColumns]:
    """T as trained so far and the bound there, one row for each network."""
    T = model.T.detach()
    terms = terms_at(T)
    return [shared_row(config, terms, i, epoch, "gradient", float(T[i])) for i in range(len(T))]


def search_rows(config: ChooseTConfig, terms_at: TermsAt) -> list[BoundColumns]:
    """The grid that the search looked at and the T of the least bound that it found."""
    seen: dict[float, TermsInT] = {}

    def nats(T: torch.Tensor) -> torch.Tensor:
        terms = terms_at(T)
        seen.setdefault(float(T[0]), terms)
        return terms.nats

    members = range(len(config.seeds))
    best, scanned = grid_then_golden(nats, len(config.seeds), config.T, config.T_tolerance)
    rows = [shared_row(config, seen[T], i, config.epochs, "scan", T, T) for T, _ in scanned for i in members]
    terms = terms_at(best)
    return [*rows, *(shared_row(config, terms, i, config.epochs, "search", float(best[i])) for i in members)]


def shared_row(
    config: ChooseTConfig, terms: TermsInT, index: int, epoch: int, rule: str, T: float, given: float | None = None
) -> ToyChoice:
    """A row of one shared network."""
    return ToyChoice(
        dataset=config.dataset,
        model="mlp",
        seed=config.seeds[index],
        m=config.m,
        d=2,
        T=T,
        T_given=given,
        epoch=epoch,
        sde_steps=config.sde_steps,
        step_rule="fixed_number",
        variant="published",
        t_eps=config.t_eps,
        score_norm=float(terms.score_norm[index]),
        penalty_weight=0.0,
        strata=config.strata,
        network="shared",
        rule=rule,
        **terms.member(index).columns(),
    )


def last(rows: list[ToyChoice], rule: str) -> list[ToyChoice]:
    """The rows of this rule at the end of the training, seed by seed."""
    return [row for row in rows if row.rule == rule and row.epoch == max(one.epoch for one in rows)]


def measure(run: Run, config: ChooseTConfig, chosen: list[ToyChoice]) -> list[ToyChoice]:
    """Train a network of its own at each T of the grid and at each seed's chosen T, with each penalty weight."""
    at: list[tuple[str, float, float | None, int]] = [("grid", T, T, seed) for T in config.T for seed in config.seeds]
    at += [(rule, row.T, None, row.seed) for rule in ("gradient", "search") for row in last(chosen, rule)]
    members = [(*place, weight) for weight in config.penalty_weights for place in at]

    def row(index: int, columns: dict[str, Any]) -> ToyChoice:
        rule, _, given, _, weight = members[index]
        return ToyChoice(
            **columns, T_given=given, network="own", rule=rule, penalty_weight=weight, strata=config.strata
        )

    schedule, device = VP(config.beta_min, config.beta_max), pick_device(config.device)
    times, weights = (torch.tensor([member[i] for member in members], device=device) for i in (1, 4))
    penalty = BoundPenalty(weights, times, config.m, config.sde_steps, config.R, schedule, config.strata)
    study = ToyStudy(
        dataclasses.replace(config, evaluate_every=0),
        [(T, seed) for _, T, _, seed, _ in members],
        PenalisedLoss(penalty, schedule),
        row,
    )
    return [ToyChoice(**columns) for columns in study.train(run)]


def cost(config: ChooseTConfig) -> Cost:
    """Expected cost of one run: shared networks and the search on them, then all networks of their own."""
    per_seed = (len(config.T) + 2) * len(config.penalty_weights)
    own = toy.cost(dataclasses.replace(config, T=tuple(float(i + 1) for i in range(per_seed)), evaluate_every=0))
    k, parameters = len(config.seeds), own.parameters / (per_seed * len(config.seeds))
    trained = float(k) * config.epochs * config.m * (1 + 1 / config.T_every)
    looks = 2 * config.epochs / config.norm_every + len(config.T) + 2 * math.log2(1 / config.T_tolerance)
    measured = looks * k * config.paths * config.sde_steps
    flops = 2 * parameters * (3 * trained + measured)
    return Cost(
        own.parameters + int(k * parameters), own.memory_bytes, own.evaluations + trained + measured, own.flops + flops
    )


EXPERIMENT = Experiment("python -m diffusion.choose_T", SWEEPS, ToyChoice, ChooseTConfig.check, run_choice, cost)


if __name__ == "__main__":
    main()
