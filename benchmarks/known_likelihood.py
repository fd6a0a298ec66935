"""Cases of the likelihood estimators: ODE and ELBO with exact scores on Gaussians and mixtures; the time sampler."""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from benchmarks.known import Case, Outcome, from_values, stratified
from infolab.epochs import DebiasedTime, UniformTime
from infolab.likelihood import (
    ElboDraw,
    ScoreAndDivergence,
    draw_probe,
    elbo,
    elbo_from_denoising,
    exact_divergence,
    hutchinson,
    ode_log_likelihood,
)
from infolab.mixture import GaussianMixture
from infolab.noise import generator
from infolab.sample import Score
from infolab.schedules import VP
from infolab.toy import swiss_roll

SCHEDULE = VP()
VARIANCES = torch.tensor([0.3, 1.0, 4.0], dtype=torch.float64)
SOLVER_ERROR = 1e-3
"""Bound of the ODE solver's error in log p at tolerance 1e-5, on laws of unit scale."""


def gaussian_score(x: Tensor, t: Tensor) -> Tensor:
    """Score of the noised N(0, diag(VARIANCES)), linear in x."""
    return -x * _precision(t)


def gaussian_score_and_divergence(x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """The same with its divergence."""
    return gaussian_score(x, t), -_precision(t).sum(-1)


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


def score_of(law: GaussianMixture) -> Score:
    """Exact score of the noised law, as a function of (x, t)."""

    def score(x: Tensor, t: Tensor) -> Tensor:
        level = SCHEDULE.at(t)
        return law.score_at(x, level.alpha, level.sigma)

    return score


def _precision(t: Tensor) -> Tensor:
    level = SCHEDULE.at(t)
    return 1 / (level.alpha[..., None] ** 2 * VARIANCES + level.sigma[..., None] ** 2)


def _gaussian_entropy() -> float:
    return float(0.5 * torch.log(2 * math.pi * math.e * VARIANCES).sum())


def _ode_gaussian(T: float, size: int, seed: int) -> Outcome:
    x = gaussian_points(100 * size, seed)
    solved = ode_log_likelihood(gaussian_score_and_divergence, SCHEDULE, x, T)
    # The flow carries N(0, V) to N(0, V_T) linearly, and the model's law is the pull-back of N(0, I).
    stretch = 1 / torch.sqrt(_precision(torch.tensor(T, dtype=torch.float64)) * VARIANCES)
    normal = torch.distributions.Normal(0.0, 1.0)
    log_p = (normal.log_prob(x * stretch) + stretch.log()).sum(-1)
    return Outcome(
        -float(log_p.mean()), -float(solved.log_p.mean()), 0.0, len(x), solved.evaluations, SOLVER_ERROR
    )  # fmt: skip


def _ode_kl_gaussian(size: int, seed: int) -> Outcome:
    x = gaussian_points(100 * size, seed)
    solved = ode_log_likelihood(gaussian_score_and_divergence, SCHEDULE, x, 1.0)
    log_p = -0.5 * (x**2 / VARIANCES + torch.log(2 * math.pi * VARIANCES)).sum(-1)
    return from_values(0.0, log_p - solved.log_p, solved.evaluations, SOLVER_ERROR)


def _ode_kl(law: Callable[[], GaussianMixture], points: int, size: int, seed: int) -> Outcome:
    exact = law()
    x = exact.sample(points * size, generator(seed, "ode"))
    solved = ode_log_likelihood(exact_divergence(score_of(exact)), SCHEDULE, x, 1.0)
    # KL(p_T || prior) at T = 1 is about alpha_T^2 |mean|^2 / 2 < 5e-5 and inside the solver's error bound.
    return from_values(0.0, exact.log_prob(x) - solved.log_p, solved.evaluations, SOLVER_ERROR)


def _ode_nll(d: int, size: int, seed: int) -> Outcome:
    law = mixture_in(d)
    x = law.sample(500 * size, generator(seed, "nll"))
    solved = ode_log_likelihood(exact_divergence(score_of(law)), SCHEDULE, x, 1.0)
    return from_values(law.entropy_quadrature().value, -solved.log_p, solved.evaluations, SOLVER_ERROR)


def _ode_hutchinson(size: int, seed: int) -> Outcome:
    law = mixture_in(3)
    x = law.sample(200 * size, generator(seed, "hutchinson"))
    probe = draw_probe("rademacher", tuple(x.shape), generator(seed, "probe")).double()
    solved = ode_log_likelihood(hutchinson(score_of(law), probe), SCHEDULE, x, 1.0)
    # On the same points, so that the difference to 0 is what the random probe adds.
    return from_values(0.0, law.log_prob(x) - solved.log_p, solved.evaluations, SOLVER_ERROR)


def _draw(x: Tensor, seed: int) -> ElboDraw:
    source = generator(seed, "elbo")
    u = stratified(len(x), source)
    eps, eps_T = (torch.randn(x.shape, generator=source, dtype=torch.float64) for _ in range(2))
    return ElboDraw(u, eps, eps_T)


def _elbo_values(form: str, score: Score, both: ScoreAndDivergence, x: Tensor, T: float, seed: int) -> Tensor:
    debiased = DebiasedTime(SCHEDULE, T)
    if form == "denoising":
        return elbo_from_denoising(score, SCHEDULE, x, debiased, _draw(x, seed))
    return elbo(both, SCHEDULE, x, UniformTime(T) if form == "uniform" else debiased, _draw(x, seed))


def _elbo_gaussian(form: str, T: float, size: int, seed: int) -> Outcome:
    x = gaussian_points(20_000 * size, seed)
    values = _elbo_values(form, gaussian_score, gaussian_score_and_divergence, x, T, seed)
    return from_values(-_gaussian_entropy() - gaussian_kl_to_prior(T), values, evaluations=1)


def _elbo_mixture(form: str, d: int, T: float, size: int, seed: int) -> Outcome:
    law = mixture_in(d)
    score = score_of(law)
    x = law.sample(20_000 * size, generator(seed, "elbo mixture"))
    values = _elbo_values(form, score, exact_divergence(score), x, T, seed)
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


CASES = [
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
