"""Evaluation of the 2-D networks: every term of the bound, the exact test KL, and the published kernel estimate."""

import functools
import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from diffusion.tables import BoundColumns, ToyBound
from infolab.bound import Bound, ScoreLosses, ScoreNorm, score_losses, term2, term3
from infolab.denoise import Denoiser
from infolab.device import on_cpu
from infolab.empirical import mutual_information_batch
from infolab.estimate import mean_and_se
from infolab.likelihood import ode_log_likelihood
from infolab.nn.mlp import EnsembleMLP
from infolab.noise import generator
from infolab.sample import StepNoise, reverse_sde, step_count, walk_in_pieces
from infolab.schedules import VP, append_dims
from infolab.storage import Keep, under, unkept
from infolab.toy import make

if TYPE_CHECKING:
    from diffusion.toy import ToyConfig

# ----------
# The published test KL: two kernel densities, kept beside the exact one for comparison.

KDE_BANDWIDTH = 0.1
"""Bandwidth of both kernel densities in the published figure."""


def log_kde(points: Tensor, centres: Tensor, bandwidth: float) -> Tensor:
    """Log density at `points` (n, d) of the Gaussian kernel density of `centres` (c, d), in float64, (n,)."""
    d = points.shape[-1]
    # By differences: products of matrices would cancel for points far from 0.
    squared = torch.cdist(points.double(), centres.double(), compute_mode="donot_use_mm_for_euclid_dist").square()
    norm = math.log(len(centres)) + d * (math.log(bandwidth) + 0.5 * math.log(2 * math.pi))
    return torch.logsumexp(-squared / (2 * bandwidth**2), dim=1) - norm


def kl_kde(test: Tensor, samples: Tensor, bandwidth: float) -> float:
    """mean over test points of log kde_test - log kde_samples, in nats, as published.

    Biased: every test point sits at the centre of one of its own kernels, and both densities are smoothed, so two
    samples of one distribution read well above 0 (0.13 to 0.15 nats for 1,000 points of the swiss roll).

    Args:
        test: points of the true distribution (n, d).
        samples: points of the model (s, d).
        bandwidth: standard deviation of the kernels.
    """
    return float((log_kde(test, test, bandwidth) - log_kde(test, samples, bandwidth)).mean())


# ----------
# Evaluation of the 2-D networks: every term of the bound, the exact test KL, and the published kernel estimate.

STEP_RULES = ("fixed_number", "fixed_size")
MakeRow = Callable[[int, dict[str, Any]], BoundColumns]
"""(index of the network, columns of the bound) -> a row of a table that has them."""
TERM1_POINTS = 4000  # noised points behind T1 of one network, at least
STEPS_OF_A_PIECE = 256  # sampler steps after which the states of a batch are kept: seconds
MEMBERS_AT_ONCE = 10  # networks per evaluation batch: their activations then stay in the processor's cache


def bound_row(index: int, columns: dict[str, Any]) -> ToyBound:
    """A row of `diffusion/toy_bound`."""
    return ToyBound(**columns)


