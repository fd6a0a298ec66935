"""The idx reader: good files wherever they lie, bad ones refused in one sentence."""

import gzip
import hashlib

import numpy as np
import pytest
import torch
from data_files import idx_bytes, write_idx

from infolab.data import load
from infolab.errors import UserError

IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


@pytest.fixture(autouse=True)
def _no_system_folders(monkeypatch):
    monkeypatch.setattr("infolab.data.idx.SYSTEM", {"mnist": (), "fashion-mnist": ()})


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
@pytest.mark.parametrize(
    "below", [".", "MNIST/raw", "FashionMNIST/raw", "somewhere/deep/inside", "fashion-mnist", "mnist"]
)
def test_files_are_read_wherever_they_lie(tmp_path, zipped, name, below):
    arrays = write_idx(tmp_path / below, zipped=zipped)
    of_the_other = {"mnist": ("FashionMNIST/raw", "fashion-mnist"), "fashion-mnist": ("MNIST/raw", "mnist")}[name]
    if below in of_the_other:
        with pytest.raises(UserError, match="is not in"):
            load(name, data_dir=tmp_path)
        return
    for split, prefix in (("train", "train"), ("test", "t10k")):
        part = load(name, split, data_dir=tmp_path)
        assert torch.equal(part.images, torch.from_numpy(arrays[f"{prefix}-images-idx3-ubyte"])[:, None])
        assert torch.equal(part.labels, torch.from_numpy(arrays[f"{prefix}-labels-idx1-ubyte"]).long())
        assert (part.levels, part.split) == (256, split)


def test_both_sets_in_one_folder_are_told_apart(tmp_path):
    write_idx(tmp_path / "MNIST/raw", zipped=True, seed=1)
    fashion = write_idx(tmp_path / "FashionMNIST/raw", zipped=False, seed=2)
    assert torch.equal(load("fmnist", data_dir=tmp_path).images[:, 0], torch.from_numpy(fashion[IMAGES]))
    assert not torch.equal(load("mnist", data_dir=tmp_path).images[:, 0], torch.from_numpy(fashion[IMAGES]))


def test_size_pads_to_32(tmp_path):
    arrays = write_idx(tmp_path, zipped=True)
    images = load("mnist", data_dir=tmp_path, size=32).images
    assert images.shape == (12, 1, 32, 32)
    assert torch.equal(images[:, 0, 2:30, 2:30], torch.from_numpy(arrays[IMAGES]))


def flipped_bit(contents: bytes) -> bytes:
    damaged = bytearray(contents)
    damaged[len(damaged) // 2] ^= 1
    return bytes(damaged)


PLAIN_DAMAGE = {
    "truncated": lambda b: b[:-10],
    "too long": lambda b: b + b"\0",
    "magic": lambda b: b"\0\0\x09\x03" + b[4:],
    "magic number 00 00 08 03": lambda b: b"",
    "within its 16-byte header": lambda b: b[:9],
    "29 x 27": lambda b: idx_bytes(np.zeros((12, 29, 27), np.uint8)),
    "12 labels for 11 images": lambda b: idx_bytes(np.zeros((11, 28, 28), np.uint8)),
}


@pytest.mark.parametrize("words", PLAIN_DAMAGE)
def test_wrong_files_are_refused(tmp_path, words):
    write_idx(tmp_path, zipped=False)
    path = tmp_path / IMAGES
    path.write_bytes(PLAIN_DAMAGE[words](path.read_bytes()))
    with pytest.raises(UserError, match=words) as caught:
        load("mnist", data_dir=tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", [lambda b: b[:-20], flipped_bit, lambda b: b"not gzip at all", lambda b: b[:5]])
def test_damaged_gzip_is_refused(tmp_path, damage):
    write_idx(tmp_path, zipped=True)
    path = tmp_path / f"{IMAGES}.gz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match="gzip"):
        load("mnist", data_dir=tmp_path)


def test_labels_beyond_9_or_absent_are_refused(tmp_path):
    write_idx(tmp_path, zipped=False)
    (tmp_path / LABELS).write_bytes(idx_bytes(np.full(12, 10, np.uint8)))
    with pytest.raises(UserError, match=r"0 \.\. 9"):
        load("mnist", data_dir=tmp_path)
    (tmp_path / LABELS).unlink()
    with pytest.raises(UserError, match=LABELS):
        load("mnist", data_dir=tmp_path)


def test_official_size_with_other_contents_is_a_wrong_checksum(tmp_path, monkeypatch):
    write_idx(tmp_path, zipped=True)
    monkeypatch.setattr("infolab.data.idx.OFFICIAL_N", {"train": 12, "test": 5})
    with pytest.raises(UserError, match="wrong checksum"):
        load("mnist", data_dir=tmp_path)


def test_contents_with_the_published_checksum_pass_and_are_not_taken_for_another_set(tmp_path, monkeypatch):
    arrays = write_idx(tmp_path, zipped=True)
    sums = {stem: hashlib.md5(idx_bytes(array)).hexdigest() for stem, array in arrays.items()}
    other = dict.fromkeys(sums, "")
    monkeypatch.setattr("infolab.data.idx.OFFICIAL_N", {"train": 12, "test": 5})
    monkeypatch.setattr("infolab.data.places.IDX_CONTENTS", {"mnist": other, "fashion-mnist": sums})
    assert len(load("fashion-mnist", data_dir=tmp_path)) == 12
    with pytest.raises(UserError, match="fashion-mnist's file"):
        load("mnist", data_dir=tmp_path)
    (tmp_path / f"{IMAGES}.gz").write_bytes(gzip.compress(idx_bytes(arrays[IMAGES] ^ 1)))
    with pytest.raises(UserError, match="wrong checksum"):
        load("fashion-mnist", data_dir=tmp_path)
