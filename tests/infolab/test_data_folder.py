"""A folder of images: pixels as written, labels from the names, one sentence for what cannot be read."""

import numpy as np
import pytest
import torch
from PIL import Image

from infolab.data.folders import load_folder
from infolab.errors import UserError


def write(folder, name: str, pixels: np.ndarray) -> None:
    Image.fromarray(pixels).save(folder / name)


def test_png_files_are_read_in_order_with_their_labels(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 5, 4, 3), dtype=np.uint8)
    for name, image in zip(("dog_0001.png", "cat_0002.png", "cat_0001.png"), pixels, strict=True):
        write(tmp_path, name, image)
    (tmp_path / "notes.txt").write_text("not an image")
    images = load_folder(tmp_path, "train")
    assert images.shape == (3, 5, 4)
    assert images.labels is not None
    assert images.labels.tolist() == [0, 0, 1]
    torch.testing.assert_close(images.images, torch.from_numpy(pixels[[2, 1, 0]]).permute(0, 3, 1, 2))
    assert (images.levels, images.split, images.name) == (256, "train", tmp_path.name)


def test_grey_and_jpeg_files(tmp_path):
    grey = np.full((6, 6), 200, dtype=np.uint8)
    write(tmp_path, "a_1.jpg", grey)
    write(tmp_path, "b_1.JPEG", grey)
    images = load_folder(tmp_path, "test")
    assert images.images.shape == (2, 1, 6, 6)
    assert int((images.images.int() - 200).abs().max()) <= 2  # JPEG is lossy


def test_bad_folders_are_refused(tmp_path):
    with pytest.raises(UserError, match="not a folder"):
        load_folder(tmp_path / "nowhere", "train")
    with pytest.raises(UserError, match=r"no \.png"):
        load_folder(tmp_path, "train")
    write(tmp_path, "a_1.png", np.zeros((4, 4), dtype=np.uint8))
    write(tmp_path, "a_2.png", np.zeros((5, 4), dtype=np.uint8))
    with pytest.raises(UserError, match="one shape"):
        load_folder(tmp_path, "train")
    (tmp_path / "a_2.png").write_bytes(b"\x89PNG nothing more")
    with pytest.raises(UserError, match="not a whole image"):
        load_folder(tmp_path, "train")
