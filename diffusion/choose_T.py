"""The diffusion time T chosen by the bound: as a parameter trained beside a network, and by a search over T."""

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from diffusion import toy
from diffusion.bound_in_T import BoundInT, NormInT, TermsInT
from diffusion.penalty import BoundPenalty, PenalisedLoss, check_weights
from diffusion.tables import BoundColumns, ToyChoice
from diffusion.toy import ToyConfig, ToyStudy, dsm_loss, training_data
from diffusion.toy_evaluate import TERM1_POINTS
from infolab.config import AtLeast, Positive
from infolab.denoise import Denoiser
from infolab.device import on_cpu, pick_device
from infolab.epochs import NoisedEpochs
from infolab.errors import UserError, run_main
from infolab.nn.mlp import EnsembleMLP
from infolab.results import write
from infolab.runs import Run
from infolab.schedules import VP, append_dims
from infolab.storage import Keep, Pieces
from infolab.sweep import Cost, Experiment, run_sweep
from infolab.training import Training, train

# ----------
# Settings of the choice of the diffusion time T by the bound.


@dataclass(frozen=True)
class ChooseTConfig(ToyConfig):
    """T chosen on one shared network per seed, then networks of their own at the chosen T and on a grid.

    The shared networks see t ~ U(0, largest T) and so serve every T up to it.
    """

    evaluate_every: int = 0
    """Epochs between records of T and the bound while T is trained; 0: only at the end."""
    T_start: float = 1.0
    """T by gradient starts here."""
    T_lr: Annotated[float, Positive()] = 0.03
    """Learning rate of Adam on u in T = (largest T) sigmoid(u); it falls linearly to 0."""
    T_every: Annotated[int, AtLeast(1)] = 5
    """Epochs between steps of T."""
    norm_every: Annotated[int, AtLeast(1)] = 100
    """Epochs between measurements of the score norm L and of its slope in T, on the sampler's path."""
    paths: Annotated[int, AtLeast(1)] = 256
    """Sampler paths of one such measurement, and of each T of the search."""
    T_tolerance: Annotated[float, Positive()] = 0.005
    """Width of the search's last interval of T."""
    penalty_weights: tuple[float, ...] = (0.0, 0.03)
    """Weights of the score-norm penalty: every T is trained with each of them."""
    strata: Annotated[int, AtLeast(1)] = 16
    """Time strata of the score norm in the penalty."""

    def check(self) -> None:
        """Refuse settings that cannot run, before anything is written."""
        super().check()
        if len(self.T) < 2:
            raise UserError("--T needs two values at least: the grid that the search starts from")
        if not self.t_eps < self.T_start < max(self.T):
            raise UserError(f"--T-start must lie between --t-eps and the largest T ({max(self.T)}), not {self.T_start}")
        check_weights(self.penalty_weights)


def _by_seed(base: ChooseTConfig) -> list[ChooseTConfig]:
    # A run per seed: every choice is made on one training set, and runs fill the cores.
    return [dataclasses.replace(base, seeds=(seed,)) for seed in base.seeds]


_QUICK = ChooseTConfig(
    T=(0.2, 0.4, 0.6, 0.8, 1.0, 1.4, 2.0), epochs=1500, evaluate_every=150, sde_steps=200, mi_draws=2, test_points=500
)
_SMOKE = ChooseTConfig(
    m=16, T=(0.4, 1.0, 2.0), seeds=(0,), epochs=20, evaluate_every=10, sde_steps=10, test_points=50, hidden=16,
    mi_draws=2, norm_every=10, paths=20, T_tolerance=0.1,
)  # fmt: skip

SWEEPS: dict[str, list[ChooseTConfig]] = {
    "paper": _by_seed(ChooseTConfig(evaluate_every=500)),
    "quick": _by_seed(_QUICK),
    "smoke": _by_seed(_SMOKE),
}


# ----------
# Least values of functions of one variable, several at a time: a coarse grid, then golden section.

GOLDEN = (math.sqrt(5) - 1) / 2


