"""CelebA in torchvision's layout: which faces, how they are cropped, what is said of files that are not right."""

import numpy as np
import pytest
from PIL import Image

from infolab.data import folders, load
from infolab.data.__main__ import examine
from infolab.errors import UserError


@pytest.fixture
def faces(tmp_path):
    """Five faces of smooth colours in torchvision's layout; returns the folder above it."""
    place = tmp_path / "data" / "celeba"
    (place / folders.FOLDER).mkdir(parents=True)
    y, x = np.mgrid[:218, :178]
    for number in range(1, 6):
        pixels = np.stack([x, y, np.full_like(x, 40 * number)], axis=-1).astype(np.uint8)
        Image.fromarray(pixels).save(place / folders.FOLDER / f"{number:06}.jpg", quality=98)
    lines = [f"{number:06}.jpg {part}" for number, part in enumerate((0, 0, 1, 2, 0), start=1)]
    (place / folders.PARTITION).write_text("\n".join(lines) + "\n")
    return tmp_path / "data"


def test_splits_crop_and_size(faces):
    train, test = (load("celeba", split, data_dir=faces) for split in ("train", "test"))
    assert (len(train), len(test), len(folders.load("valid", faces))) == (3, 1, 1)
    assert train.shape == (3, 32, 32)
    assert train.levels == 256
    # Colours are the coordinates: the crop goes from 15 to 163 across and from 40 to 188 down.
    ramp = 15 + 148 * (np.arange(32) + 0.5) / 32 - 0.5
    face = train.images[0].numpy().astype(float)
    np.testing.assert_allclose(face[0].mean(0), ramp, atol=2)
    np.testing.assert_allclose(face[1].mean(1), ramp + 25, atol=2)
    blue = train.images[:, 2].float().mean((1, 2)).numpy()
    np.testing.assert_allclose(blue, [40, 80, 200], atol=2)
    assert folders.load("train", faces, size=64).shape == (3, 64, 64)


def test_what_was_decoded_once_is_read_again_and_a_broken_copy_is_not(faces, monkeypatch):
    first = folders.load("train", faces)
    (cached,) = (faces / "celeba").glob("crops-32-train-*.npy")
    with monkeypatch.context() as patch:
        patch.setattr(folders, "_crop", lambda path, size: pytest.fail("decoded again"))
        assert np.array_equal(folders.load("train", faces).images, first.images)
    cached.write_bytes(cached.read_bytes()[:100])
    assert np.array_equal(folders.load("train", faces).images, first.images)


def test_images_that_are_replaced_are_decoded_anew(faces):
    first = folders.load("train", faces)
    for path in sorted((faces / "celeba" / folders.FOLDER).glob("*.jpg")):
        Image.fromarray(np.full((218, 178, 3), 120, dtype=np.uint8)).save(path, quality=98)
    replaced = folders.load("train", faces)
    np.testing.assert_allclose(replaced.images[:, 2].float().mean((1, 2)).numpy(), 120, atol=2)
    assert not np.array_equal(replaced.images, first.images)
    assert len(list((faces / "celeba").glob("crops-32-train-*.npy"))) == 1


def test_files_that_are_not_right(faces, tmp_path):
    with pytest.raises(UserError, match="expected the folder img_align_celeba"):
        folders.load("train", tmp_path / "nowhere")
    (faces / "celeba" / folders.FOLDER / "000002.jpg").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"000002\.jpg' is not a whole image"):
        folders.load("train", faces)
    (faces / "celeba" / folders.PARTITION).write_text("000001.jpg -1\n")
    with pytest.raises(UserError, match="is not CelebA's partition"):
        folders.load("train", faces)
    (faces / "celeba" / folders.PARTITION).write_text("000001.jpg 0\n")
    with pytest.raises(UserError, match="has no images of the split test"):
        folders.load("test", faces)


def test_the_doctor_finds_it(faces):
    (finding,) = [finding for finding in examine(faces) if finding.name == "celeba"]
    assert finding.status == "found"
    assert finding.where == str(faces / "celeba")
