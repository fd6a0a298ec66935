"""Rows of what is computed from points and densities: mutual information, NLL, mixtures, the KL of a 1-D score."""

import math
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from instrument import Instrument, Numbers, Sample, same
from torch import Tensor

from infolab.bound import data_terms
from infolab.denoise import Denoiser
from infolab.empirical import empirical_posterior_mean, empirical_score, mutual_information, mutual_information_batch
from infolab.immse import GaussianReference
from infolab.kl import kl_to_mixture
from infolab.mixture import GaussianMixture
from infolab.nll import NllConfig, nll_report
from infolab.schedules import VP

T = 0.2
SHARES = (0.3, 0.7)


def points(source: np.random.Generator, n: int = 24) -> Sample:
    return Sample({"x": source.normal(size=(n, 3)) * [1.0, 0.5, 2.0]}, ("x",), (("x",),))


def alpha_sigma() -> tuple[float, float]:
    level = VP().at(torch.tensor(T, dtype=torch.float64))
    return float(level.alpha), float(level.sigma)


def information(sample: Sample) -> Numbers:
    """The noise in the data's unit."""
    found = mutual_information(torch.from_numpy(sample["x"]), 0.8, 0.6 * sample.unit, draws=8)
    return Numbers(np.array([found.value]), np.array([found.se]))


def information_batch(sample: Sample) -> Numbers:
    x = torch.from_numpy(sample["x"])
    sets = torch.stack([x, x.flip(0)])
    alpha, sigma = (
        torch.tensor([0.8, 0.9], dtype=torch.float64),
        torch.tensor([0.6, 0.4], dtype=torch.float64) * sample.unit,
    )
    value, se = mutual_information_batch(sets, alpha, sigma, 8, [0, 1], "invariance")
    return Numbers(value.numpy(), se.numpy())


def terms(sample: Sample) -> Numbers:
    found = data_terms(torch.from_numpy(sample["x"]), T, VP(), outer=0, draws=8, seed=0)
    names = ("term1_nats", "mi_nats", "term2", "kl_prior_nats")
    return Numbers(*(np.array([found[name][part] for name in names]) for part in ("value", "se")))


def terms_by_formula(before: Numbers, sample: Sample, after: Sample) -> np.ndarray:
    """I is that of the noise in units of the data; the other terms are closed forms in |x|^2."""
    alpha, sigma = alpha_sigma()
    mi = before.values[1]
    if after.unit != 1:
        mi = mutual_information(torch.from_numpy(sample["x"]), alpha * after.unit, sigma, draws=8).value
    d = after["x"].shape[1]
    kl = (alpha**2 * np.square(after["x"]).sum(1) - d * (2 * math.log(sigma) + alpha**2)) / 2
    return np.array([-mi, mi, np.sqrt(kl).mean(), kl.mean() - mi])


def denoised(sample: Sample) -> Numbers:
    """Posterior mean (in the data's unit and origin) and score of noisy points that are not permuted."""
    noise = np.random.default_rng(1).normal(size=(5, 3))
    data = torch.from_numpy(sample["x"])
    alpha, sigma = torch.full((5,), 0.8, dtype=torch.float64), torch.full((5,), 0.6, dtype=torch.float64) * sample.unit
    x_t = torch.from_numpy(noise * sample.unit + 0.8 * np.asarray(sample.origin))
    mean = (empirical_posterior_mean(x_t, data, alpha, sigma) - torch.as_tensor(sample.origin)) / sample.unit
    score = empirical_score(x_t, data, alpha, sigma) * sample.unit
    return Numbers(torch.cat([mean, score]).flatten().numpy())


def mixture(sample: Sample) -> GaussianMixture:
    """Two correlated components, of the sample's unit and origin."""
    covariance = torch.tensor([[[0.3, 0.1], [0.1, 0.2]], [[0.5, 0.0], [0.0, 0.1]]], dtype=torch.float64)
    means = torch.tensor([[-2.0, 0.0], [1.0, 1.0]], dtype=torch.float64) * sample.unit + torch.as_tensor(sample.origin)
    return GaussianMixture(torch.tensor(SHARES), means, covariance * sample.unit**2)


