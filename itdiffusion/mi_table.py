"""The table of mutual information: pairs with known answers, digits, and how often the interval covers the truth."""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from scipy.linalg import block_diag
from scipy.special import digamma, gammaln
from scipy.stats import norm

from infolab.config import AtLeast, OneOf, RunConfig
from infolab.data import load
from infolab.device import pick_device
from infolab.errors import run_main
from infolab.mi import Settings, mutual_information
from infolab.noise import derive
from infolab.results import write
from infolab.runs import Run
from infolab.sweep import Cost, Experiment, run_sweep
from itdiffusion.tables import MutualInformation

# ----------
# Pairs whose mutual information is known: Gaussian pairs, their images under maps of either side, and a few others.

Array = np.ndarray
Pair = tuple[Array, Array]


@dataclass(frozen=True)
class Law:
    """A distribution of pairs.

    Attributes:
        family: what kind of case it is.
        sample: (n, rng) -> x (n, dx), y (n, dy).
        truth_nats: I(x; y) in closed form.
    """

    family: str
    sample: Callable[[int, np.random.Generator], Pair]
    truth_nats: float


def gaussian_information(rho: Array) -> float:
    """I of two sides with canonical correlations rho: -1/2 sum log(1 - rho^2)."""
    return float(-0.5 * np.log1p(-np.square(rho)).sum())


def dense(d: int, rho: float) -> Array:
    """Covariance (2d, 2d) of a Gaussian pair in which all coordinates of both sides have correlation rho."""
    return np.full((2 * d, 2 * d), rho) + (1 - rho) * np.eye(2 * d)


def sparse(d: int, pairs: int, rho: float) -> Array:
    """Covariance (2d, 2d) in which the first `pairs` coordinates of x and y have correlation rho, all else is 0."""
    between = np.diag([rho] * pairs + [0.0] * (d - pairs))
    return np.block([[np.eye(d), between], [between, np.eye(d)]])


def information_of(covariance: Array) -> float:
    """I(x; y) = 1/2 (log det S_x + log det S_y - log det S) of a Gaussian pair of equal sides."""
    d = len(covariance) // 2
    dets = [np.linalg.slogdet(part)[1] for part in (covariance[:d, :d], covariance[d:, d:], covariance)]
    return float(0.5 * (dets[0] + dets[1] - dets[2]))


def student_information(d: int, dof: float) -> float:
    """I of a multivariate Student-t pair, d + d dimensions, no correlation: 2 h(d) - h(2d).

    h(k) is the entropy of k dimensions, -log Gamma((v+k)/2) + log Gamma(v/2) + k/2 log(v pi) +
    (v+k)/2 (psi((v+k)/2) - psi(v/2)); correlations add those of the Gaussian parts.
    """

    def entropy(k: int) -> float:
        half = (dof + k) / 2
        size = gammaln(half) - gammaln(dof / 2) - k / 2 * math.log(dof * math.pi)
        return float(half * (digamma(half) - digamma(dof / 2)) - size)

    return 2 * entropy(d) - entropy(2 * d)


def additive_information(width: float) -> float:
    """I(x; x + u), x ~ U(0, 1), u ~ U(-width, width): w - log(2w) up to w = 1/2, then 1/(4w)."""
    return 1 / (4 * width) if width >= 0.5 else width - math.log(2 * width)


def spiral(x: Array, speed: float) -> Array:
    """Turn the plane of the first two coordinates by the angle speed |x|: an invertible map that keeps volume."""
    angle = speed * np.linalg.norm(x, axis=1)
    out = x.copy()
    out[:, 0] = np.cos(angle) * x[:, 0] - np.sin(angle) * x[:, 1]
    out[:, 1] = np.sin(angle) * x[:, 0] + np.cos(angle) * x[:, 1]
    return out


def wiggle(x: Array) -> Array:
    """x + 0.4 sin x + 0.2 sin(1.7 x + 1) + 0.03 sin(3.3 x - 2.5), increasing."""
    return x + 0.4 * np.sin(x) + 0.2 * np.sin(1.7 * x + 1) + 0.03 * np.sin(3.3 * x - 2.5)


