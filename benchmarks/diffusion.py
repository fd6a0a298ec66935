"""Rows of the speed table that belong to the diffusion paper: training sweeps, their growth, and the bound."""

import itertools
import math
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from benchmarks import diffusion_images
from benchmarks.timing import Duel, seconds
from diffusion import plain
from diffusion.toy import PAPER_T, SEEDS, ToyConfig, dsm_loss, training_data
from diffusion.toy_evaluate import plug_in
from infolab.bound import Bound, ScoreNorm, score_losses, term2, term3
from infolab.empirical import mutual_information_batch
from infolab.epochs import NoisedEpochs
from infolab.nn.mlp import EnsembleMLP
from infolab.noise import generator
from infolab.sample import StepNoise, reverse_sde
from infolab.schedules import VP

SCHEDULE = VP(plain.BETA_MIN, plain.BETA_MAX)
SIZES = (3, 128, 128, 128, 2)
PARAMETERS = sum((fan_in + 1) * fan_out for fan_in, fan_out in itertools.pairwise(SIZES))
BATCH = 256
T_EPS = ToyConfig.t_eps
R = ToyConfig.R


class Sweep:
    """Networks trained side by side as `diffusion.toy` trains them; `run` goes on where the last call stopped.

    Args:
        members: (T, seed) of each network.
        m: training points per network.
    """

    def __init__(self, members: list[tuple[float, int]], m: int):
        seeds = [seed for _, seed in members]
        self.data = training_data(ToyConfig(m=m), seeds)
        self.model = EnsembleMLP(SIZES, seeds)
        times = torch.tensor([T for T, _ in members])
        self.batches = NoisedEpochs(self.data, SCHEDULE, times, seeds, BATCH)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3, fused=True)
        self.step = 0

    def run(self, epochs: int) -> Tensor:
        """Train for `epochs` more epochs and return the last losses (k,)."""
        for _ in range(epochs * self.batches.steps_per_epoch):
            self.optimizer.zero_grad(set_to_none=True)
            loss = dsm_loss(self.model, self.batches, self.step)
            loss.sum().backward()
            self.optimizer.step()
            self.step += 1
        return loss.detach()


def train_sweep(m: int, wanted: float, epochs: int) -> Duel:
    """50 networks (10 T x 5 seeds) on m points each, milliseconds per epoch of the whole sweep.

    The reference trains every tenth network for `epochs` epochs, and its time is multiplied by ten.
    """
    members = [(T, seed) for T in PAPER_T for seed in SEEDS]
    part = members[::10]
    sweep, data = Sweep(members, m), training_data(ToyConfig(m=m), list(SEEDS))
    sweep.run(epochs)
    plain.train(plain.make_network(), plain.epochs(data[0], 1.0, 50, BATCH, torch.Generator()))

    def reference(repeat: int) -> float:
        def one_after_the_other() -> None:
            for T, seed in part:
                source = generator(seed, "reference", repeat)
                plain.train(plain.make_network(), plain.epochs(data[seed], T, epochs, BATCH, source))

        return 1e3 * seconds(one_after_the_other) / epochs * len(members) / len(part)

    return Duel(
        setting=f"m={m}; {len(members)} networks 3-128-128-128-2; {epochs} epochs; reference: {len(part)} networks, "
        f"time x {len(members) // len(part)}",
        unit="ms/epoch",
        wanted=wanted,
        ours=lambda repeat: 1e3 * seconds(lambda: sweep.run(epochs)) / epochs,
        reference=reference,
        evaluations_ours=len(members) * m,
        evaluations_reference=len(members) * m,
        # A training step is three products of the size of the forward pass.
        flops_ours=6.0 * PARAMETERS * len(members) * m,
        seconds_per_unit=1e-3,
    )


