"""Sets from their own files: dSprites' .npz, 3dshapes' .h5, folders of images of any size, CelebA's attributes."""

import numpy as np
import pytest
import torch
from PIL import Image

from infolab.data.factor_files import DSPRITES, SHAPES3D, dsprites, shapes3d
from infolab.data.folders import attributes, load_resized
from infolab.errors import UserError


def write_dsprites(folder, n=40):
    rng = np.random.default_rng(0)
    classes = np.concatenate([np.zeros((n, 1), int), rng.integers(0, 3, (n, 5))], axis=1)
    images = rng.integers(0, 2, (n, 64, 64)).astype(np.uint8)
    np.savez(folder / DSPRITES, imgs=images, latents_classes=classes)
    return images, classes


def test_dsprites_is_split_and_halved(tmp_path):
    images, classes = write_dsprites(tmp_path)
    train, test = dsprites(tmp_path, 32)
    assert (len(train), len(test)) == (36, 4)
    assert train.shape == (1, 32, 32)
    assert train.factor_names == ("shape", "scale", "orientation", "x", "y")
    # Each image is there once: found again by its factors and the means of its 2 x 2 pixels.
    halved = np.round(255 * images.reshape(40, 32, 2, 32, 2).mean((2, 4)))
    ours = torch.cat([train.images, test.images])[:, 0].numpy()
    order = [int(np.flatnonzero((halved == image).all((1, 2)))[0]) for image in ours]
    assert sorted(order) == list(range(40))
    factors = torch.cat([train.factors, test.factors]).numpy()
    assert (factors == classes[order, 1:]).all()
    assert torch.equal(train.labels, train.factors[:, 0])
    assert dsprites(tmp_path, 64)[0].images.unique().tolist() == [0, 255]


def test_dsprites_says_what_is_wrong(tmp_path):
    with pytest.raises(UserError, match=f"expected {DSPRITES}"):
        dsprites(tmp_path)
    (tmp_path / DSPRITES).write_bytes(b"nothing")
    with pytest.raises(UserError, match="is not dSprites' file"):
        dsprites(tmp_path)


def test_3dshapes_has_six_factors(tmp_path):
    h5py = pytest.importorskip("h5py")
    rng = np.random.default_rng(0)
    labels = np.stack(
        [rng.choice(values, 30) for values in ([0.0, 0.1], [0.2, 0.9], [0.5], [1, 2], [0, 3], [-30, 30])], 1
    )
    with h5py.File(tmp_path / SHAPES3D, "w") as file:
        file["images"] = rng.integers(0, 256, (30, 64, 64, 3)).astype(np.uint8)
        file["labels"] = labels
    train, test = shapes3d(tmp_path)
    assert train.shape == (3, 64, 64)
    assert (len(train), len(test)) == (27, 3)
    assert train.factors.shape == (27, 6)
    assert train.factors[:, 5].unique().tolist() == [0, 1]


def test_folders_are_read_whole_and_resized(tmp_path):
    for number, (name, size) in enumerate([("cats", (10, 20)), ("dogs", (31, 8)), ("dogs", (16, 16))]):
        (tmp_path / name).mkdir(exist_ok=True)
        Image.new("RGB", size, (255, 0, number)).save(tmp_path / name / f"{number}.png")
    images = load_resized(tmp_path, "pets", "train", 16, 3)
    assert images.images.shape == (3, 3, 16, 16)
    assert images.labels.tolist() == [0, 1, 1]
    assert images.images[2, :, 3, 3].tolist() == [255, 0, 2]
    assert load_resized(tmp_path, "pets", "train", 16, 1).shape == (1, 16, 16)
    with pytest.raises(UserError, match="is not a folder"):
        load_resized(tmp_path / "birds", "birds", "train", 16, 3)


def test_celeba_attributes_follow_the_partition(tmp_path):
    (tmp_path / "img_align_celeba").mkdir()
    (tmp_path / "list_eval_partition.txt").write_text("1.jpg 0\n2.jpg 2\n3.jpg 0\n")
    assert attributes("train", tmp_path) is None
    listed = tmp_path / "list_attr_celeba.txt"
    listed.write_text("3\nBald Smiling\n1.jpg -1 1\n2.jpg 1 1\n3.jpg 1 -1\n")
    names, values = attributes("train", tmp_path)
    assert names == ("Bald", "Smiling")
    assert values.tolist() == [[0, 1], [1, 0]]
    listed.write_text("3\nBald Smiling\n1.jpg -1 1\n2.jpg 1 1\n")
    with pytest.raises(UserError, match="list of attributes"):
        attributes("train", tmp_path)
