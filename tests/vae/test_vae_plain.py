"""The paper in one file and our own path give the same numbers from the same weights and the same noise."""

import math

import numpy as np
import pytest
import torch

from benchmarks import reference_vae
from benchmarks import vae as rows
from infolab.memorization import ScoreSums
from infolab.noise import generator
from vae import evaluate, plain
from vae.logpx import Points


def images(n=20):
    grey = torch.randint(0, 256, (n, 28, 28), generator=generator(0, "grey")).to(torch.uint8)
    return (grey * (torch.rand(n, 28, 28, generator=generator(0, "ink")) < 0.3)).numpy()


def test_a_training_step_gives_the_same_loss_and_weights():
    networks = rows.Networks(rows.PUBLISHED, rows.as_inputs(images()))
    networks.trained.double()
    model = rows.as_plain(networks.trained.vae).double()
    networks.optimizer = torch.optim.Adam(networks.trained.parameters(), lr=1e-3)
    # The published loss is a sum over the batch of 20, ours its mean: with eps scaled too, Adam's steps are the same.
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, eps=20 * 1e-8)
    for step in range(3):
        batch = networks.objective.batches(step)
        x, eps = networks.objective._images(networks.objective.batches, batch, step).double(), batch.eps.double()
        ours = (batch.weight * networks.trained.vae.negative_elbo(x, eps)).sum()
        rec, kl, _ = model.terms(x[0], eps[0])
        theirs = (rec + kl).sum()
        torch.testing.assert_close(ours * 20, theirs, rtol=1e-7, atol=0)  # 1/20 is a float32
        for loss, updates in ((ours, networks.optimizer), (theirs, optimizer)):
            updates.zero_grad()
            loss.backward()
            updates.step()
    again = rows.as_plain(networks.trained.vae).double()
    for a, b in zip(again.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)


def test_log_px_is_the_same_number():
    networks = rows.Networks(rows.PUBLISHED, rows.as_inputs(images(16)))
    points = Points("random", 8, 16, seed=0)
    (ours,) = networks.log_px(points, 16)
    x = networks.inputs.evaluation(0, 16)
    theirs = plain.log_px(rows.as_plain(networks.trained.vae), x, 8, points(0, 16).transpose(0, 1))
    torch.testing.assert_close(ours, theirs.double(), rtol=1e-5, atol=0)


def test_the_reference_reads_the_same_pixels_up_to_its_own_draw():
    grey = images(6)
    grey[grey > 0] = 255  # certain pixels
    padded = torch.stack([reference_vae.Binarized(grey)[i] for i in range(6)])
    assert torch.equal(padded, rows.as_inputs(grey).evaluation(0, 6))
    assert padded.shape == (6, 1, 32, 32)


def test_the_loader_visits_every_image_once():
    grey = np.zeros((70, 28, 28), dtype=np.uint8)
    grey[np.arange(70), 0, 0] = 255
    sizes = [len(x) for x in reference_vae.loader(reference_vae.Binarized(grey), range(66))]
    assert sizes == [64, 2]


def test_a_reference_fold_measures_every_image():
    torch.manual_seed(0)
    found = reference_vae.fold(reference_vae.Binarized(images(12)), range(10), [10, 11], epochs=2, every=2, n_z=2)
    assert found.shape == (12,)
    assert bool(torch.isfinite(found).all())


def test_the_bound_is_the_labs():
    # The same formulas in float64: equal to rounding.
    rec, kl = (torch.rand(50, generator=generator(0, name), dtype=torch.float64) + 1 for name in ("rec", "kl"))
    se = [float(part.std()) / math.sqrt(50) for part in (rec, kl, rec + kl)]
    terms = evaluate.Terms(float(rec.mean()), se[0], float(kl.mean()), se[1], se[2])
    assert plain.bound(rec, kl, 2.0, 30.0, 500) == pytest.approx(evaluate.ours(terms, 30.0, 0.0, 500), rel=1e-9)
    assert plain.bound(rec, kl, 1.0) == pytest.approx(evaluate.previous(terms), rel=1e-9)


def test_the_memorization_score_is_the_labs():
    # The same sums of exponentials in float64, in another order: equal to rounding.
    logpx = 30 * torch.randn(6, 9, generator=generator(0, "logpx"), dtype=torch.float64)
    inside = torch.stack([(torch.arange(9) + run) % 3 != 0 for run in range(6)])
    sums = ScoreSums(9)
    for values, where in zip(logpx, inside, strict=True):
        sums.add(values.numpy(), where.numpy())
    np.testing.assert_allclose(plain.memorization(logpx, inside), sums.scores().score, rtol=1e-12, atol=1e-12)


def test_a_decoder_without_weights_gives_every_pixel_log_2():
    vae = plain.VAE(64)
    with torch.no_grad():
        for weight in vae.parameters():
            weight.zero_()
    x = torch.bernoulli(torch.full((5, 64), 0.3), generator=generator(0))
    rec, kl, _ = vae.terms(x, torch.randn(5, 16, generator=generator(1)))
    # 64 pixels of log 2 in float32; the prior is the proposal, so that all importance weights are equal.
    torch.testing.assert_close(rec, torch.full((5,), 64 * math.log(2)))
    torch.testing.assert_close(kl, torch.zeros(5))
    found = plain.log_px(vae, x, 3, torch.randn(3, 5, 16, generator=generator(2)))
    torch.testing.assert_close(found, -rec, rtol=0, atol=1e-4)


def test_main_prints_bounds_and_scores(monkeypatch, capsys):
    settings = {"TRAIN": 120, "EPOCHS": 15, "N_Z": 8, "K": 3, "L": 1, "LR": 3e-3}
    for name, value in settings.items():
        monkeypatch.setattr(plain, name, value)
    values = plain.main()
    printed = capsys.readouterr().out
    for name, (value, se) in values.items():
        assert f"  {name:52} {value:7.3f} +- {se:.3f}" in printed
    # A lower bound of log p(x), which is above the fair coin's after training, and below that of the training images.
    elbo, log_px = values["ELBO, test images"][0], values["log p(x), test images"][0]
    assert -64 * math.log(2) < elbo < log_px < 0
    assert values["previous bound"][0] < values["bound of Chen et al., MI = mean memorization score"][0]
    mean, se = values["memorization score, mean"]
    assert mean > 4 * se  # 80 images of a network are learnt by heart
