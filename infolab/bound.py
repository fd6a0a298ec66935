"""The generalization bound of a diffusion model, term by term, and its data terms on one's own array."""

import dataclasses
import functools
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from infolab.arrays import read_array
from infolab.config import called_as, default_device, parse_options
from infolab.data import NAMES, load
from infolab.data.images import LogitTransform, dequantization_noise, dequantize
from infolab.data.places import default_data_dir
from infolab.denoise import Denoiser, check_model
from infolab.device import on_cpu, pick_device, staged, to_double
from infolab.empirical import empirical_score, mutual_information
from infolab.errors import UserError, run_main
from infolab.noise import generator
from infolab.schedules import VP, ScheduleValues, append_dims
from infolab.storage import Keep, unkept
from infolab.toy import TOYS, make

# ----------
# The generalization bound of a diffusion model, term by term (Chen, Zhu, Shkurti 2025, theorem for diffusion models).
#
# bound = T1 + sqrt(2) R (T2 + T3) + score-matching loss on the training set.


@dataclass(frozen=True)
class Bound:
    """The terms of the bound of one network, in nats; `diffusion.tables` has their formulas."""

    term1: float
    term1_se: float
    term2: float
    term3: float
    score_loss_nats: float
    score_loss_se: float
    R: float

    @property
    def nats(self) -> float:
        """The bound: term1 + sqrt(2) R (term2 + term3) + score loss."""
        return self.term1 + math.sqrt(2) * self.R * (self.term2 + self.term3) + self.score_loss_nats

    @property
    def se(self) -> float:
        """Standard error from term1 and the score loss; the noise of L in term3, often larger, is not in it."""
        return math.hypot(self.term1_se, self.score_loss_se)

    def columns(self) -> dict[str, Any]:
        """The columns of the bound tables that hold this record."""
        return {**asdict(self), "bound_nats": self.nats, "bound_se": self.se}


def kl_to_prior(x0: Tensor, alpha: Tensor | float) -> Tensor:
    """KL(N(alpha x0, sigma^2 I) || N(0, I)) per example, sigma^2 = 1 - alpha^2, in nats and float64.

    = (alpha^2 |x0|^2 + d (-log(1 - alpha^2) - alpha^2)) / 2, in the form that keeps its digits when alpha is small.

    Args:
        x0: examples (..., d).
        alpha: signal amplitude, a number or broadcastable to (...).
    """
    alpha2 = on_cpu(alpha).square()
    d = x0.shape[-1]
    return 0.5 * (alpha2 * on_cpu(x0).square().sum(-1) + d * (-torch.log1p(-alpha2) - alpha2))


def term2(x0: Tensor, alpha: Tensor | float) -> Tensor:
    """T2 = mean over the m examples of sqrt(KL(E_T(x_i) || N(0, I))); x0 (..., m, d), alpha (...) -> (...)."""
    return kl_to_prior(x0, on_cpu(alpha)[..., None]).sqrt().mean(-1)


def term3(score_norm: float, T: float, m: int, steps: int, schedule: VP) -> float:
    """T3 = sqrt(T L^2 / (2 m N) sum_k beta(t_k)), t_k = k T / N for k = 0..N-1, with L = `score_norm`."""
    return score_norm * float(term3_per_norm(torch.tensor(T, dtype=torch.float64), m, steps, schedule))


def term3_per_norm(T: Tensor, m: int, steps: int, schedule: VP) -> Tensor:
    """T3 / L = sqrt(T / (2 m N) sum_k beta(k T / N)), differentiable in T; T of any shape, the same shape out."""
    times = T[..., None] * (torch.arange(steps, dtype=T.dtype, device=T.device) / steps)
    return (T / (2 * m) * schedule.beta(times).mean(-1)).sqrt()


