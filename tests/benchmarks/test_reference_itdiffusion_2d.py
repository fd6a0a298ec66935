"""The plain reference of the 2-D study and our own path give the same numbers from the same weights and noise."""

import math

import torch

from benchmarks import itdiffusion_2d as rows
from benchmarks import reference_itdiffusion_2d as plain
from infolab.epochs import ChannelEpochs
from infolab.immse import GaussianReference, LogsnrRange
from infolab.nn.mlp import FourierMLPs
from infolab.noise import generator
from itdiffusion.shapes import nll_losses
from itdiffusion.shapes_model import Gaussians, ShapesModel

LAW = LogsnrRange(plain.LOC, plain.SCALE, plain.CLIP)


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


def test_the_loader_visits_every_point_at_most_once():
    x = torch.arange(20.0).reshape(10, 2)
    parts = list(plain.noised(plain.loader(x, 4, generator(0, "loader")), generator(1, "noise")))
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
        [plain.density(network, pixels, 200, generator(seed, "pixels")) for seed in range(30)]
    ).double()
    ours = torch.stack([sweep.contours(seed)[0].flatten()[7::400] for seed in range(8)])
    error = torch.sqrt(theirs.var(0) / 30 + ours.var(0) / 8)
    assert bool(((theirs.mean(0) - ours.mean(0)).abs() < 4.5 * error).all())
