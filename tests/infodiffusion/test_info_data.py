"""The images of a run: their shape, held-out images of folders, subsets by seed, what codes are scored against."""

import pytest
import torch
from PIL import Image

from infodiffusion.data import attributes_or_factors, load_images
from infolab.errors import UserError


def test_every_tenth_image_of_a_folder_is_held_out(tmp_path):
    for number in range(20):
        Image.new("L", (12, 12), number).save(tmp_path / f"{number:02d}.png")
    train, test = load_images("mine", (1, 8), data_dir=tmp_path, folders=(str(tmp_path), ""))
    assert (len(train), len(test), train.shape) == (18, 2, (1, 8, 8))
    assert test.images[:, 0, 4, 4].tolist() == [9, 19]
    assert attributes_or_factors(train) is None
    both, same = load_images("mine", (1, 8), data_dir=tmp_path, folders=(str(tmp_path), str(tmp_path)))
    assert torch.equal(both.images, same.images)


def test_subsets_are_fixed_by_the_seed_and_small_sets_are_padded(tmp_path):
    first, test = load_images("digits", (1, 12), data_dir=tmp_path, m=50, seed=1)
    again, _ = load_images("digits", (1, 12), data_dir=tmp_path, m=50, seed=1)
    other, _ = load_images("digits", (1, 12), data_dir=tmp_path, m=50, seed=2)
    assert torch.equal(first.images, again.images)
    assert not torch.equal(first.images, other.images)
    assert first.shape == test.shape == (1, 12, 12)
    assert first.images[:, :, :2].max() == 0
    assert torch.equal(attributes_or_factors(test)[:, 0], test.labels)
    with pytest.raises(UserError, match="--m must be at most"):
        load_images("digits", (1, 12), data_dir=tmp_path, m=5_000)


def test_missing_files_are_said(tmp_path):
    for name, words in (("dsprites", "dsprites"), ("celeba", "img_align_celeba"), ("chairs", "is not a folder")):
        with pytest.raises(UserError, match=words):
            load_images(name, (3, 64), data_dir=tmp_path)
