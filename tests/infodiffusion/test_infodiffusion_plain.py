"""The paper in one file computes what the package computes."""

import dataclasses

import pytest
import torch

from benchmarks.infodiffusion import FMNIST, OurTraining, as_plain, sample, small, synthetic_images, train_step
from infodiffusion import plain
from infodiffusion.objective import losses, schedule_of
from infodiffusion.sampling import denoiser
from infolab.mmd import mmd2_loss, named_kernel
from infolab.noise import generator
from infolab.sample import SampleNoise, ddim, grid, invert

SMALL = dataclasses.replace(small(FMNIST), dropout=0.0, T=40)


def moved(training):
    with torch.no_grad():
        for name, parameter in training.model.named_parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator(0, name)))
    return training.model.eval()


def pair(config=SMALL):
    ours = moved(OurTraining(config, synthetic_images(16, 8)))
    return ours, as_plain(ours, config).eval()


@pytest.mark.parametrize("betas", [(plain.BETA_1, plain.BETA_T), (0.3, 0.5)])  # a large beta_1 shows the reconstruction
def test_losses_agree(betas, monkeypatch):
    monkeypatch.setattr(plain, "BETA_1", betas[0])
    monkeypatch.setattr(plain, "BETA_T", betas[1])
    config = dataclasses.replace(SMALL, beta_1=betas[0], beta_T=betas[1])
    ours, theirs = pair(config)
    source = generator(0, "batch")
    x, eps = torch.rand(8, 1, 8, 8, generator=source) * 2 - 1, torch.randn(8, 1, 8, 8, generator=source)
    step, prior = torch.tensor([0, 0, 3, 9, 17, 25, 31, 39]), torch.randn(8, SMALL.a_dim, generator=source)
    found = losses(config, ours, schedule_of(config), x, step, eps, prior, prior, 0)
    expected = theirs.loss(x, step, eps, prior)
    # The same terms in float32, summed in another order: 1e-7 a sum, through some tens of layers.
    torch.testing.assert_close(found.total, expected, rtol=1e-5, atol=1e-6)
    assert betas[0] < 0.1 or (found.reconstruction / found.total).item() > 1e-2


def test_mmds_agree():
    x, y = (torch.randn(n, 5, generator=generator(n), dtype=torch.float64) for n in (20, 30))
    # float64 sums in another order.
    torch.testing.assert_close(plain.mmd(x, y), mmd2_loss(x, y, named_kernel("published", 5)), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize(("steps", "eta"), [(40, 0.0), (40, 0.5), (8, 0.5)])
def test_ddim_agrees(steps, eta):
    ours, theirs = pair()
    x_T, code = SampleNoise(0, "x", 3, (1, 8, 8)).start(), torch.randn(3, SMALL.a_dim, generator=generator(1))
    schedule, source = schedule_of(SMALL), generator(2)
    noise = [torch.randn(x_T.shape, generator=source) for _ in range(steps)]
    drawn = ddim(denoiser(ours, schedule, code), schedule, x_T, steps, eta, noise.__getitem__)
    expected = plain.ddim(theirs, x_T, code, [*grid(schedule, steps), -1], eta, generator(2))
    # float32 through `steps` calls of the network, each of which amplifies the rounding of the calls before.
    assert (drawn - expected).abs().max() < 1e-3 * expected.abs().max()


def test_inversions_agree(monkeypatch):
    monkeypatch.setattr(plain, "BETA_1", 0.02)  # large enough that each call of the network is seen in x_T
    monkeypatch.setattr(plain, "BETA_T", 0.2)
    config = dataclasses.replace(SMALL, beta_1=0.02, beta_T=0.2)
    ours, theirs = pair(config)
    x, code = SampleNoise(0, "x", 3, (1, 8, 8)).start(), torch.randn(3, SMALL.a_dim, generator=generator(1))
    schedule = schedule_of(config)
    found = invert(denoiser(ours, schedule, code), schedule, x, 8, "published")
    expected = plain.ddim(theirs, x, code, [-1, *grid(schedule, 8)[::-1]], 0.0, generator(2))
    assert (found - expected).abs().max() < 1e-3 * expected.abs().max()  # as above


def test_a_training_step_moves_the_references_weights():
    _, theirs = pair()
    before = theirs.backbone.layers[0].weight.detach().clone()
    optimizer = torch.optim.AdamW(theirs.parameters(), lr=1e-3)
    loss = plain.train_step(theirs, optimizer, torch.zeros(4, 1, 8, 8), generator(0))
    assert loss > 0
    assert (theirs.backbone.layers[0].weight - before).abs().max() > 1e-5


def test_main_prints_what_the_code_says(monkeypatch, capsys):
    settings = {"EPOCHS": 5, "TRAIN": 500, "SHOWN": 12, "DDIM_STEPS": 10, "CHANNELS": 8, "LR": 3e-3}
    for name, value in settings.items():
        monkeypatch.setattr(plain, name, value)
    values = plain.main()
    printed = capsys.readouterr().out
    for name, (value, se) in values.items():
        assert f"  {name:46} {value:.4f} +- {se:.4f}" in printed
    # Ten digits: an uninformed code reads 0.1 of them; the code's image is nearer with its own x_T than without.
    read, se = values["test digits read off the code, epoch 5"]
    assert read > 0.1 + 4 * se
    known, unknown = (values[f"squared error a pixel, from own code{end}"] for end in (" and x_T", ""))
    assert known[0] + 4 * known[1] < unknown[0]


def test_rows_can_be_measured():
    for duel in (train_step(SMALL), sample(20, 16.0, SMALL, part=2)):
        assert duel.ours(0) > 0
        assert duel.reference(0) > 0
        assert duel.flops_ours > 0
