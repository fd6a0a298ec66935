"""The cluster study: pairs of centres, the two losses, the denoiser's channel, and a smoke run."""

import dataclasses
import math

import numpy as np
import pytest
import torch

import infolab.training as training_module
from infolab.denoise import Denoiser
from infolab.immse import Bins, GaussianReference, LogsnrRange, estimate_nll
from infolab.results import read, read_arrays
from infolab.schedules import VE, VP, logsnr_to_alpha_sigma
from scoregen import clusters_model
from scoregen.clusters import run_clusters
from scoregen.clusters_model import (
    DIGITS_SWEEPS,
    SWEEPS,
    ChannelDenoiser,
    ClusterScore,
    extreme_pairs,
    load_pair,
    losses,
)

SMOKE = DIGITS_SWEEPS["smoke"][0]


class Board:
    """Stands in for TensorBoard, whose import takes longer than these tests."""

    def __init__(self, run, step):
        pass

    def scalars(self, step, losses):
        pass

    def rows(self, step, rows):
        pass

    def close(self):
        pass


class Gaussian(ClusterScore):
    """The exact score of pixels that are independently N(mean, variance) in [0, 1] units."""

    def __init__(self, schedule, mean=0.5, variance=0.04):
        torch.nn.Module.__init__(self)
        self.schedule, self.mean, self.variance = schedule, mean, variance

    def forward(self, x, t):
        level = self.schedule.at(t)
        alpha, sigma = (v[:, None, None, None] for v in (level.alpha, level.sigma))
        return -(x - alpha * self.mean) / (alpha**2 * self.variance + sigma**2)


def test_the_schedule_is_the_general_one():
    t = torch.linspace(1e-5, 1, 50, dtype=torch.float64)
    torch.testing.assert_close(clusters_model.marginal_std(t), VE(25.0).at(t).sigma, rtol=1e-9, atol=0)
    u = torch.tensor([0.0, 1.0])
    torch.testing.assert_close(clusters_model.uniform_times(u), torch.tensor([1e-5, 1.0]))


def test_the_replications_loss_is_the_general_one():
    source = torch.Generator().manual_seed(0)
    x, z = (torch.rand(6, 1, 4, 4, generator=source, dtype=torch.float64) for _ in range(2))
    t = torch.rand(6, generator=source, dtype=torch.float64)
    score = Gaussian(VE(25.0))
    torch.testing.assert_close(
        clusters_model.replication_loss(score, x, t, z), losses(score, x, t, z), rtol=1e-9, atol=0
    )


