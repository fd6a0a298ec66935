"""The plain U-Net and loop of the image study compute what ours do, from the same weights and the same noise."""

import pytest
import torch

from benchmarks import diffusion, run
from benchmarks import diffusion_images as rows
from benchmarks import reference_images as plain
from infolab.data import epoch_permutation
from infolab.data.images import LogitTransform
from infolab.nn.unet import NETWORKS, UNet
from infolab.noise import generator


def randomised(network):
    """The network with every weight off its initial value: no branch that starts at zero hides what feeds it."""
    with torch.no_grad():
        for name, item in network.named_parameters():
            item.add_(0.05 * torch.randn(item.shape, generator=generator(0, name)).to(item.dtype))
    return network


@pytest.mark.parametrize("size", ["mnist", "mnist-narrow", "mnist-tiny"])
def test_the_plain_unet_has_our_outputs_and_gradients(size):
    ours = randomised(UNet(NETWORKS[size](), 0).double())
    theirs = rows.as_plain_network(ours)
    x = torch.randn(2, 1, 28, 28, generator=generator(1), dtype=torch.float64)
    t = torch.tensor([0.03, 0.7], dtype=torch.float64)
    weight = torch.randn(2, 1, 28, 28, generator=generator(2), dtype=torch.float64)
    gradients = []
    for network in (ours, theirs):
        out = network(x, t)
        gradients.append(torch.autograd.grad((weight * out).sum(), list(network.parameters())))
        torch.testing.assert_close(out, ours(x, t), rtol=1e-10, atol=1e-10)
    for own, other in zip(*gradients, strict=True):
        torch.testing.assert_close(other.view_as(own), own, rtol=1e-8, atol=1e-8)


def test_one_step_has_the_same_loss_and_gradients():
    images = rows.synthetic_images(16)
    ours = rows.Loop("mnist-tiny", images)
    randomised(ours.score)
    theirs = rows.PlainLoop(ours)
    step = 3
    denoised = ours.objective.denoise(step)
    # What the step drew: the order of the images is the epoch's, the dequantisation noise comes first.
    pixels = images[epoch_permutation(16, ours.config.seed, step)]
    u = torch.rand(pixels.shape, generator=generator(ours.config.seed, "step", step))
    value = plain.loss(theirs.network, plain.to_logits(pixels.float() / 255, u), denoised.t, denoised.eps)
    torch.testing.assert_close(value, denoised.loss(), rtol=1e-5, atol=0)
    own = torch.autograd.grad(denoised.loss(), list(ours.score.parameters()))
    other = torch.autograd.grad(value, list(theirs.network.parameters()))
    mine, plain_ones = (torch.cat([item.flatten() for item in items]) for items in (own, other))
    assert float((plain_ones - mine).norm() / mine.norm()) < 1e-4  # float32, summed in another order


def test_logits_are_those_of_the_lab():
    k = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    u = torch.rand(k.shape, generator=generator(0), dtype=torch.float64)
    expected, _ = LogitTransform(256).forward((k + u) / 256)
    torch.testing.assert_close(plain.to_logits(k.double() / 255, u), expected)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_is_one_step_on_every_image(workers):
    images = rows.synthetic_images(16)
    loader = rows.plain_loader(images, workers)
    with rows.quiet_about_workers():
        batches = list(loader)
    assert [batch.shape for batch in batches] == [(16, 1, 28, 28)]
    seen = sorted(map(tuple, (batches[0] * 255).round().long().flatten(1).tolist()))
    assert seen == sorted(map(tuple, images.long().flatten(1).tolist()))
    assert rows.Loop("mnist-tiny", images).objective.per_epoch == 1


def test_training_lowers_the_plain_loss_and_moves_our_weights():
    images = rows.synthetic_images(8)
    ours = rows.Loop("mnist-tiny", images)
    theirs = rows.PlainLoop(ours)
    for group in theirs.optimizer.param_groups:
        group["lr"] = 1e-2
    source = generator(0)
    losses = [plain.train(theirs.network, theirs.optimizer, [images.float() / 255], 1.0, source) for _ in range(30)]
    first, last = (torch.tensor(part).mean() for part in (losses[:8], losses[-8:]))
    assert last < 0.9 * first
    before = ours.score.network.out[2].weight.clone()
    assert ours.run(2).isfinite()
    assert ours.step == 2
    assert not torch.equal(before, ours.score.network.out[2].weight)


def test_the_rows_are_among_the_papers_and_measure_both_sides():
    names = ["diffusion.fewshot_loop", "diffusion.fewshot_loop_inprocess", "diffusion.image_step"]
    assert list(rows.ROWS) == names
    assert set(names) <= set(diffusion.ROWS)
    assert set(names) <= set(run.wanted_rows("diffusion", ""))
    for duel in (rows.fewshot_loop(0, 1.0, m=4, epochs=1), rows.image_step(network="mnist-tiny", batch=4)):
        assert duel.reference(0) > 0
        assert duel.ours(0) > 0
        assert duel.flops_ours > 0
        assert "U-Net 4 channels x 1,1,1" in duel.setting
