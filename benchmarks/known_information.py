"""Cases of the mutual information of n points, whose answers are quadratures in one and two dimensions, 0 and log n."""

import math
from functools import partial

import torch
from torch import Tensor

from benchmarks.known import Case, Outcome, from_values
from infolab.empirical import mutual_information, mutual_information_batch
from infolab.estimate import mean_and_se
from infolab.mixture import GaussianMixture
from infolab.noise import generator
from infolab.schedules import logsnr_to_alpha_sigma
from infolab.toy import make, two_modes

DRAWS = 256


def points_of_roll(n: int, seed: int) -> Tensor:
    """n points of the swiss roll, (n, 2) float64, scaled to variance about 1."""
    return make("swiss_roll").sample(n, generator(seed, "calibration", n)).double() / 1.5


def information_by_quadrature(points: Tensor, snr: float) -> float:
    """I(X; sqrt(snr) X + eps) of n points in one or two dimensions: h(Z) - h(eps), h(Z) by the trapezoid rule."""
    n, d = points.shape
    noised = GaussianMixture(torch.ones(n), points, 0.0).noised(math.sqrt(snr), 1.0)
    return noised.entropy_quadrature().value - d / 2 * math.log(2 * math.pi * math.e)


def information_by_immse(points: Tensor, snr: float, steps: int, seed: int) -> tuple[float, float]:
    """1/2 Int mmse_eps(a) da up to log(snr), with the optimal denoiser of the points, and its standard error.

    mmse_eps(a) = E|eps - eps_hat|^2 at log-SNR a (Guo, Shamai, Verdu 2005). Log-SNRs are stratified over 20 nats below
    log(snr), which leaves out less than (1/2) Var(X) snr e^-20.

    Args:
        points: (n, d).
        snr: gamma.
        steps: noise draws, one log-SNR and one random point each.
        seed: of the draws.
    """
    source = generator(seed, "immse")
    width = 20.0
    u = (torch.arange(steps) + torch.rand(steps, generator=source, dtype=torch.float64)) / steps
    logsnr = math.log(snr) - width * (1 - u)
    x = points[torch.randint(len(points), (steps,), generator=source)]
    eps = torch.randn(x.shape, generator=source, dtype=torch.float64)
    alpha, sigma = logsnr_to_alpha_sigma(logsnr)
    law = GaussianMixture(torch.ones(len(points)), points, 0.0)
    eps_hat = law.eps_hat(alpha[:, None] * x + sigma[:, None] * eps, logsnr)
    # The difference of neighbours measures the error of a stratified mean.
    values = width / 2 * (eps - eps_hat).square().sum(1)
    mean, _ = mean_and_se(values)
    pairs = values.unflatten(0, (-1, 2))
    return mean, float((pairs[:, 0] - pairs[:, 1]).square().sum().sqrt()) / len(values)


def _two_points(snr: float, size: int, seed: int) -> Outcome:
    points = torch.tensor([[-1.0], [1.0]], dtype=torch.float64)
    draws = 8192 * size
    found = mutual_information(points, math.sqrt(snr), 1.0, draws=draws, seed_or_generator=seed)
    # I = log 2 - E log(1 + exp(-2 snr - 2 sqrt(snr) z)), z ~ N(0, 1)
    z = torch.linspace(-12, 12, 4801, dtype=torch.float64)
    density = torch.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    loss = torch.nn.functional.softplus(-2 * snr - 2 * math.sqrt(snr) * z)
    truth = math.log(2) - float(torch.trapezoid(density * loss, z))
    return Outcome(truth, found.value, found.se, n=2, evaluations=draws)


def _roll(snr: float, antithetic: bool, size: int, seed: int) -> Outcome:
    points = points_of_roll(64, seed)
    draws = DRAWS * size
    found = mutual_information(
        points, math.sqrt(snr), 1.0, draws=draws, antithetic=antithetic, seed_or_generator=seed
    )  # fmt: skip
    return Outcome(information_by_quadrature(points, snr), found.value, found.se, n=64, evaluations=draws)


