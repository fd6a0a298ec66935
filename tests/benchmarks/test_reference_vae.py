"""The plain reference of the VAEs and our own path give the same numbers from the same weights and the same noise."""

import numpy as np
import torch

from benchmarks import reference_vae as plain
from benchmarks import vae as rows
from infolab.noise import generator
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
        theirs = model.loss(x[0], eps[0])
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
    padded = torch.stack([plain.Binarized(grey)[i] for i in range(6)])
    assert torch.equal(padded, rows.as_inputs(grey).evaluation(0, 6))
    assert padded.shape == (6, 1, 32, 32)


def test_the_loader_visits_every_image_once():
    grey = np.zeros((70, 28, 28), dtype=np.uint8)
    grey[np.arange(70), 0, 0] = 255
    sizes = [len(x) for x in plain.loader(plain.Binarized(grey), range(66))]
    assert sizes == [64, 2]


def test_a_reference_fold_measures_every_image():
    torch.manual_seed(0)
    found = plain.fold(plain.Binarized(images(12)), range(10), [10, 11], epochs=2, every=2, n_z=2)
    assert found.shape == (12,)
    assert bool(torch.isfinite(found).all())