def swiss_roll(x: Array) -> Array:
    """One coordinate (n, 1), standard normal, laid along the swiss roll (n, 2)."""
    theta = 1.5 * math.pi * (1 + 2 * norm.cdf(x))
    return np.hstack([theta * np.cos(theta), theta * np.sin(theta)]) / 21


def gaussian(covariance: Array, family: str = "gaussian", f: Callable = lambda x: x, g: Callable = lambda y: y) -> Law:
    """A Gaussian pair whose sides are sent through invertible maps f and g, which leave I as it is."""
    root, d = np.linalg.cholesky(covariance), len(covariance) // 2

    def sample(n: int, rng: np.random.Generator) -> Pair:
        both = rng.standard_normal((n, 2 * d)) @ root.T
        return f(both[:, :d]), g(both[:, d:])

    return Law(family, sample, information_of(covariance))


def student(d: int, dof: float = 3.0, covariance: Array | None = None, f: Callable = lambda x: x) -> Law:
    """A multivariate Student-t pair, d + d dimensions, both sides through f."""
    shape = np.eye(2 * d) if covariance is None else covariance
    root = np.linalg.cholesky(shape)

    def sample(n: int, rng: np.random.Generator) -> Pair:
        both = rng.standard_normal((n, 2 * d)) @ root.T * np.sqrt(dof / rng.chisquare(dof, (n, 1)))
        return f(both[:, :d]), f(both[:, d:])

    return Law("student-t", sample, student_information(d, dof) + information_of(shape))


def additive(width: float) -> Law:
    """x ~ U(0, 1) and x + U(-width, width)."""

    def sample(n: int, rng: np.random.Generator) -> Pair:
        x = rng.random((n, 1))
        return x, x + rng.uniform(-width, width, (n, 1))

    return Law("additive uniform noise", sample, additive_information(width))


def independent(draw: Callable[[int, np.random.Generator], Array]) -> Law:
    """Two independent draws."""
    return Law("independent", lambda n, rng: (draw(n, rng), draw(n, rng)), 0.0)


def classes(separation: float, d: int) -> Law:
    """A fair label and a Gaussian in d dimensions, of mean -+separation/2 along the first axis by label.

    I = log 2 - E log(1 + exp(-separation (separation/2 + z))), z ~ N(0, 1), by quadrature.
    """
    z = np.linspace(-12, 12, 9601)
    loss = np.logaddexp(0, -separation * (separation / 2 + z))

    def sample(n: int, rng: np.random.Generator) -> Pair:
        label = rng.integers(0, 2, (n, 1))
        y = rng.standard_normal((n, d))
        y[:, :1] += separation * (label - 0.5)
        return label.astype(np.int64), y

    return Law("label", sample, math.log(2) - float(np.trapezoid(norm.pdf(z) * loss, z)))


def _rho(nats: float) -> float:
    """Correlation of one Gaussian pair with this information."""
    return math.sqrt(-math.expm1(-2 * nats))


def _block(nats: tuple[float, ...]) -> Array:
    """Covariance of a pair with these canonical informations, nats."""
    between = block_diag(*[_rho(item) for item in nats])
    return np.block([[np.eye(len(nats)), between], [between, np.eye(len(nats))]])