def grid_then_golden(
    function: Callable[[Tensor], Tensor], members: int, grid: Sequence[float], tolerance: float
) -> tuple[Tensor, list[tuple[float, Tensor]]]:
    """Minimise k functions side by side: each between the neighbours of its best grid point, by golden section.

    Args:
        function: arguments (k,) float64 -> values (k,), member by member.
        members: k.
        grid: arguments, two at least, the same for all members.
        tolerance: width of the last interval.

    Returns:
        The best argument of each member among all that were tried (k,), and the grid with its values (k,).

    >>> best, _ = grid_then_golden(lambda x: (x - torch.tensor([0.3, 2.0])).square(), 2, [0.0, 0.5, 1.0], 1e-3)
    >>> [round(float(x), 2) for x in best]
    [0.3, 1.0]
    """
    arguments = torch.tensor(sorted(grid), dtype=torch.float64)
    scanned = [(float(x), function(x.repeat(members)).double()) for x in arguments]
    values = torch.stack([value for _, value in scanned])
    lowest, index = values.min(0)
    best = arguments[index]
    low, high = arguments[(index - 1).clamp(min=0)], arguments[(index + 1).clamp(max=len(arguments) - 1)]

    inner = [high - GOLDEN * (high - low), low + GOLDEN * (high - low)]
    at = [function(x).double() for x in inner]
    while True:
        for x, value in zip(inner, at, strict=True):
            better = value < lowest
            best, lowest = torch.where(better, x, best), torch.where(better, value, lowest)
        left = at[0] < at[1]  # the minimum lies in [low, right inner point], else in [left inner point, high]
        low, high = torch.where(left, low, inner[0]), torch.where(left, inner[1], high)
        if float((high - low).max()) <= tolerance:
            return best, scanned
        # Of the two new inner points one is an old one; the other is evaluated.
        new = torch.where(left, high - GOLDEN * (high - low), low + GOLDEN * (high - low))
        at_new = function(new).double()
        inner, at = (
            [torch.where(left, new, inner[1]), torch.where(left, inner[0], new)],
            [torch.where(left, at_new, at[1]), torch.where(left, at[0], at_new)],
        )


# ----------
# Networks that serve every T up to the largest, with T as a parameter beside their weights, and their training.

MEASURED = ("log_T", "log_norm", "slope")


class SharedNetworks(nn.Module):
    """One network per seed for all t in (0, T_max), and one T = T_max sigmoid(u) per seed.

    The last measurement of the score norm is kept in buffers, so that a checkpoint holds it.
    """

    log_T: Tensor
    log_norm: Tensor
    slope: Tensor

    def __init__(self, config: ChooseTConfig):
        super().__init__()
        k, h = len(config.seeds), config.hidden
        self.T_max, self.schedule = max(config.T), VP(config.beta_min, config.beta_max)
        self.network = EnsembleMLP((3, h, h, h, 2), config.seeds)
        start = torch.tensor(config.T_start / self.T_max, dtype=torch.float64)
        self.u = nn.Parameter(torch.logit(start).float().repeat(k))
        for name in MEASURED:
            self.register_buffer(name, torch.zeros(k, dtype=torch.float64))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "SharedNetworks":
        """Move or convert the networks and u; the measurement stays on the CPU in float64, which MPS has not."""
        kept = {name: self._buffers.pop(name) for name in MEASURED}
        super()._apply(fn, recurse)
        self._buffers.update(kept)
        return self

    @property
    def T(self) -> Tensor:
        """The diffusion times (k,) float64, in (0, T_max), on the CPU, where the terms of the bound are added up."""
        return self.T_max * torch.sigmoid(on_cpu(self.u))

    @property
    def norm(self) -> NormInT:
        """The score norm near T as last measured."""
        return NormInT(self.log_T, self.log_norm, self.slope)

    def remember(self, norm: NormInT) -> None:
        """Keep a measurement of the score norm."""
        self.log_T.copy_(norm.log_T)
        self.log_norm.copy_(norm.log_norm)
        self.slope.copy_(norm.slope)

    def denoiser(self) -> Denoiser:
        """The networks by their scores at x (k, n, 2), t (k, n), differentiable in both; the weights are held fixed."""

        def score(x: Tensor, t: Tensor) -> Tensor:
            weights = {name: item.detach() for name, item in self.network.named_parameters()}
            return functional_call(self.network, weights, (x, t)) / append_dims(self.schedule.beta(t).sqrt(), x)

        return Denoiser.of_score(score, self.schedule)


