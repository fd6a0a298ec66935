"""The plain reference of the models with a code computes what the package computes."""

import dataclasses

import torch

from benchmarks import reference_infodiffusion as plain
from benchmarks.infodiffusion import FMNIST, OurTraining, as_plain, sample, small, synthetic_images, train_step
from infodiffusion.objective import losses, schedule_of
from infodiffusion.sampling import denoiser
from infolab.noise import generator
from infolab.sample import SampleNoise, ddim

SMALL = dataclasses.replace(small(FMNIST), dropout=0.0, T=40)


def moved(training):
    with torch.no_grad():
        for name, parameter in training.model.named_parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator(0, name)))
    return training.model.eval()


def pair():
    ours = moved(OurTraining(SMALL, synthetic_images(16, 8)))
    return ours, as_plain(ours, SMALL).eval()


def test_losses_agree():
    ours, theirs = pair()
    source = generator(0, "batch")
    x, eps = torch.rand(8, 1, 8, 8, generator=source) * 2 - 1, torch.randn(8, 1, 8, 8, generator=source)
    step, prior = torch.randint(1, 40, (8,), generator=source), torch.randn(8, SMALL.a_dim, generator=source)
    found = losses(SMALL, ours, schedule_of(SMALL), x, step, eps, prior, prior, 0)
    expected = theirs.loss(x, step, eps, prior, SMALL.mmd_weight)
    # The reconstruction term, which the public code writes for another step, is about 1e-8 of the loss.
    torch.testing.assert_close(found.total, expected, rtol=1e-5, atol=1e-6)


def test_ddim_over_all_steps_agrees():
    ours, theirs = pair()
    x_T, code = SampleNoise(0, "x", 3, (1, 8, 8)).start(), torch.randn(3, SMALL.a_dim, generator=generator(1))
    drawn = ddim(denoiser(ours, schedule_of(SMALL), code), schedule_of(SMALL), x_T, 40, 0.0)
    expected = plain.sample(theirs, x_T, code, 0.0)
    assert (drawn - expected).abs().max() < 1e-3 * expected.abs().max()


def test_a_training_step_moves_the_references_weights():
    _, theirs = pair()
    before = theirs.backbone.head.weight.detach().clone()
    optimizer = torch.optim.AdamW(theirs.parameters(), lr=1e-3)
    loss = plain.train_step(theirs, optimizer, torch.zeros(4, 1, 8, 8), 0.1, generator(0))
    assert loss > 0
    assert (theirs.backbone.head.weight - before).abs().max() > 1e-5


def test_rows_can_be_measured():
    for duel in (train_step(SMALL), sample(20, 16.0, SMALL, part=2)):
        assert duel.ours(0) > 0
        assert duel.reference(0) > 0
        assert duel.flops_ours > 0