@pytest.mark.parametrize("schedule", [VE(25.0), VP()])
def test_the_channel_denoiser_is_the_exact_one_of_a_gaussian(schedule):
    mean, variance = 0.5, 0.04
    denoiser = ChannelDenoiser(Gaussian(schedule, mean, variance), None)
    logsnr = torch.linspace(-3.5, 9, 7, dtype=torch.float64)
    z = torch.randn(7, 1, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    alpha, sigma = (v[:, None, None, None] for v in logsnr_to_alpha_sigma(logsnr))
    # On [-1, 1] the law is N(2 mean - 1, 4 variance).
    exact = sigma * (z - alpha * (2 * mean - 1)) / (alpha**2 * 4 * variance + sigma**2)
    torch.testing.assert_close(denoiser(z, logsnr), exact, rtol=1e-6, atol=1e-8)


def test_beyond_the_schedule_the_gaussian_answers_and_then_nobody():
    x = torch.randn(50, 1, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    reference = GaussianReference.fit(x)
    denoiser = ChannelDenoiser(Gaussian(VE(25.0)), reference)
    z = x[:2]
    low, high = (torch.full((2,), one, dtype=torch.float64) for one in (denoiser.low - 1, denoiser.high + 1))
    torch.testing.assert_close(denoiser(z, low), reference.eps_hat(z, low).to(z))
    assert not denoiser(z, high).any()


def test_the_likelihood_of_independent_pixels_is_their_entropy():
    # Pixels of 17 levels, all equally likely: log 17 nats each. The Gaussian score is not theirs, so the estimate lies
    # above; with the exact posterior mean it is log 17.
    levels = 17
    k = torch.randint(0, levels, (400, 1, 2, 2), generator=torch.Generator().manual_seed(0))
    x = 2 * k.double() / (levels - 1) - 1
    grid = torch.linspace(0, 1, levels, dtype=torch.float64)

    class Exact(Gaussian):
        def forward(self, points, t):
            level = self.schedule.at(t)
            alpha, sigma = (v[:, None, None, None] for v in (level.alpha, level.sigma))
            weights = torch.softmax(
                -((points[..., None] - alpha[..., None] * grid) ** 2) / (2 * sigma[..., None] ** 2), -1
            )
            return (alpha * (weights * grid).sum(-1) - points) / sigma**2

    bins = Bins.of_levels(levels)
    reference = GaussianReference.fit(x, floor=bins.step**2 / 12)
    settings = {"bins": bins, "points": 60, "widen": False, "seed": 0}
    settings["logsnr_range"] = LogsnrRange.from_ends(-9.0, math.log(66 / bins.step**2))
    exact, rough = (
        estimate_nll(Denoiser.of_eps(ChannelDenoiser(score, reference)), x, reference, **settings)["discrete"]
        for score in (Exact(VE(25.0)), Gaussian(VE(25.0), 0.5, 0.094))
    )
    truth = 4 * math.log(levels)
    assert exact.value == pytest.approx(truth, abs=4 * exact.se + 0.02)
    assert rough.value > truth - 4 * rough.se


def test_extreme_pairs_are_found_by_brute_force():
    centres = torch.rand(7, 5, generator=torch.Generator().manual_seed(1))
    pairs = extreme_pairs(centres)
    every = {(i, j): float((centres[i] - centres[j]).norm()) for i in range(7) for j in range(i + 1, 7)}
    assert pairs["farthest"] == max(every, key=every.get)
    assert pairs["nearest"] == min(every, key=every.get)


def test_pairs_have_matched_sizes_and_the_same_clusters_for_every_seed():
    far, near = (load_pair(dataclasses.replace(SMOKE, pair=pair)) for pair in ("farthest", "nearest"))
    assert len(far.train) == len(near.train) == 40
    assert far.distance > near.distance
    again = load_pair(dataclasses.replace(SMOKE, seed=1))
    assert (again.name, again.distance) == (far.name, far.distance)
    assert not torch.equal(again.train.images, far.train.images)
    assert far.test.split == "test"


@pytest.mark.parametrize("schedule", ["ve", "vp"])
def test_a_smoke_run_fills_its_table(tmp_path, monkeypatch, schedule):
    monkeypatch.setattr(training_module, "_Board", Board)
    config = dataclasses.replace(SMOKE, schedule=schedule, runs_dir=tmp_path / "runs", results_dir=tmp_path / "results")
    run_clusters("smoke", config)
    frame = read(tmp_path / "results", "scoregen/clusters")
    assert frame.epoch.tolist() == [1, 2]
    assert frame.nll_bpd.notna().tolist() == [False, True]
    last = frame.iloc[-1]
    assert last.nll_nats == pytest.approx(last.nll_bpd * 64 * np.log(2))
    assert (frame.loss > 0).all()
    ((_, arrays),) = read_arrays(tmp_path / "results", "scoregen", "clusters-digits")
    assert arrays["samples"].shape == (4, 8, 8)
    assert str(arrays["pair"]) == "farthest"


def test_the_published_settings():
    assert all(config.dataset == "mnist" and config.schedule == "ve" for config in SWEEPS["paper"])
    assert {(config.pair, config.seed) for config in SWEEPS["paper"]} == {
        (pair, seed) for pair in ("farthest", "nearest") for seed in (0, 1, 2)
    }
    assert clusters_model.BASE == 25.0
    for sweeps in (SWEEPS, DIGITS_SWEEPS):
        for configs in sweeps.values():
            for config in configs:
                config.check()