def sweep_scaling(networks: int, smallest: int = 10, m: int = 200, epochs: int = 100) -> Duel:
    """Does the time of a sweep grow linearly in its number of networks? Ratio near 1: per network it stays the same.

    The "reference" of this row is our own sweep of `smallest` networks, both in milliseconds per network and epoch.
    """

    def prepare(count: int) -> Sweep:
        sweep = Sweep([(PAPER_T[i % 10], i // 10) for i in range(count)], m)
        sweep.run(epochs)
        return sweep

    sweep, small = prepare(networks), prepare(smallest)
    return Duel(
        setting=f"m={m}; {networks} networks; reference: ours with {smallest} networks, both per network",
        unit="ms/epoch",
        wanted=0.8,
        ours=lambda repeat: 1e3 * seconds(lambda: sweep.run(epochs)) / epochs / networks,
        reference=lambda repeat: 1e3 * seconds(lambda: small.run(epochs)) / epochs / smallest,
        evaluations_ours=m,
        evaluations_reference=m,
        flops_ours=6.0 * PARAMETERS * m,
        seconds_per_unit=1e-3,
    )


def our_bound(model: EnsembleMLP, data: Tensor, T: float, seed: int, steps: int = 1000) -> tuple[Bound, float]:
    """The bound of one network (published variant) as `diffusion.toy_evaluate` measures it, with m sampler paths.

    Returns:
        The bound, and its standard error with that of L included.
    """
    m, d = data.shape[1:]
    times = torch.tensor([T])
    score = plug_in(model, SCHEDULE)
    level = SCHEDULE.at(times.double())
    mi, mi_se = mutual_information_batch(data, level.alpha, level.sigma, ToyConfig.mi_draws, [seed], "term1")
    norm, spread = ScoreNorm(1), NormSpread()

    def observe(s: Tensor, t: Tensor) -> None:
        norm.observe(s, t)
        spread.observe(s)

    x_T = torch.randn(1, m, d, generator=generator(seed, "prior"))
    reverse_sde(
        score, SCHEDULE, x_T, times[:, None], steps, StepNoise([seed], "sampler", (m, d)), observe=observe
    )  # fmt: skip
    losses = score_losses(score, data, SCHEDULE, times, [seed], t_eps=T_EPS)
    L = float(norm.published)
    third = term3(L, T, m, steps, SCHEDULE)
    bound = Bound(
        term1=-float(mi), term1_se=float(mi_se), term2=float(term2(data, level.alpha)), term3=third,
        score_loss_nats=float(losses.published), score_loss_se=float(losses.published_se), R=R,
    )  # fmt: skip
    return bound, math.hypot(bound.se, math.sqrt(2) * R * third * spread.error / L)


class NormSpread:
    """Standard error of L: that of the mean score norm over paths, at the step where the mean is largest."""

    def __init__(self) -> None:
        self.largest, self.error = 0.0, 0.0

    def observe(self, s: Tensor) -> None:
        """Take in the scores (1, n, d) of one step."""
        norms = s[0].norm(dim=-1)
        if float(norms.mean()) > self.largest:
            self.largest, self.error = float(norms.mean()), float(norms.std()) / math.sqrt(len(norms))


def bound(m: int = 2000, T: float = 1.0, wanted: float = 25.0, train_epochs: int = 40, part: int = 10) -> Duel:
    """The bound of one briefly trained network, all terms, 1,000 sampler steps on m paths.

    The reference runs T1 on every one of m / `part` points, and that part of its time is multiplied by `part`.
    """
    sweep = Sweep([(T, 0)], m)
    sweep.run(train_epochs)
    network = as_plain_network(sweep.model)
    ours: list[float] = []
    theirs: list[float] = []
    our_bound(sweep.model, sweep.data, T, seed=0, steps=20)
    plain_bound(network, sweep.data[0], T, seed=0, points=5)

    def run_ours(repeat: int) -> float:
        start = time.perf_counter()
        ours.append(our_bound(sweep.model, sweep.data, T, seed=repeat)[1])
        return time.perf_counter() - start

    def run_reference(repeat: int) -> float:
        found, term1_seconds, seconds = plain_bound(network, sweep.data[0], T, repeat, points=m // part)
        theirs.append(found.se)
        return part * term1_seconds + seconds

    def note() -> str:
        mine, other = (math.sqrt(sum(se**2 for se in errors) / len(errors)) for errors in (ours, theirs))
        verdict = "no larger" if mine <= other else "LARGER"
        return f"Standard error of the bound: ours {mine:.4f} nats, reference {other:.4f} nats ({verdict})."

    evaluations = 1000 * m + 2 * 16 * 512
    return Duel(
        setting=f"m={m}, d=2, T={T:g}; 1000 steps, {m} paths; reference: 1000 draws per point in T1, on {m // part} "
        f"points, time of T1 x {part}",
        unit="s",
        wanted=wanted,
        ours=run_ours,
        reference=run_reference,
        evaluations_ours=evaluations,
        evaluations_reference=1000 * m + m,
        flops_ours=2.0 * PARAMETERS * evaluations,
        note=note,
    )


def plain_bound(
    network: torch.nn.Module, x0: Tensor, T: float, seed: int, draws: int = plain.DRAWS, points: int | None = None
) -> tuple[plain.Bound, float, float]:
    """The reference's bound of a network, T1 over `points` points only, and the seconds of T1 and of the rest."""
    source = torch.Generator().manual_seed(seed)
    start = time.perf_counter()
    first = plain.term1(x0, T, draws, source, points)
    middle = time.perf_counter()
    found = plain.bound(network, x0, T, first, source)
    return found, middle - start, time.perf_counter() - middle


def as_plain_network(model: EnsembleMLP, index: int = 0) -> torch.nn.Sequential:
    """The reference's network with the weights of member `index`."""
    network = plain.make_network(SIZES[1])
    linear = [layer for layer in network if isinstance(layer, torch.nn.Linear)]
    with torch.no_grad():
        for layer, weight, bias in zip(linear, model.weights, model.biases, strict=True):
            layer.weight.copy_(weight[index].T)
            layer.bias.copy_(bias[index, 0])
    return network


ROWS: dict[str, Callable[[], Duel]] = {
    "diffusion.train_sweep_m200": partial(train_sweep, 200, 2.5, 100),
    "diffusion.train_sweep_m10": partial(train_sweep, 10, 10.0, 512),
    "diffusion.train_sweep_scaling_10": partial(sweep_scaling, 10),
    "diffusion.train_sweep_scaling_20": partial(sweep_scaling, 20),
    "diffusion.train_sweep_scaling_40": partial(sweep_scaling, 40),
    "diffusion.bound_m2000": bound,
    **diffusion_images.ROWS,
}
