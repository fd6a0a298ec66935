"""Cases of mutual information from denoising errors: Gaussian pairs, their monotone images, independence, a label."""

import math
from collections.abc import Callable

import numpy as np
from scipy.stats import norm

from benchmarks.known import Case, Outcome
from infolab.mi import Settings, mutual_information
from infolab.noise import derive

RHO = 0.8
N = 1000
EXCESS = 0.02
"""What the excess error of networks trained for so few steps may add, nats."""


def _gaussian(d: int, f: Callable[[np.ndarray], np.ndarray]) -> Callable[[int, int], Outcome]:
    """Sides of d coordinates that are correlated one by one; x goes through f, which leaves the information alone."""

    def measure(size: int, seed: int) -> Outcome:
        rng = np.random.default_rng(derive(seed, "mi", "gaussian", d))
        x, noise = rng.standard_normal((2, N * size, d))
        y = RHO * x + math.sqrt(1 - RHO * RHO) * noise
        return _outcome(-d / 2 * math.log(1 - RHO * RHO), f(x), y, seed)

    return measure


def _independent(size: int, seed: int) -> Outcome:
    rng = np.random.default_rng(derive(seed, "mi", "independent"))
    return _outcome(0.0, rng.standard_normal((N * size, 2)), rng.standard_t(3, (N * size, 2)), seed)


def _label(size: int, seed: int) -> Outcome:
    rng = np.random.default_rng(derive(seed, "mi", "label"))
    label = rng.integers(0, 2, N * size)
    z = np.linspace(-12, 12, 4801)
    # I = log 2 - E log(1 + exp(-2 - 2 z)) for means -+1 of unit variance
    truth = math.log(2) - float(np.trapezoid(norm.pdf(z) * np.logaddexp(0, -2 - 2 * z), z))
    return _outcome(truth, label, 2.0 * label - 1 + rng.standard_normal(N * size), seed)


def _outcome(truth: float, x: np.ndarray, y: np.ndarray, seed: int) -> Outcome:
    found = mutual_information(x, y, Settings(steps=60, batch=128, width=32, points=16, seed=seed)).estimate
    return Outcome(truth, found.value, found.se, found.n, found.evaluations // found.n, EXCESS)


CASES = [
    Case("mutual information, denoising", "Gaussian pair", 1, _gaussian(1, lambda x: x)),
    Case("mutual information, denoising", "cube of a Gaussian pair", 2, _gaussian(2, lambda x: x**3)),
    Case("mutual information, denoising", "independent sides", 2, _independent),
    Case("mutual information, denoising", "label and two Gaussians", 1, _label),
]