def drawn(source: np.random.Generator, n: int = 64) -> Sample:
    law = mixture(Sample({}, (), ()))
    x = law.sample(n, torch.Generator().manual_seed(int(source.integers(2**31))))
    return Sample({"x": x.numpy()}, ("x",), (("x",),))


def nll(sample: Sample) -> Numbers:
    """`nll_report` of the exact denoiser on one range: NLL and the Gaussian's; the ends of the range that it finds."""
    module = ModuleType("denoiser_of_invariance")
    module.exact = mixture(sample).eps_hat
    sys.modules[module.__name__] = module
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "x.npy", sample["x"])
        given = NllConfig(denoiser=f"{module.__name__}:exact", data=str(Path(folder) / "x.npy"), points=20)
        found = nll_report(given)
        unit = 2 * math.log(sample.unit)
        fixed = nll_report(replace(given, loc=1 - unit, scale=2.5, widen=False))
    values = [fixed["nll_nats"]["value"], fixed["reference_nats"]["value"]]
    values += [found["logsnr_low"] + unit, found["logsnr_high"] + unit]
    # An end moves by whole steps of 1 until a gap is below a limit: for other rounding by one, for other noise by more.
    return Numbers(np.array(values), np.array([fixed["nll_nats"]["se"], 0.0, 0.5, 0.5]), np.array([0.0, 0.0, 0.3, 0.3]))


def plus_log_unit(which: list[float]):
    """d ln c is added to some of the values."""
    return lambda before, _, after: before.values + np.array(which) * 2 * math.log(after.unit)


def gaussian(sample: Sample) -> Numbers:
    x = torch.from_numpy(sample["x"])
    reference = GaussianReference.fit(x)
    unit, probes = 2 * math.log(sample.unit), torch.tensor([-3.0, 0.0, 3.0], dtype=torch.float64)
    mean = (reference.mean.numpy() - sample.origin) / sample.unit
    mmse = reference.mmse_eps(probes - unit).numpy()
    values = [reference.entropy_nats, -float(reference.log_prob(x).mean()), *mean, *mmse]
    return Numbers(np.array(values))


def density(sample: Sample) -> Numbers:
    """Everything that a mixture says of points, in the data's unit and origin where it has one."""
    law, x = mixture(sample), torch.from_numpy(sample["x"][:6])
    away = torch.as_tensor(sample.origin)
    alpha, sigma = torch.tensor(0.8, dtype=torch.float64), torch.tensor(0.6 * sample.unit, dtype=torch.float64)
    parts = [
        -law.log_prob(x).mean()[None],
        torch.tensor([law.entropy_quadrature().value], dtype=torch.float64),
        law.score(x) * sample.unit,
        (law.mean() - away) / sample.unit,
        law.cov() / sample.unit**2,
        (law.posterior_mean_at(0.8 * x, alpha, sigma) - away) / sample.unit,
        law.score_at(0.8 * x, alpha, sigma) * sample.unit,
    ]
    return Numbers(torch.cat([part.flatten() for part in parts]).numpy())


def modes(source: np.random.Generator) -> Sample:
    values = np.array([[-2.0], [1.0]]) + 0.1 * source.normal(size=(2, 1))
    return Sample({"modes": values, "weights": np.array(SHARES)}, ("modes",), (("modes", "weights"),))


def kl_law(sample: Sample) -> GaussianMixture:
    return GaussianMixture(
        torch.from_numpy(sample["weights"]), torch.from_numpy(sample["modes"]), (0.7 * sample.unit) ** 2
    )