def _subsample(snr: float, size: int, seed: int) -> Outcome:
    points = points_of_roll(512, seed)
    found = mutual_information(points, math.sqrt(snr), 1.0, outer=128, draws=4 * size, seed_or_generator=seed)
    return Outcome(information_by_quadrature(points, snr), found.value, found.se, n=512, evaluations=4 * size)


def _batch(snr: float, size: int, seed: int) -> Outcome:
    sets = torch.stack([points_of_roll(64, seed), points_of_roll(64, seed + 1000)])
    alpha, sigma = torch.full((2,), math.sqrt(snr)), torch.ones(2)
    draws = DRAWS * size
    values, errors = mutual_information_batch(sets, alpha, sigma, draws, [seed, seed + 1], "calibration")
    truth = sum(information_by_quadrature(points, snr) for points in sets)
    return Outcome(truth, float(values.sum()), float(errors.norm()), n=128, evaluations=draws)


def _immse(d: int, snr: float, size: int, seed: int) -> Outcome:
    points = torch.randn(32, d, generator=generator(seed, "points", d), dtype=torch.float64)
    found = mutual_information(points, math.sqrt(snr), 1.0, draws=DRAWS * size, seed_or_generator=seed)
    truth, truth_se = information_by_immse(points, snr, 32_768 * size, seed)
    return Outcome(truth, found.value, math.hypot(found.se, truth_se), n=32, evaluations=DRAWS * size)


def _separate(size: int, seed: int) -> Outcome:
    points = torch.cartesian_prod(*[torch.arange(10.0, dtype=torch.float64)] * 2)
    found = mutual_information(points, 20.0, 1.0, draws=2, seed_or_generator=seed)
    # Neighbours are 20 standard deviations apart: what is missing to log n is below 4 exp(-50).
    return Outcome(math.log(100), found.value, found.se, n=100, evaluations=2, bias_bound=1e-12)


def _drowned(size: int, seed: int) -> Outcome:
    points = points_of_roll(256, seed)
    snr = 1e-4
    found = mutual_information(points, math.sqrt(snr), 1.0, draws=8 * size, antithetic=True, seed_or_generator=seed)
    # I = snr/2 tr cov + O(snr^2)
    truth = snr / 2 * float(points.var(0, correction=0).sum())
    return Outcome(truth, found.value, found.se, n=256, evaluations=8 * size, bias_bound=snr**2)


def _entropy(size: int, seed: int) -> Outcome:
    law = two_modes().mixture
    values = -law.log_prob(law.sample(20_000 * size, generator(seed, "entropy")))
    return from_values(law.entropy_quadrature().value, values)


CASES = [
    *(
        Case("mutual_information", "two points, quadrature", 1, partial(_two_points, snr), snr)
        for snr in (0.1, 1.0, 10.0)
    ),
    *(
        Case("mutual_information", "64 points of the swiss roll, quadrature", 2, partial(_roll, snr, False), snr)
        for snr in (0.1, 1.0, 10.0, 100.0)
    ),
    Case("mutual_information", "the same, antithetic", 2, partial(_roll, 1.0, True), 1.0),
    Case("mutual_information", "128 of 512 points, quadrature", 2, partial(_subsample, 10.0), 10.0),
    *(Case("mutual_information", "32 points, I-MMSE", 8, partial(_immse, 8, snr), snr) for snr in (0.1, 1.0)),
    Case("mutual_information", "100 separate points, log n", 2, _separate, 400.0),
    Case("mutual_information", "256 points in noise, snr/2 tr cov", 2, _drowned, 1e-4),
    Case("mutual_information_batch", "two sets of 64 points, quadrature", 2, partial(_batch, 1.0), 1.0),
    Case("entropy by sampling", "two modes, quadrature", 1, _entropy),
]