class ScoreNorm:
    """L, the bound of the score norm along a sampler's path: pass `observe` to `infolab.sample.reverse_sde`.

    `published` is the largest over steps of the mean norm over samples, `exact` the largest norm seen; both (k,).
    """

    def __init__(self, members: int):
        self._members = members
        self._largest: Tensor | None = None  # (2, k), on the device of the scores: no step waits for it

    @classmethod
    def joined(cls, parts: Sequence["ScoreNorm"]) -> "ScoreNorm":
        """The members of all `parts`, in their order."""
        norm = cls(sum(part._members for part in parts))
        norm._largest = torch.cat([part._found() for part in parts], 1)
        return norm

    @property
    def published(self) -> Tensor:
        """Largest over steps of the mean norm over samples (k,), on the CPU."""
        return self._found()[0]

    @property
    def exact(self) -> Tensor:
        """Largest norm (k,), on the CPU."""
        return self._found()[1]

    def observe(self, s: Tensor, t: Tensor) -> None:
        """Take in the scores s (k, n, event...) of one step."""
        norms = s.flatten(2).norm(dim=-1)
        found = torch.stack([norms.mean(1), norms.amax(1)])
        self._largest = found if self._largest is None else torch.maximum(self._largest, found)

    def _found(self) -> Tensor:
        return torch.zeros(2, self._members) if self._largest is None else self._largest.cpu()

    def merge(self, kept: Mapping[str, Tensor]) -> None:
        """Take in what another has seen of the same members on other steps: its `tensors`."""
        found = torch.stack([kept["published"], kept["exact"]])
        self._largest = found if self._largest is None else torch.maximum(self._largest, found.to(self._largest))

    def tensors(self) -> dict[str, Tensor]:
        """`published` and `exact` by name, as a piece keeps them."""
        return {"published": self.published, "exact": self.exact}


@dataclass(frozen=True)
class ScoreLosses:
    """Score-matching losses on the training sets, (k,) each, in nats, with standard errors from replicates."""

    published: Tensor
    published_se: Tensor
    exact: Tensor
    exact_se: Tensor


@torch.no_grad()
def score_losses(
    model: Denoiser,
    data: Tensor,
    schedule: VP,
    T: Tensor,
    seeds: list[int],
    *,
    t_eps: float,
    draws: int = 512,
    replicates: int = 16,
    score_batch: int = 1_000_000,
    keep: Keep = unkept,
) -> ScoreLosses:
    """Both score-matching losses of k networks on their own training sets.

    published: E_{t ~ U(0, T)} 1/2 |sigma_t s + eps|^2, summed over dimensions.
    exact: (T/2) E_{t ~ U(t_eps, T)} g_t^2 E|s - grad log p_hat_t|^2 (times 1 - t_eps/T), p_hat_t the noised training
    set; since g^2/sigma^2 dt = -dlogsnr it is computed as (1/2) Int |sigma s - sigma grad log p_hat|^2 dlogsnr with
    log-SNR uniform, whose integrand is bounded. The integral diverges like log(1/t_eps): a smooth score cannot follow
    the points of a training set at t = 0, and the KL from a discrete distribution to a density is infinite.

    Each replicate spreads stratified times over at least `draws` noised points, every training point equally often
    (a random subset where m > draws); the standard error is that of the mean over replicates.

    Args:
        model: the networks, whose score is asked for at x (k, b, event...), t (k, b).
        data: training sets (k, m, event...).
        schedule: the forward process.
        T: diffusion times (k,).
        seeds: one per network.
        t_eps: lower end of the exact loss, in (0, T).
        draws: noised points per replicate, at least.
        replicates: independent repetitions.
        score_batch: points per network call.
        keep: keeps each replicate as a piece.
    """
    check_model(model)
    if not 0 < t_eps < float(T.min()):
        raise UserError(f"--t-eps must lie in (0, T), not {t_eps} with T = {float(T.min())}")
    T = T.to(data)[:, None]

    def measure(replicate: int) -> dict[str, Tensor]:
        x0, u, eps = spread_noise(data, seeds, draws, "score_loss", replicate)
        start, end = schedule.t_to_logsnr(torch.full_like(T, t_eps)), schedule.t_to_logsnr(T)
        t = schedule.logsnr_to_t(start + u * (end - start))
        mean = _exact_gap(model, schedule, x0, t, eps, data, score_batch)
        return {
            "published": published_loss(model, schedule, x0, u * T, eps, score_batch),
            "exact": 0.5 * on_cpu((start - end)[:, 0]) * mean,
        }

    kept = [keep(f"score-losses-{one:02d}", functools.partial(measure, one)) for one in range(replicates)]
    (p, p_se), (e, e_se) = (_over_replicates([one[kind] for one in kept]) for kind in ("published", "exact"))
    return ScoreLosses(p, p_se, e, e_se)