class SharedObjective:
    """Loss of one optimiser step: denoising score matching of the weights, t ~ U(0, T_max), and the bound of T.

    The bound takes the weights as they stand, so neither changes what the other minimises. T enters through T1, T2,
    the factor of T3, the upper end of the score loss, and L, whose size and slope in T are measured on the sampler's
    path every `norm_every` epochs and held between.

    Args:
        config: the run's settings.
        model: networks and T.
        bound: the bound as a function of T.
        optimizer: its second parameter group holds T; the group's learning rate falls linearly to 0.
    """

    def __init__(self, config: ChooseTConfig, model: SharedNetworks, bound: BoundInT, optimizer: torch.optim.Optimizer):
        self.config, self.model, self.bound, self.optimizer = config, model, bound, optimizer
        longest = torch.full((len(config.seeds),), model.T_max)
        self.batches = NoisedEpochs(bound.data, model.schedule, longest, list(config.seeds), config.batch)

    def __call__(self, step: int) -> Tensor:
        """Losses (k,) of the networks; the gradient in T is the bound's."""
        loss = dsm_loss(self.model.network, self.batches, step)
        epoch, part = divmod(step, self.batches.steps_per_epoch)
        if part == 0 and epoch % self.config.norm_every == 0:
            self.model.remember(self.bound.norm_near(self.model.denoiser(), self.model.T.detach(), self.model.T_max))
        if part == 0 and epoch % self.config.T_every == 0:
            self.optimizer.param_groups[1]["lr"] = self.config.T_lr * (1 - epoch / self.config.epochs)
            nats = self.bound_of_T(epoch)
            loss = loss + (nats - nats.detach()).to(loss)
        return loss

    def bound_of_T(self, epoch: int) -> Tensor:
        """The bound (k,) at the present T, with fresh noise for each epoch, differentiable in T alone."""
        T = self.model.T
        norm = self.model.norm.at(T)
        draws, points = self.config.mi_draws, self.bound.m
        return self.bound.terms(self.model.denoiser(), T, norm, "T", epoch, draws=draws, points=points).nats


# ----------
# The diffusion time T chosen by the bound: as a parameter trained beside a network, and by a search over T.
#
# `python -m diffusion.choose_T [smoke|quick|paper] [--flags]`; `sh diffusion/run_choose_T.sh` does the same from any
# folder. T1 + sqrt(2) R T2 alone falls in T, so the least T is that of the whole bound, as the networks stand.

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

    def evaluate(step: int) -> list[ToyChoice]:
        epoch = step // per_epoch
        terms_at = measurer(config, model, bound, Pieces(run.folder, model))
        rows = gradient_rows(config, model, terms_at, epoch)
        if epoch == config.epochs:
            rows += search_rows(config, terms_at)
        return rows

    training = Training(
        model=model,
        optimizer=optimizer,
        objective=objective,
        steps=config.epochs * per_epoch,
        evaluate=evaluate,
        evaluate_after=[epoch * per_epoch for epoch in {*range(every, config.epochs + 1, every), config.epochs}],
        row_type=ToyChoice,
    )
    return train(run, training)


def measurer(config: ChooseTConfig, model: SharedNetworks, bound: BoundInT, keep: Keep) -> TermsAt:
    """Measures all terms on the shared networks as they stand, L on the sampler's path at the T that is asked for.

    `keep` keeps each call as a piece: the same T are asked for, in the same order, whenever it is done again.
    """
    draws = max(config.mi_draws, -(-TERM1_POINTS // config.m))
    numbers = itertools.count()

    @torch.no_grad()
    def measure(T: torch.Tensor) -> dict[str, torch.Tensor]:
        norm = bound.norm(model.denoiser(), T)
        terms = bound.terms(model.denoiser(), T, norm, "choose_T", draws=draws, points=512, replicates=16)
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
    return study.train(run, ToyChoice)


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