def plug_in(model: EnsembleMLP, schedule: VP) -> Denoiser:
    """Networks whose output is the drift a = g s, by their score s = a/g at x (k, n, 2), t (k, n)."""

    def score(x: Tensor, t: Tensor) -> Tensor:
        return model(x, t) / append_dims(schedule.beta(t).sqrt(), x)

    def with_divergence(x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        out, divergence = model.value_and_divergence(x, t)
        g = schedule.beta(t).sqrt()
        return out / append_dims(g, x), divergence / g

    return Denoiser.of_score(score, schedule, with_divergence)


class ToyEvaluation:
    """Measures the k networks of one run; everything that does not depend on the weights is computed once.

    Args:
        config: the run's settings.
        schedule: the forward process.
        members: (T, seed) of each network.
        data: training sets (k, m, 2).
        make_row: makes the rows; the default those of `diffusion/toy_bound`.
    """

    def __init__(
        self,
        config: "ToyConfig",
        schedule: VP,
        members: list[tuple[float, int]],
        data: Tensor,
        make_row: MakeRow = bound_row,
    ):
        self.config, self.schedule, self.members, self.data = config, schedule, members, data
        self.make_row = make_row
        self.seeds = [seed for _, seed in members]
        self.times = torch.tensor([T for T, _ in members], device=data.device)
        self.law = make(config.dataset)
        self._test: Tensor | None = None
        self._samples: Tensor | None = None
        self._information: tuple[Tensor, Tensor] | None = None

    def rows(self, model: EnsembleMLP, epoch: int, keep: Keep = unkept) -> list[BoundColumns]:
        """All rows of the table for the networks as they are now; `keep` keeps what is measured piece by piece."""
        losses = self._losses(model, keep)
        kl, kl_se = self.test_kl(model, keep)
        rows: list[BoundColumns] = []
        self._samples = torch.empty(len(self.members), self.config.test_points, 2)
        drawn: dict[tuple[int, ...], tuple[Tensor, ScoreNorm]] = {}
        for rule in STEP_RULES:
            for steps, group in self._groups(rule).items():
                key = (steps, *group)
                if key not in drawn:  # at T = 1 the two rules are one
                    drawn[key] = self.sample(model, group, steps, keep)
                self._samples[group] = drawn[key][0]
                rows += self._rows_of_group(epoch, rule, steps, group, drawn[key], losses, kl, kl_se)
        return rows

    def test_points(self) -> Tensor:
        """Test points (k, n, 2) of the true distribution, a function of the seed, so the same at every T."""
        if self._test is None:
            n = self.config.test_points
            self._test = torch.stack([self.law.sample(n, generator(seed, "test")) for seed in self.seeds])
        return self._test

    def test_kl(self, model: EnsembleMLP, keep: Keep = unkept) -> tuple[Tensor, Tensor]:
        """KL(p || p_theta) = E_p[log p - log p_theta] (k,) and its standard error over the test points."""
        parts = [
            keep(f"ode-{group[0]:03d}", functools.partial(self._log_ratio, model, group))
            for group in self._chunks(range(len(self.members)))
        ]
        log_ratio = torch.cat([part["log_ratio"] for part in parts])
        means, errors = zip(*(mean_and_se(values) for values in log_ratio), strict=True)
        return torch.tensor(means, dtype=torch.float64), torch.tensor(errors, dtype=torch.float64)

    def sample(self, model: EnsembleMLP, group: list[int], steps: int, keep: Keep = unkept) -> tuple[Tensor, ScoreNorm]:
        """Samples (k', n, 2) of the networks in `group` by the reverse SDE from N(0, I), and their score norms."""
        chunks = [
            self._sample_chunk(model, chunk, steps, under(keep, f"samples-{steps:05d}-{chunk[0]:03d}"))
            for chunk in self._chunks(group)
        ]
        return torch.cat([drawn for drawn, _ in chunks]).cpu(), ScoreNorm.joined([norm for _, norm in chunks])

    def _sample_chunk(self, model: EnsembleMLP, chunk: list[int], steps: int, keep: Keep) -> tuple[Tensor, ScoreNorm]:
        n, seeds = self.config.test_points, [self.seeds[i] for i in chunk]
        chosen = plug_in(model.select(chunk), self.schedule)
        x_T = torch.stack([torch.randn(n, 2, generator=generator(seed, "prior")) for seed in seeds]).to(self.data)
        noise = StepNoise(seeds, "sampler", (n, 2), self.data.device)
        times = self.times[chunk][:, None]

        def walk(x: Tensor, part: range) -> dict[str, Tensor]:
            norm = ScoreNorm(len(chunk))
            x = reverse_sde(chosen, self.schedule, x, times, steps, noise, observe=norm.observe, part=part)
            return {"x": x, **norm.tensors()}

        drawn, seen = x_T, ScoreNorm(len(chunk))
        for kept in walk_in_pieces(keep, "x", x_T, steps, walk, STEPS_OF_A_PIECE):
            drawn = kept["x"]
            seen.merge(kept)
        return drawn, seen

    def pictures(self, model: EnsembleMLP, epoch: int, keep: Keep = unkept) -> dict[str, np.ndarray]:
        """Samples of every network under the rule fixed_size, and test points of the first seed, for the figures.

        The samples are those of the last evaluation; where a run was resumed behind it, they are drawn
        again, or are still kept.
        """
        if self._samples is None:
            self.rows(model, epoch, keep)
        assert self._samples is not None  # rows() leaves those of its last step rule, fixed_size
        return {
            "samples": self._samples.numpy().astype(np.float32),
            "T": np.array([T for T, _ in self.members]),
            "seed": np.array(self.seeds),
            "m": np.full(len(self.members), self.config.m),
            "test": self.test_points()[0].numpy().astype(np.float32),
        }

    def _log_ratio(self, model: EnsembleMLP, group: list[int]) -> dict[str, Tensor]:
        chosen = plug_in(model.select(group), self.schedule)
        points = self.test_points()[group]
        solved = ode_log_likelihood(
            chosen,
            self.schedule,
            points.to(self.data),
            self.times[group][:, None],
            tolerance=self.config.ode_tolerance,
        )
        return {"log_ratio": self.law.log_prob(points) - on_cpu(solved.log_p)}

    def _losses(self, model: EnsembleMLP, keep: Keep) -> ScoreLosses:
        parts = []
        for group in self._chunks(range(len(self.members))):
            chosen = plug_in(model.select(group), self.schedule)
            seeds = [self.seeds[i] for i in group]
            below, times, t_eps = under(keep, f"{group[0]:03d}"), self.times[group], self.config.t_eps
            parts.append(score_losses(chosen, self.data[group], self.schedule, times, seeds, t_eps=t_eps, keep=below))
        fields = ("published", "published_se", "exact", "exact_se")
        return ScoreLosses(*(torch.cat([getattr(part, name) for part in parts]) for name in fields))

    def _term1(self) -> tuple[Tensor, Tensor]:
        if self._information is None:
            level = self.schedule.at(on_cpu(self.times))
            # Small sets get more draws: they cost nothing there, and T1 would be noisy.
            draws = max(self.config.mi_draws, -(-TERM1_POINTS // self.config.m))
            parts = [
                mutual_information_batch(
                    self.data[group],
                    level.alpha[group],
                    level.sigma[group],
                    draws,
                    [self.seeds[i] for i in group],
                    "term1",
                )
                for group in self._chunks(range(len(self.members)))
            ]
            values, errors = (torch.cat(part).cpu() for part in zip(*parts, strict=True))
            self._information = -values, errors
        return self._information

    def _rows_of_group(
        self,
        epoch: int,
        rule: str,
        steps: int,
        group: list[int],
        drawn: tuple[Tensor, ScoreNorm],
        losses: ScoreLosses,
        kl: Tensor,
        kl_se: Tensor,
    ) -> list[BoundColumns]:
        samples, norm = drawn
        term1, term1_se = self._term1()
        second = term2(self.data, self.schedule.at(on_cpu(self.times)).alpha)
        rows: list[BoundColumns] = []
        for place, i in enumerate(group):
            T, seed = self.members[i]
            truth = self.test_points()[i]
            again = self.law.sample(len(truth), generator(seed, "kde_floor"))
            shared: dict[str, Any] = {
                "dataset": self.config.dataset,
                "model": "mlp",
                "seed": seed,
                "m": self.config.m,
                "d": 2,
                "T": T,
                "epoch": epoch,
                "sde_steps": steps,
                "step_rule": rule,
                "t_eps": self.config.t_eps,
                "kl_test_nats": float(kl[i]),
                "kl_test_se": float(kl_se[i]),
                "kl_kde_nats": kl_kde(truth, samples[place], KDE_BANDWIDTH),
                "kl_kde_floor_nats": kl_kde(truth, again, KDE_BANDWIDTH),
            }
            for variant in ("published", "exact"):
                score_norm = float(getattr(norm, variant)[place])
                bound = Bound(
                    term1=float(term1[i]),
                    term1_se=float(term1_se[i]),
                    term2=float(second[i]),
                    term3=term3(score_norm, T, self.config.m, steps, self.schedule),
                    score_loss_nats=float(getattr(losses, variant)[i]),
                    score_loss_se=float(getattr(losses, f"{variant}_se")[i]),
                    R=self.config.R,
                )
                columns = {**shared, **bound.columns(), "variant": variant, "score_norm": score_norm}
                rows.append(self.make_row(i, columns))
        return rows

    def _groups(self, rule: str) -> dict[int, list[int]]:
        """Networks by their number of sampler steps."""
        groups: dict[int, list[int]] = {}
        for index, (T, _) in enumerate(self.members):
            groups.setdefault(step_count(T, rule, self.config.sde_steps), []).append(index)
        return groups

    def _chunks(self, members: Iterable[int]) -> list[list[int]]:
        members = list(members)
        return [members[i : i + MEMBERS_AT_ONCE] for i in range(0, len(members), MEMBERS_AT_ONCE)]