def kl(sample: Sample) -> Numbers:
    """KL of the exact score."""
    law, schedule = kl_law(sample), VP()

    def score(x: Tensor, t: Tensor) -> Tensor:
        level = schedule.at(t)
        return law.score_at(x, level.alpha, level.sigma)

    found = kl_to_mixture(Denoiser.of_score(score, schedule), law, schedule, steps=64)["kl_nats"]
    return Numbers(np.array([found["value"]]), numerical=found["se_quadrature"])


def kl_of_prior(_before: Numbers, _sample: Sample, after: Sample) -> np.ndarray:
    """The flow of the exact score is a bijection: KL(p0 || p_theta) = KL(p_T || N(0, 1)), whatever p0."""
    level = VP().at(torch.tensor(1.0, dtype=torch.float64))
    end = kl_law(after).noised(float(level.alpha), float(level.sigma))
    mean, spread = float(end.mean()), float(end.cov().sqrt())
    x = torch.linspace(mean - 12 * spread, mean + 12 * spread, 20_001, dtype=torch.float64)
    log_p = end.log_prob(x[:, None])
    return np.array([float(torch.trapezoid(log_p.exp() * (log_p + x**2 / 2 + math.log(2 * math.pi) / 2), x))])


ROWS = (
    Instrument(
        "mutual information of points",
        ("infolab.empirical.mutual_information",),
        points,
        information,
        {"scale": same, "shift": same, "permutation": same, "copies": same},
    ),
    Instrument(
        "the same of several sets",
        ("infolab.empirical.mutual_information_batch",),
        points,
        information_batch,
        {"scale": same, "shift": same, "permutation": same, "copies": same},
    ),
    Instrument(
        "terms of the bound",
        ("infolab.bound.data_terms", "infolab bound"),
        points,
        terms,
        {"scale": terms_by_formula, "shift": terms_by_formula, "permutation": same, "copies": same},
        rounding=1e4,  # squares of what was shifted
    ),
    Instrument(
        "posterior mean and score of points",
        ("infolab.empirical.empirical_posterior_mean", "infolab.empirical.empirical_score"),
        points,
        denoised,
        {"scale": same, "shift": same, "permutation": same, "copies": same},
    ),
    Instrument(
        "NLL by denoising",
        ("infolab.nll.nll_report", "infolab nll"),
        drawn,
        nll,
        {"scale": plus_log_unit([1, 1, 0, 0]), "shift": same, "permutation": same, "copies": same},
        # The denoiser is called in float32, 6e-8 of errors of up to 40 nats summed over a range of 30. A shift that
        # float32 would blur is taken in float64; up to 10^3 deviations it is not, and may move the NLL by `BLUR`.
        single=1e-4,
    ),
    Instrument(
        "Gaussian reference",
        ("infolab.immse.GaussianReference",),
        drawn,
        gaussian,
        {"scale": plus_log_unit([1, 1, 0, 0, 0, 0, 0]), "shift": same, "permutation": same, "copies": same},
    ),
    Instrument(
        "Gaussian mixture",
        ("infolab.mixture.GaussianMixture",),
        drawn,
        density,
        {
            "scale": lambda before, _, after: (
                before.values + np.r_[[2 * math.log(after.unit)] * 2, np.zeros(len(before.values) - 2)]
            ),
            "shift": same,
            "permutation": "log densities follow their points",
            "copies": "the same",
        },
    ),
    Instrument(
        "KL of a 1-D score",
        (
            "infolab.kl.kl_to_mixture",
            "infolab kl",
            "infolab.kl.grid_density",
            "infolab.kl.of_slopes",
            "infolab.kl.GridDensity",
            "infolab.kl.mode_grid",
            "infolab.kl.flow_times",
            "infolab.kl.flow_steps",
        ),
        modes,
        kl,
        {"scale": kl_of_prior, "shift": kl_of_prior, "permutation": same, "copies": same},
        limits={"scale": 1.0, "shift": 30.0},
        why_limits="the SDE has a unit and an origin of its own, N(0, 1): far off its solver takes minutes",
    ),
)
