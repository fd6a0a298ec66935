"""Estimators on distributions with known answers: mutual information, likelihoods and bounds of them."""

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from scipy.stats import norm
from torch import Tensor

from infolab import mi
from infolab.calibrate import Case, Outcome, from_values, stratified
from infolab.denoise import Denoiser
from infolab.empirical import mutual_information, mutual_information_batch
from infolab.epochs import DebiasedTime, UniformTime
from infolab.estimate import mean_and_se
from infolab.likelihood import (
    ElboDraw,
    draw_probe,
    elbo,
    elbo_from_denoising,
    ode_log_likelihood,
)
from infolab.mixture import GaussianMixture
from infolab.noise import derive, generator
from infolab.schedules import VP, logsnr_to_alpha_sigma
from infolab.toy import make, swiss_roll, two_modes

# ----------
# Cases of the mutual information of n points, whose answers are quadratures in one and two dimensions, 0 and log n.

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


INFORMATION = [
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


# ----------
# Cases of the likelihood estimators: ODE and ELBO with exact scores on Gaussians and mixtures; the time sampler.

SCHEDULE = VP()
VARIANCES = torch.tensor([0.3, 1.0, 4.0], dtype=torch.float64)
SOLVER_ERROR = 1e-3
"""Bound of the ODE solver's error in log p at tolerance 1e-5, on distributions of unit scale."""


def gaussian_score(x: Tensor, t: Tensor) -> Tensor:
    """Score of the noised N(0, diag(VARIANCES)), linear in x."""
    return -x * _precision(t)


def gaussian_score_and_divergence(x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """The same with its divergence."""
    return gaussian_score(x, t), -_precision(t).sum(-1)


GAUSSIAN = Denoiser.of_score(gaussian_score, SCHEDULE, gaussian_score_and_divergence)
"""The exact model of N(0, diag(VARIANCES))."""


def gaussian_kl_to_prior(T: float) -> float:
    """KL(N(0, alpha_T^2 V + sigma_T^2) || N(0, I)) = 1/2 sum (v - 1 - log v)."""
    end = 1 / _precision(torch.tensor(T, dtype=torch.float64))
    return float(0.5 * (end - 1 - end.log()).sum())


def gaussian_points(n: int, seed: int) -> Tensor:
    """n points of N(0, diag(VARIANCES)), (n, 3)."""
    return torch.randn(n, 3, generator=generator(seed, "gaussian"), dtype=torch.float64) * VARIANCES.sqrt()


def mixture_in(d: int) -> GaussianMixture:
    """Three modes of variance 0.25 in one, two or three dimensions."""
    means = torch.tensor([[-1.5, 0.5, 1.0], [1.0, 1.0, -1.0], [2.0, -2.0, 0.0]], dtype=torch.float64)
    return GaussianMixture(torch.tensor([0.5, 0.3, 0.2]), means[:, :d], 0.25)


def scored(law: GaussianMixture) -> Denoiser:
    """The exact model of a distribution, by its score on `SCHEDULE`; its divergence comes from differentiation."""

    def score(x: Tensor, t: Tensor) -> Tensor:
        level = SCHEDULE.at(t)
        return law.score_at(x, level.alpha, level.sigma)

    return Denoiser.of_score(score, SCHEDULE)


def _precision(t: Tensor) -> Tensor:
    level = SCHEDULE.at(t)
    return 1 / (level.alpha[..., None] ** 2 * VARIANCES + level.sigma[..., None] ** 2)


def _gaussian_entropy() -> float:
    return float(0.5 * torch.log(2 * math.pi * math.e * VARIANCES).sum())


def _ode_gaussian(T: float, size: int, seed: int) -> Outcome:
    x = gaussian_points(100 * size, seed)
    solved = ode_log_likelihood(GAUSSIAN, SCHEDULE, x, T)
    # The flow carries N(0, V) to N(0, V_T) linearly, and the model's distribution is the pull-back of N(0, I).
    stretch = 1 / torch.sqrt(_precision(torch.tensor(T, dtype=torch.float64)) * VARIANCES)
    normal = torch.distributions.Normal(0.0, 1.0)
    log_p = (normal.log_prob(x * stretch) + stretch.log()).sum(-1)
    return Outcome(
        -float(log_p.mean()), -float(solved.log_p.mean()), 0.0, len(x), solved.evaluations, SOLVER_ERROR
    )  # fmt: skip


def _ode_kl_gaussian(size: int, seed: int) -> Outcome:
    x = gaussian_points(100 * size, seed)
    solved = ode_log_likelihood(GAUSSIAN, SCHEDULE, x, 1.0)
    log_p = -0.5 * (x**2 / VARIANCES + torch.log(2 * math.pi * VARIANCES)).sum(-1)
    return from_values(0.0, log_p - solved.log_p, solved.evaluations, SOLVER_ERROR)


def _ode_kl(law: Callable[[], GaussianMixture], points: int, size: int, seed: int) -> Outcome:
    exact = law()
    x = exact.sample(points * size, generator(seed, "ode"))
    solved = ode_log_likelihood(scored(exact), SCHEDULE, x, 1.0)
    # KL(p_T || prior) at T = 1 is about alpha_T^2 |mean|^2 / 2 < 5e-5 and inside the solver's error bound.
    return from_values(0.0, exact.log_prob(x) - solved.log_p, solved.evaluations, SOLVER_ERROR)


def _ode_nll(d: int, size: int, seed: int) -> Outcome:
    law = mixture_in(d)
    x = law.sample(500 * size, generator(seed, "nll"))
    solved = ode_log_likelihood(scored(law), SCHEDULE, x, 1.0)
    return from_values(law.entropy_quadrature().value, -solved.log_p, solved.evaluations, SOLVER_ERROR)


def _ode_hutchinson(size: int, seed: int) -> Outcome:
    law = mixture_in(3)
    x = law.sample(200 * size, generator(seed, "hutchinson"))
    probe = draw_probe("rademacher", tuple(x.shape), generator(seed, "probe")).double()
    solved = ode_log_likelihood(scored(law), SCHEDULE, x, 1.0, probe=probe)
    # On the same points, so that the difference to 0 is what the random probe adds.
    return from_values(0.0, law.log_prob(x) - solved.log_p, solved.evaluations, SOLVER_ERROR)


def _draw(x: Tensor, seed: int) -> ElboDraw:
    source = generator(seed, "elbo")
    u = stratified(len(x), source)
    eps, eps_T = (torch.randn(x.shape, generator=source, dtype=torch.float64) for _ in range(2))
    return ElboDraw(u, eps, eps_T)


def _elbo_values(form: str, model: Denoiser, x: Tensor, T: float, seed: int) -> Tensor:
    debiased = DebiasedTime(SCHEDULE, T)
    if form == "denoising":
        return elbo_from_denoising(model, SCHEDULE, x, debiased, _draw(x, seed))
    return elbo(model, SCHEDULE, x, UniformTime(T) if form == "uniform" else debiased, _draw(x, seed))


def _elbo_gaussian(form: str, T: float, size: int, seed: int) -> Outcome:
    x = gaussian_points(20_000 * size, seed)
    values = _elbo_values(form, GAUSSIAN, x, T, seed)
    return from_values(-_gaussian_entropy() - gaussian_kl_to_prior(T), values, evaluations=1)


def _elbo_mixture(form: str, d: int, T: float, size: int, seed: int) -> Outcome:
    law = mixture_in(d)
    x = law.sample(20_000 * size, generator(seed, "elbo mixture"))
    values = _elbo_values(form, scored(law), x, T, seed)
    # At T >= 1 KL(p_T || prior) is below 5e-5.
    return from_values(-law.entropy_quadrature().value, values, evaluations=1, bias_bound=1e-4)


def _debiased_time(T: float, form: str, size: int, seed: int) -> Outcome:
    u = torch.rand(100_000 * size, generator=generator(seed, "t", form, str(T)), dtype=torch.float64)
    t, density = DebiasedTime(SCHEDULE, T).sample(u)
    level = SCHEDULE.at(t)
    end = SCHEDULE.at(torch.tensor(T, dtype=torch.float64))
    # Int_0^T beta dt = B(T) = -2 log alpha_T and Int_0^T beta alpha dt = 2 (1 - alpha_T)
    integrand = level.g2 if form == "beta" else level.g2 * level.alpha
    truth = -2 * torch.log(end.alpha) if form == "beta" else 2 * (1 - end.alpha)
    return from_values(float(truth), integrand / density)


LIKELIHOOD = [
    *(Case("NLL by the ODE", f"Gaussian, T = {T}, closed form", 3, partial(_ode_gaussian, T)) for T in (0.5, 1.0)),
    *(Case("NLL by the ODE", "mixture, entropy by quadrature", d, partial(_ode_nll, d)) for d in (1, 2)),
    Case("KL by the ODE", "mixture, Hutchinson divergence", 3, _ode_hutchinson),
    Case("KL by the ODE", "Gaussian with its own score", 3, _ode_kl_gaussian),
    *(
        Case("KL by the ODE", "mixture with its own score", d, partial(_ode_kl, partial(mixture_in, d), 50))
        for d in (1, 2, 3)
    ),
    Case("KL by the ODE", "swiss roll with its own score", 2, partial(_ode_kl, lambda: swiss_roll().mixture, 16)),
    *(
        Case(f"ELBO, {name}", f"Gaussian, T = {T}, closed form", 3, partial(_elbo_gaussian, form, T))
        for form, name in (("uniform", "uniform t"), ("debiased", "debiased t"), ("denoising", "from denoising"))
        for T in (0.5, 1.0)
    ),
    *(
        Case(f"ELBO, {name}", f"mixture, T = {T}, entropy", d, partial(_elbo_mixture, form, d, T))
        for form, name in (("debiased", "debiased t"), ("denoising", "from denoising"))
        for d, T in ((1, 1.0), (2, 1.2))
    ),
    *(
        Case("debiased time sampler", f"integral of {form}, T = {T}", 1, partial(_debiased_time, T, form))
        for form in ("beta", "beta alpha")
        for T in (0.5, 1.0)
    ),
]


# ----------
# Cases of mutual information from denoising errors: Gaussian pairs, their monotone images, independence, a label.

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
    found = mi.mutual_information(x, y, mi.Settings(steps=60, batch=128, width=32, points=16, seed=seed)).estimate
    return Outcome(truth, found.value, found.se, found.n, found.evaluations // found.n, EXCESS)


PAIRS = [
    Case("mutual information, denoising", "Gaussian pair", 1, _gaussian(1, lambda x: x)),
    Case("mutual information, denoising", "cube of a Gaussian pair", 2, _gaussian(2, lambda x: x**3)),
    Case("mutual information, denoising", "independent sides", 2, _independent),
    Case("mutual information, denoising", "label and two Gaussians", 1, _label),
]
