"""What the networks see: one draw per image for evaluation, whatever the batch; folds and halves that partition."""

from pathlib import Path

import pytest
import torch

from infolab.data import load
from infolab.errors import UserError
from infolab.noise import derive
from vae.config import VAEConfig, runs
from vae.images import binarize, load_inputs
from vae.objective import Batches, fold_of, halves, members_of

CPU = torch.device("cpu")


def digits(**changes):
    return load_inputs(VAEConfig(canvas=0, **changes), CPU)


def test_binary_pixels_have_the_probability_of_their_grey_level():
    images = torch.arange(17, dtype=torch.uint8).view(1, 1, 1, 17).expand(20_000, 1, 1, 17).contiguous()
    bits = binarize(images, 17, seed=0)
    p = torch.arange(17) / 16
    error = (bits.float().mean(0).flatten() - p).abs()
    assert bool((error <= 5 * (p * (1 - p) / 20_000).sqrt() + 1e-5).all())
    assert set(bits[..., 0].unique().tolist()) == {0}
    assert set(bits[..., 16].unique().tolist()) == {1}


@pytest.mark.bits
def test_the_draw_of_an_image_is_its_own():
    images = load("digits", "train").images
    bits = binarize(images, 17, seed=3)
    assert torch.equal(binarize(images[:50], 17, seed=3), bits[:50])
    assert not torch.equal(binarize(images, 17, seed=4), bits)


@pytest.mark.bits
def test_evaluation_sees_the_same_pixels_every_time_and_in_any_subset():
    train, test = digits()
    few, _ = digits(m=100)
    assert torch.equal(train.evaluation(0, 64), train.evaluation(0, 64))
    assert torch.equal(few.evaluation(0, 100), train.evaluation(0, len(train))[few.index])
    assert (len(train), len(test), train.shape) == (1437, 360, (1, 8, 8))
    assert torch.equal(test.labels, load("digits", "test").labels)


@pytest.mark.parametrize("model", ["constant-gaussian-dc", "mix-logistics-dc"])
def test_colour_images_are_drawn_once_for_evaluation(model):
    train, _ = load_inputs(VAEConfig(dataset="patches", model=model), CPU)
    x = train.evaluation(0, 8)
    assert torch.equal(train.evaluation(4, 8), x[4:])
    assert torch.equal(train.take(torch.tensor([1, 5])).evaluation(0, 2), x[[1, 5]])
    if model == "mix-logistics-dc":
        assert float(x.min()) >= -1
        assert float(x.max()) <= 1
    else:  # logits of pixels in (0.05, 0.95)
        assert float(x.abs().max()) <= 2.9445


def test_redrawn_pixels_change_with_the_epoch_in_training_alone():
    train, _ = digits(redraw=True, m=200)
    plain, _ = digits(m=200)
    rows = torch.arange(200)[None]
    first, second = train.training(rows, 0, 0), train.training(rows, 1, 30)
    assert not torch.equal(first, second)
    assert torch.equal(train.training(rows, 0, 5), first)
    assert torch.equal(train.evaluation(0, 200), plain.evaluation(0, 200))
    assert torch.equal(plain.training(rows, 0, 0), plain.training(rows, 1, 30))
    whole = binarize(load("digits", "train").images, 17, derive(42, "redraw", 1))
    assert torch.equal(second[0], whole[train.index].float())


def test_flips_mirror_single_training_images():
    config = VAEConfig(dataset="patches", model="mix-logistics-dc", flip=True)
    train, test = load_inputs(config, CPU)
    x, rows = train.evaluation(0, 64), torch.arange(64)[None]
    seen = train.training(rows, 0, 0)[0]
    kept, mirrored = ((seen == x).flatten(1).all(1), (seen == x.flip(-1)).flatten(1).all(1))
    assert bool((kept | mirrored).all())
    assert 16 < int(mirrored.sum()) < 48
    assert not test.flip


def test_images_that_do_not_fit_are_refused():
    with pytest.raises(UserError, match=r"--m must lie in 2 \.\. 1437"):
        digits(m=5000)
    with pytest.raises(UserError, match="not in"):
        load_inputs(VAEConfig(dataset="cifar10", model="mix-logistics-dc", data_dir=Path("nowhere")), CPU)


@pytest.mark.parametrize(("n", "K"), [(100, 10), (1437, 10), (11, 5)])
def test_folds_partition_the_images_evenly_anew_in_every_repeat(n, K):
    folds = fold_of(n, K, seed=0, repeat=0)
    counts = torch.bincount(folds, minlength=K)
    assert int(counts.sum()) == n
    assert set(counts.tolist()) <= {n // K, n // K + 1}
    assert torch.equal(folds, fold_of(n, K, seed=0, repeat=0))
    assert not torch.equal(folds, fold_of(n, K, seed=0, repeat=1))
    assert not torch.equal(folds, fold_of(n, K, seed=1, repeat=0))


def test_too_few_images_make_no_folds():
    with pytest.raises(UserError, match="7 training images make no 4 folds"):
        fold_of(7, 4, seed=0, repeat=0)


def test_members_are_the_same_whoever_is_beside_them():
    config = VAEConfig(mode="cv", K=4, L=2)
    (first, second) = runs(config)
    assert (first.repeat, second.repeat, first.folds) == (0, 1, (0, 1, 2, 3))
    singles = runs(VAEConfig(mode="cv", K=4, L=2, together=1))
    assert len(singles) == 8
    all_four, alone = members_of(first, 50), members_of(singles[2], 50)
    assert alone[0].seed == all_four[2].seed
    assert torch.equal(alone[0].rows, all_four[2].rows)
    held = torch.cat([member.held_out for member in all_four])
    assert sorted(held.tolist()) == list(range(50))
    for member in all_four:
        assert sorted([*member.rows.tolist(), *member.held_out.tolist()]) == list(range(50))


def test_ghost_and_model_have_disjoint_halves():
    config = VAEConfig(mode="ghost")
    mine, others = halves(config, 101)
    assert sorted([*mine.tolist(), *others.tolist()]) == list(range(101))
    assert torch.equal(members_of(config, 101)[0].rows, mine)


def test_batches_visit_every_image_once_an_epoch_and_do_not_know_their_neighbours():
    rows = [torch.arange(0, 21), torch.arange(30, 50)]
    both = Batches(rows, [5, 6], batch=8, latent=2, largest=21)
    alone = Batches(rows[1:], [6], batch=8, latent=2, largest=21)
    assert both.steps_per_epoch == alone.steps_per_epoch == 3
    seen = [[], []]
    for step in range(3):
        batch = both(step)
        torch.testing.assert_close(batch.weight.sum(1), torch.ones(2))
        mine = alone(step)
        width = mine.rows.shape[1]
        assert torch.equal(batch.rows[1, :width], mine.rows[0])
        assert torch.equal(batch.eps[1, :width], mine.eps[0])
        for j in range(2):
            seen[j] += batch.rows[j][batch.weight[j] > 0].tolist()
    assert sorted(seen[0]) == rows[0].tolist()
    assert sorted(seen[1]) == rows[1].tolist()
    assert both(3).rows.tolist() != both(0).rows.tolist()
    assert torch.equal(both(0).eps, Batches(rows, [5, 6], 8, 2, 21)(0).eps)