LAWS: dict[str, Law] = {
    "gaussian-1+1": gaussian(_block((0.75,))),
    "gaussian-1+1-3nats": gaussian(_block((3.0,))),
    "gaussian-dense-2+2": gaussian(dense(2, 0.5)),
    "gaussian-dense-5+5": gaussian(dense(5, 0.5)),
    "gaussian-dense-5+5-1.9nats": gaussian(dense(5, 0.95)),
    "gaussian-sparse-3+3": gaussian(sparse(3, 2, 0.8)),
    "gaussian-sparse-5+5": gaussian(sparse(5, 2, 0.8)),
    "gaussian-sparse-5+5-3nats": gaussian(_block((0.6,) * 5)),
    "cube-1+1": gaussian(_block((0.75,)), "monotone", lambda x: x**3),
    "cube-sparse-5+5": gaussian(sparse(5, 2, 0.8), "monotone", lambda x: x**3, lambda y: y**3),
    "cdf-dense-5+5": gaussian(dense(5, 0.5), "monotone", norm.cdf, norm.cdf),
    "cdf-sparse-5+5-3nats": gaussian(_block((0.6,) * 5), "monotone", norm.cdf, norm.cdf),
    "asinh-dense-3+3": gaussian(dense(3, 0.5), "monotone", lambda x: np.arcsinh(5 * x), lambda y: np.arcsinh(5 * y)),
    "cube+cdf-sparse-3+3": gaussian(sparse(3, 2, 0.8), "monotone", lambda x: x**3, norm.cdf),
    "wiggle-1+1": gaussian(_block((0.75,)), "monotone", wiggle),
    "additive-0.1": additive(0.1),
    "additive-0.3": additive(0.3),
    "additive-0.75": additive(0.75),
    "student-2+2": student(2),
    "student-3+3": student(3),
    "student-5+5": student(5),
    "student-sparse-3+3": student(3, covariance=sparse(3, 2, 0.8)),
    "asinh-student-3+3": student(3, f=np.arcsinh),
    "independent-1+1": independent(lambda n, rng: rng.standard_normal((n, 1))),
    "independent-5+5": independent(lambda n, rng: rng.standard_normal((n, 5))),
    "independent-student-3+3": independent(lambda n, rng: rng.standard_t(3, (n, 3))),
    "swiss-roll-2+1": gaussian(_block((0.51,)), "curved", swiss_roll, norm.cdf),
    "spiral-3+3": gaussian(sparse(3, 2, 0.8), "curved", lambda x: spiral(x, 1 / 3), lambda y: spiral(y, 1 / 3)),
    "spiral-5+5": gaussian(sparse(5, 2, 0.8), "curved", lambda x: spiral(x, 1 / 3), lambda y: spiral(y, 1 / 3)),
    "gaussian-sparse-25+25": gaussian(sparse(25, 2, 0.8), "many dimensions"),
    "label-2": classes(2.0, 2),
}
"""Every distribution of the table by name; x has as many dimensions as the first number says, y as the second."""


# ----------
# Settings of the table of mutual information.

DIGITS = ("digits-image-label", "digits-left-right")
COVERED = ("gaussian-dense-2+2", "cube+cdf-sparse-3+3", "additive-0.75", "student-2+2")
"""Distributions of the coverage study."""


@dataclass(frozen=True)
class MiConfig(RunConfig):
    """One estimate on one draw of one distribution, or on the digits."""

    case: Annotated[str, OneOf("case", [*LAWS, *DIGITS])] = "gaussian-1+1"
    """Distribution with a known answer (itdiffusion/mi_table.py), digits-image-label or digits-left-right."""
    n: Annotated[int, AtLeast(40)] = 10_000
    """Pairs (of the digits: all 1,797)."""
    seed: int = 0
    """Seed of data, halves, initial weights and noise."""
    form: str = "difference"
    """difference of the two errors, or orthogonal (squared distance of the denoisers, less its floor)."""
    steps: int = 2000
    """Optimiser steps of the denoiser; 0: what fits into --minutes."""
    minutes: float = 0.0
    """Wall time aimed at, where --steps is 0."""
    width: int = 96
    """Width of the denoiser's three hidden layers."""
    batch: int = 512
    """Pairs of one optimiser step."""
    lr: float = 8e-3
    """Largest learning rate of AdamW."""
    points: int = 48
    """Log-SNRs at which each pair is evaluated."""

    def settings(self) -> Settings:
        """What the estimator takes."""
        own = {item.name for item in dataclasses.fields(self)}
        names = own & {item.name for item in dataclasses.fields(Settings)}
        return Settings(**{name: getattr(self, name) for name in names})

    def check(self) -> None:
        """Refuse settings that cannot run, before anything is written."""
        super().check()
        self.settings().check()


def _cases(base: MiConfig, names: tuple[str, ...]) -> list[MiConfig]:
    return [dataclasses.replace(base, case=name) for name in names]


def _coverage(seeds: int) -> list[MiConfig]:
    base = MiConfig(n=2000, steps=0, minutes=0.5)
    # Seeds from 100 on: the rule of the standard error was settled while looking at the first ones.
    return [dataclasses.replace(base, case=name, seed=100 + seed) for name in COVERED for seed in range(seeds)]