def spread_noise(data: Tensor, seeds: list[int], draws: int, *stream: str | int) -> tuple[Tensor, Tensor, Tensor]:
    """Training points (k, b, event...), stratified uniforms (k, b) and noise (k, b, event...), b >= `draws`.

    Every training point comes equally often, or a random subset once where m > draws; a function of (seed, stream).
    """
    m = data.shape[1]
    b = draws if m > draws else m * -(-draws // m)
    places, uniforms, noises = [], [], []
    for seed in seeds:
        source = generator(seed, *stream)
        index = torch.randperm(m, generator=source)[:b] if m > draws else torch.arange(m).repeat(b // m)
        strata = torch.randperm(b, generator=source)
        uniforms.append((strata + torch.rand(b, generator=source)) / b)
        noises.append(torch.randn(b, *data.shape[2:], generator=source))
        places.append(index)
    single = [torch.stack(parts).to(data.dtype) for parts in (uniforms, noises)]
    rows, u, eps = staged(data.device, torch.stack(places), *single)
    return torch.stack([member[index] for member, index in zip(data, rows, strict=True)]), u, eps


def published_loss(model: Denoiser, schedule: VP, x0: Tensor, t: Tensor, eps: Tensor, batch: int = 1_000_000) -> Tensor:
    """Mean over b of 1/2 |sigma_t s(x_t, t) + eps|^2, x_t = alpha_t x0 + sigma_t eps, (k,) float64; differentiable.

    Args:
        model, schedule: as in `score_losses`.
        x0: training points (k, b, event...).
        t: times (k, b).
        eps: noise of the shape of x0.
        batch: points per network call.
    """
    x_t, level = _noised(schedule, x0, t, eps)
    scaled = append_dims(level.sigma, x0) * _batched(model, schedule, x_t, t, batch)
    return 0.5 * to_double((scaled + eps).flatten(2)).square().sum(-1).mean(-1).cpu()


def _exact_gap(model: Denoiser, schedule: VP, x0: Tensor, t: Tensor, eps: Tensor, data: Tensor, batch: int) -> Tensor:
    x_t, level = _noised(schedule, x0, t, eps)
    truth = empirical_score(x_t.flatten(2), data.flatten(2), level.alpha, level.sigma)
    learned = _batched(model, schedule, x_t, t, batch).flatten(2).to(truth)
    gap = level.sigma.to(truth)[..., None] * (learned - truth)
    return gap.square().sum(-1).mean(-1).cpu()


def _noised(schedule: VP, x0: Tensor, t: Tensor, eps: Tensor) -> tuple[Tensor, ScheduleValues]:
    level = schedule.at(t)
    return append_dims(level.alpha, x0) * x0 + append_dims(level.sigma, x0) * eps, level


def _batched(model: Denoiser, schedule: VP, x: Tensor, t: Tensor, batch: int) -> Tensor:
    parts = [model.score(x[:, i : i + batch], t[:, i : i + batch], schedule) for i in range(0, x.shape[1], batch)]
    return torch.cat(parts, dim=1)


def _over_replicates(parts: list[Tensor]) -> tuple[Tensor, Tensor]:
    stacked = torch.stack(parts)
    return stacked.mean(0), stacked.std(0) / math.sqrt(len(parts))


# ----------
# The data terms of the bound on one's own array: T1 (mutual information) and T2, at any diffusion time T.
#
# `python -m diffusion.terms --data X.npy --T 1.0 [--outer N] [--draws S]`; `--data` takes a .npy file, examples first,
# or the name of a built-in set.


@dataclass(frozen=True)
class TermsConfig:
    """Data terms of the generalization bound of a diffusion model at a diffusion time T: T1, T2, mutual information."""

    data: str = ""
    """A .npy file, examples first (used as it is: no scaling), or a registered set (images: dequantised logits)."""
    T: float = 1.0
    """Diffusion time of the VP SDE."""
    outer: int = 1000
    """Examples over which T1 is averaged; the mixture is always over all of them. 0: all."""
    draws: int = 4
    """Noise draws per example in T1 (at least 2, so that the standard error is known)."""
    beta_min: float = 0.1
    """beta(0) of the VP SDE."""
    beta_max: float = 20.0
    """beta(1) of the VP SDE."""
    n: int = 1000
    """Points drawn where --data names a distribution (the swiss roll, say)."""
    data_dir: Path = field(default_factory=default_data_dir)
    """Folder of data sets that are not built in."""
    seed: int = 0
    """Seed of the noise, the outer subsample and the draws from a law."""
    device: str = field(default_factory=default_device)
    """Where the products of T1 are taken: cpu, cuda or auto (mps has no float64: there it is the CPU)."""
    json: bool = False
    """Print one JSON object on standard output and nothing else there."""


def main() -> None:
    """Print the terms."""
    run_main(lambda: _report(parse_options(TermsConfig, called_as("python -m diffusion.terms"))))


def data_terms(
    x: Tensor, T: float, schedule: VP, *, outer: int, draws: int, seed: int, device: torch.device | str = "cpu"
) -> dict[str, Any]:
    """T1, T2 and what they are made of for the examples x (m, ...), in nats.

    term1 = -I(X; X_T) of the empirical measure; term2 = mean sqrt(KL(E_T(x_i) || N(0, I))); kl_prior =
    KL(p_T || N(0, I)) of the noised empirical measure = mean KL(E_T(x_i) || N(0, I)) - I(X; X_T).

    Args:
        x: examples (m, ...), as the diffusion would see them.
        T: diffusion time.
        schedule: the VP SDE.
        outer: examples in the outer mean of I; 0: all.
        draws: noise draws per example.
        seed: of noise and subsample.
        device: where the products of I are taken.
    """
    level = schedule.at(torch.tensor(T, dtype=torch.float64))
    information = mutual_information(
        x, float(level.alpha), float(level.sigma), outer=outer or None, draws=draws, seed_or_generator=seed,
        device=device,
    )  # fmt: skip
    per_example = torch.cat([kl_to_prior(part.flatten(1), level.alpha) for part in x.split(4096)])
    return {
        "term1_nats": {"value": -information.value, "se": information.se},
        "mi_nats": {"value": information.value, "se": information.se},
        "term2": {"value": float(per_example.sqrt().mean()), "se": 0.0},
        "kl_prior_nats": {"value": float(per_example.mean()) - information.value, "se": information.se},
        "m": len(x),
        "d": x[0].numel(),
        "T": T,
    }


def _report(config: TermsConfig) -> None:
    if config.T <= 0 or config.outer < 0 or config.draws < 2 or config.n < 2:
        raise UserError("--T must be positive, --outer 0 or more, --draws and --n at least 2")
    device = pick_device(config.device)
    x = _examples(config)
    terms = data_terms(
        x, config.T, VP(config.beta_min, config.beta_max), outer=config.outer, draws=config.draws, seed=config.seed,
        device=device,
    )  # fmt: skip
    if config.json:
        sys.stdout.write(json.dumps({**terms, "settings": _plain(config)}) + "\n")
        return
    for name, item in terms.items():
        text = f"{item['value']:.6g} +- {item['se']:.2g}" if isinstance(item, dict) else f"{item:g}"
        sys.stdout.write(f"{name:14} {text}\n")


def _examples(config: TermsConfig) -> Tensor:
    if config.data.endswith(".npy"):
        array = read_array(Path(config.data))
        return array.reshape(len(array), -1)
    if config.data in TOYS:
        return make(config.data).sample(config.n, generator(config.seed, "train", config.n))
    if not config.data:
        raise UserError("--data is missing: give a .npy file (examples first) or the name of a data set")
    if config.data not in NAMES:
        known = ", ".join([*NAMES, *TOYS])
        raise UserError(f"unknown data '{config.data}': give a .npy file (examples first) or one of {known}")
    images = load(config.data, "train", data_dir=config.data_dir)
    u = dequantization_noise(tuple(images.images.shape), config.seed)
    return LogitTransform(images.levels).forward(dequantize(images.images, u, images.levels))[0]


def _plain(config: TermsConfig) -> dict[str, Any]:
    return {name: str(item) if isinstance(item, Path) else item for name, item in dataclasses.asdict(config).items()}


if __name__ == "__main__":
    main()
