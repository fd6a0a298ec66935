"""A case whose answer is known: what the calibration command measures, and when it passes."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from infolab.estimate import mean_and_se
from infolab.results import Calibration

SIGMAS = 4.0
"""An estimate passes when it lies within this many standard errors, plus its bias bound, of the truth."""


@dataclass(frozen=True)
class Outcome:
    """What a case measured: truth and estimate in nats.

    Attributes:
        truth: closed form or quadrature.
        estimate: what the estimator says.
        se: standard error of the estimate (of the difference, where the truth is evaluated on the same points).
        n: examples used.
        evaluations: evaluations of the score or denoiser, per example (noise draws per point, for the information).
        bias_bound: what is known of the bias, including solver and quadrature errors.
    """

    truth: float
    estimate: float
    se: float
    n: int
    evaluations: int = 0
    bias_bound: float = 0.0


@dataclass(frozen=True)
class Case:
    """One estimator on one law; `measure` takes (size, seed), where size multiplies the numbers of examples.

    Attributes:
        estimator: which estimator.
        case: the law and the setting.
        d: dimensions of one example.
        measure: (size, seed) -> outcome.
        snr: signal-to-noise ratio gamma, where the case has one.
    """

    estimator: str
    case: str
    d: int
    measure: Callable[[int, int], Outcome]
    snr: float | None = None

    def row(self, size: int, seed: int) -> Calibration:
        """Measure once."""
        start = time.perf_counter()
        outcome = self.measure(size, seed)
        return Calibration(
            estimator=self.estimator, case=self.case, d=self.d, snr=self.snr, n=outcome.n, seed=seed,
            truth_nats=outcome.truth, estimate_nats=outcome.estimate, se=outcome.se, bias_bound=outcome.bias_bound,
            evaluations=outcome.evaluations, seconds=time.perf_counter() - start,
        )  # fmt: skip


def passes(row: Calibration) -> bool:
    """|estimate - truth| <= 4 se + bias_bound."""
    return abs(row.estimate_nats - row.truth_nats) <= SIGMAS * row.se + row.bias_bound


def from_values(truth: float, values: Tensor, evaluations: int = 0, bias_bound: float = 0.0) -> Outcome:
    """The outcome of independent `values` (n,) whose mean is the estimate."""
    mean, se = mean_and_se(values)
    return Outcome(truth, mean, se, values.numel(), evaluations, bias_bound)


def stratified(n: int, source: torch.Generator) -> Tensor:
    """n uniforms on (0, 1) in random order, one in each n-th of the interval, float64."""
    jitter = torch.rand(n, generator=source, dtype=torch.float64)
    return (torch.randperm(n, generator=source) + jitter) / n