_QUICK = MiConfig(n=4000, steps=400)
_FORM = MiConfig(form="orthogonal")
_SMOKE = MiConfig(n=500, steps=10, width=16, batch=64, points=4)

SWEEPS: dict[str, list[MiConfig]] = {
    "paper": [
        *_cases(MiConfig(), (*LAWS, *DIGITS)),
        *_cases(_FORM, ("gaussian-dense-5+5", "student-3+3", "additive-0.1", "independent-5+5")),
        *_coverage(20),
    ],
    "quick": _cases(
        _QUICK, ("gaussian-dense-5+5", "cube+cdf-sparse-3+3", "additive-0.1", "student-2+2", "independent-5+5", *DIGITS)
    ),
    "smoke": _cases(_SMOKE, ("gaussian-1+1", "student-2+2", "label-2")),
}


# ----------
# The table of mutual information: laws with known answers, digits, and how often the interval covers the truth.
#
# `python -m itdiffusion.mi_table [smoke|quick|paper] [--flags]`; `make mi-table` runs `paper`.


def main() -> None:
    """Run the sweep of the preset."""
    run_main(lambda: run_sweep(EXPERIMENT))


def run_mi(preset: str, config: MiConfig) -> None:
    """One run: config, pairs, estimate, row."""
    run = Run("itdiffusion", "mi", preset, config)
    with run.open():
        dataset, x, y, truth = pairs(config)
        found = mutual_information(x, y, config.settings(), pick_device(config.device))
        estimate, parts = found.estimate, found.parts_nats
        row = MutualInformation(
            dataset=dataset, case=config.case, n=len(x), d_x=x[0].size, d_y=y[0].size, seed=config.seed,
            form=config.form, minutes=config.minutes, method=found.method, maps=found.maps, truth_nats=truth,
            mi_nats=estimate.value, se_nats=estimate.se, se_data_nats=estimate.se_data,
            gaussian_nats=parts.get("gaussian"), squared_nats=parts.get("squared"), floor_nats=parts.get("floor"),
            steps=found.steps, evaluations=estimate.evaluations, seconds=found.seconds,
        )  # fmt: skip
        write(config.results_dir, MutualInformation, run.id, [row], run.provenance())
        known = "" if truth is None else f" (true {truth:.4f})"
        run.say(f"{config.case}: {estimate.value:.4f} +- {estimate.se:.4f} nats{known} after {run.seconds:.0f} s")


def pairs(config: MiConfig) -> tuple[str, np.ndarray, np.ndarray, float | None]:
    """Kind of distribution or data set, x, y and the true information in nats (None: not known)."""
    if config.case not in DIGITS:
        law = LAWS[config.case]
        x, y = law.sample(config.n, np.random.default_rng(derive(config.seed, "mi", config.case)))
        return law.family, x, y, law.truth_nats
    sets = [load("digits", split, data_dir=config.data_dir) for split in ("train", "test")]
    images = np.concatenate([part.images.squeeze(1).numpy() for part in sets])
    if config.case == "digits-image-label":
        labels = [part.labels.numpy() for part in sets if part.labels is not None]
        return "digits", images, np.concatenate(labels), None
    half = images.shape[2] // 2
    return "digits", images[:, :, :half], images[:, :, half:], None


def cost(config: MiConfig) -> Cost:
    """Expected cost of one run: the head and the denoiser of both halves, and the evaluation."""
    d = 1 if config.case in DIGITS else LAWS[config.case].sample(2, np.random.default_rng(0))[0].shape[1]
    inputs, width = 4 * d + 13, config.width
    parameters = 2 * (inputs * width + 2 * width * width + 2 * d * width + 70 * 64 * 2)
    steps = config.steps or int(config.minutes * 1500)
    trained = 2.0 * steps * config.batch
    evaluated = 2.0 * config.n * config.points
    return Cost(parameters, 64e6 + 40.0 * config.n * d, evaluated, parameters * (3 * trained + evaluated))


EXPERIMENT = Experiment("python -m itdiffusion.mi_table", SWEEPS, MutualInformation, MiConfig.check, run_mi, cost)


if __name__ == "__main__":
    main()
