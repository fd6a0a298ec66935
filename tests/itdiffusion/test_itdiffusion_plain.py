"""The paper in one file and our own path give the same numbers from the same weights and noise."""

import math

import pytest
import torch

from benchmarks import itdiffusion_2d as rows
from infolab.data.images import dequantization_noise
from infolab.denoise import Denoiser
from infolab.epochs import ChannelEpochs
from infolab.immse import Bins, GaussianReference, LogsnrRange, make_grid, measure_curve
from infolab.mixture import GaussianMixture
from infolab.nn.mlp import FourierMLPs
from infolab.noise import curve_noise, generator
from itdiffusion import plain
from itdiffusion.shapes import nll_losses
from itdiffusion.shapes_model import Gaussians, ShapesModel

LAW = LogsnrRange(plain.LOC, plain.SCALE, plain.CLIP)
BINS = Bins.of_levels(256)
GRID = make_grid(LogsnrRange(6.0, 2.0), 5)


def make_model(seeds, data):
    network = FourierMLPs(seeds, 2, 16, 32, 3)
    return ShapesModel(network, Gaussians([GaussianReference.fit(points) for points in data]), "none")


def test_log_snrs_and_weights_are_one():
    source = generator(0, "logsnr")
    u = torch.rand(1000, generator=generator(0, "logsnr"))
    logsnr, weights = LAW.sample(u.double())
    drawn = plain.draw_logsnr(1000, source)
    torch.testing.assert_close(drawn, logsnr.float(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(plain.weights_of(logsnr), weights)


def test_training_gives_the_same_weights_and_losses():
    # Two networks, six steps of Adam in float64: equal up to the rounding of frequencies and phases.
    data = torch.randn(2, 64, 2, generator=generator(0, "data"), dtype=torch.float64)
    model = make_model([0, 1], data).double()
    alone = [rows.as_plain_network(model, i).double() for i in range(2)]
    batches = ChannelEpochs(data, LAW, [0, 1], 16, stratified=False)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    losses, injected = [], [[], []]
    for step in range(6):
        optimizer.zero_grad()
        loss = nll_losses(model, batches, step)
        loss.sum().backward()
        optimizer.step()
        losses.append(loss.detach())
        b = batches(step)
        alpha, sigma = b.logsnr.sigmoid().sqrt()[..., None], (-b.logsnr).sigmoid().sqrt()[..., None]
        for i in range(2):
            injected[i].append(((b.z[i] - sigma[i] * b.eps[i]) / alpha[i], b.logsnr[i], b.eps[i]))
    for i, network in enumerate(alone):
        theirs = plain.train(network, torch.optim.Adam(network.parameters(), lr=1e-3), injected[i])
        # The reference adds the Gaussian's constant, which no gradient sees.
        constants = [
            math.log(2 * math.pi * math.e) - float((plain.weights_of(a) * torch.sigmoid(a)).mean())
            for _, a, _ in injected[i]
        ]
        ours = torch.stack(losses)[:, i] + torch.tensor(constants, dtype=torch.float64)
        torch.testing.assert_close(torch.tensor(theirs, dtype=torch.float64), ours, rtol=1e-4, atol=0)
        trained = rows.as_plain_network(model, i).double()
        for a, b in zip(trained.parameters(), network.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=2e-5)


def test_an_epoch_visits_every_point_at_most_once():
    x = torch.arange(20.0).reshape(10, 2)
    parts = list(plain.epoch(x, 4, generator(0, "epoch")))
    assert [part[0].shape for part in parts] == [(4, 2)] * 2
    seen = torch.cat([part[0] for part in parts])[:, 0].tolist()
    assert len(set(seen)) == 8


def test_densities_agree_within_their_noise():
    config = rows.CONFIG
    sweep = rows.Sweep(type(config)(seeds=(0,), datasets=("scg",), n=400, batch=90))
    sweep.train(3)
    network = rows.as_plain_network(sweep.model, 0)
    axis = rows.grid_axis(config.grid)
    pixels = torch.cartesian_prod(axis, axis)[7::400]
    theirs = torch.stack(
        [rows.plain_density(network, pixels, 200, generator(seed, "pixels")) for seed in range(30)]
    ).double()
    ours = torch.stack([sweep.contours(seed)[0].flatten()[7::400] for seed in range(8)])
    error = torch.sqrt(theirs.var(0) / 30 + ours.var(0) / 8)
    assert bool(((theirs.mean(0) - ours.mean(0)).abs() < 4.5 * error).all())


def test_all_three_variants_are_the_same_functions():
    x = torch.randint(0, 256, (40, 1, 2, 2), generator=generator(0)).float() / 127.5 - 1
    reference = GaussianReference.fit(x)
    curve = measure_curve(Denoiser.of_eps(reference.eps_hat), x, GRID, reference, bins=BINS, dequantized=True, seed=3)
    eps = curve_noise("quasi", (40, 4), 0, torch.arange(5), 5, seed=3)
    moved = x + BINS.step * (dequantization_noise(tuple(x.shape), 3) - 0.5)
    for j, a in enumerate(GRID.logsnr.float()):
        noise = eps[:, j].reshape(x.shape)
        for variant, kind, data in (("raw", "raw", x), ("rounded", "soft", x), ("dequantized", "dequantized", moved)):
            theirs = plain.errors(reference.eps_hat, data, noise, a, variant).mean()
            assert float(curve.mean(kind, "none")[j]) == pytest.approx(float(theirs), rel=2e-3, abs=1e-4)


def test_soft_rounding_is_the_same():
    for a in (-2.0, 4.0, 9.0, 11.0):
        x_hat = 2.2 * torch.rand(3, 4, 4, generator=generator(1)) - 1.1
        found = BINS.soft(x_hat, torch.full((3,), a))
        assert float((found - plain.soft_round(x_hat.clamp(-1, 1), torch.tensor(a))).abs().max()) < 0.01 * BINS.step


@pytest.mark.parametrize("a", [-3.0, 0.0, 3.0])
@pytest.mark.parametrize("name", ["scg", "four modes"])
def test_the_truths_are_the_labs_mixtures(name, a):
    law = plain.DENSITIES[name]
    k = len(law.centres)
    expected = GaussianMixture(torch.ones(k), law.centres.double(), law.covariance.double().expand(k, 2, 2))
    x, logsnr = law.sample(50, generator(2)), torch.full((50,), a)
    z = plain.channel(x, logsnr, torch.randn(50, 2, generator=generator(3)))
    # float32 against float64: the covariance of scg has condition number 100, so 100 times 1e-7 of values up to 10.
    torch.testing.assert_close(law.log_prob(x).double(), expected.log_prob(x.double()), rtol=1e-4, atol=1e-4)
    found = law.eps_hat(z, logsnr).double()
    torch.testing.assert_close(found, expected.eps_hat(z.double(), logsnr.double()), rtol=1e-3, atol=1e-4)


def test_main_prints_the_nll_beside_the_truth(monkeypatch, capsys):
    settings = {"N": 1280, "TEST": 300, "EPOCHS": 6, "POINTS": 200, "CURVE": (0.0,)}
    for name, value in settings.items():
        monkeypatch.setattr(plain, name, value)
    excess = plain.main()
    printed = capsys.readouterr().out
    # Two points under their exact denoiser: log 2, up to four standard errors.
    value, se = excess["two points"]
    assert abs(value) < 4 * se
    for name in plain.DENSITIES:
        value, se = excess[name]
        assert value > -4 * se  # an upper bound
        assert f"excess {value:.3f} +- {se:.3f}" in printed
    assert "truth log 2 = 0.693" in printed
