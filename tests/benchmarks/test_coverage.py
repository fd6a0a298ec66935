"""Reported errors are honest: a cheap part of the coverage study here, the whole of it marked slow."""

from dataclasses import replace

import pytest
import torch

from benchmarks import coverage
from infolab.errors import LabError
from infolab.known_immse import LAWS
from infolab.mixture import GaussianMixture
from infolab.noise import generator
from infolab.results.tables import ControlVariate, Coverage


@pytest.mark.parametrize("name", ["modes at +-3 of sd 0.1", "x = +-1"])
def test_a_few_seeds_cover_the_truth(name):
    row = coverage.coverage(name, LAWS[name](), seeds=16, examples=80, points=30)
    # 16 draws at 95%: 12 or fewer within 2 se once in a thousand.
    assert row.within_2_se >= 0.8
    assert 0.4 < row.reported_se_nats / row.spread_nats < 2.5
    assert row.quadrature_nats_per_dim < coverage.MOST_QUADRATURE


@pytest.mark.slow
@pytest.mark.parametrize("name", list(LAWS))
def test_200_seeds_cover_the_truth(name):
    row = coverage.coverage(name, LAWS[name](), seeds=coverage.SEEDS)
    assert coverage.honest(row), coverage.line(row)


@pytest.mark.slow
@pytest.mark.parametrize("case", coverage.shapes(), ids=lambda case: case.name)
def test_the_control_variate_saves_noise_on_every_shape(case):
    assert coverage.saves(coverage.saving(case, "default", seeds=coverage.DRAWS[case.law.d]))


def test_the_control_variate_saves_noise_on_a_mixture():
    law = GaussianMixture(torch.ones(2), torch.tensor([[-1.5, 0.0], [1.5, 0.0]]), 0.3)
    fitted = coverage.GaussianReference(law.mean(), *torch.linalg.eigh(law.cov()))
    shape = coverage.Shape("two modes", law, fitted, law.sample(80, generator(0)))
    row = coverage.saving(shape, "shared", seeds=8, examples=80, points=30)
    assert row.ratio > coverage.LEAST_RATIO
    single = GaussianMixture(torch.ones(1), torch.zeros(1, 2), 0.3)
    exact = coverage.GaussianReference(single.mean(), *torch.linalg.eigh(single.cov()))
    shape = coverage.Shape("one mode", single, exact, single.sample(80, generator(0)))
    assert coverage.saving(shape, "independent", seeds=4, examples=80, points=20).ratio == 0.0


def row(**changes):
    base = Coverage(
        estimator="e", case="c", d=1, n=2, points=3, seeds=4, within_2_se=0.95, within_2_se_se=0.1, bias_nats=0.0,
        bias_se=1.0, reported_se_nats=1.0, spread_nats=1.0, quadrature_nats_per_dim=1e-4,
    )  # fmt: skip
    return replace(base, **changes)


def test_dishonest_errors_fail_with_their_names():
    assert coverage.honest(row())
    for change in ({"within_2_se": 0.85}, {"reported_se_nats": 2.5}, {"quadrature_nats_per_dim": 2e-3}):
        assert not coverage.honest(row(**change))
    saved = ControlVariate(
        case="x", d=1, n=1, points=1, noise="default", plain_sd_nats=1.0, control_sd_nats=0.5, ratio=2.0
    )
    with pytest.raises(LabError, match=r"2 rows fall short: bad; control variate on x \(default\)"):
        coverage.verdict([row(), row(case="bad", within_2_se=0.5)], [saved])
