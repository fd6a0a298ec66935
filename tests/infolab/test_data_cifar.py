"""The CIFAR-10 reader: folder and archive, and batches that would run code or are damaged refused."""

import hashlib
import pickle

import numpy as np
import pytest
import torch
from data_files import cifar_batches, python2_batch, write_cifar_archive, write_cifar_folder

from infolab.data import load
from infolab.errors import UserError

FOLDER, ARCHIVE = "cifar-10-batches-py", "cifar-10-python.tar.gz"


def truth(batches: dict[str, bytes], names: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    entries = [pickle.loads(batches[name]) for name in names]
    images = np.concatenate([entry["data"] for entry in entries]).reshape(-1, 3, 32, 32)
    return torch.from_numpy(images), torch.tensor([label for entry in entries for label in entry["labels"]])


@pytest.mark.parametrize("below", [".", "vision/sets"])
@pytest.mark.parametrize("archive", [False, True])
def test_folder_and_archive_give_the_images_in_order(tmp_path, archive, below):
    batches = cifar_batches()
    place = tmp_path / below
    place.mkdir(parents=True, exist_ok=True)
    if archive:
        write_cifar_archive(place / ARCHIVE, batches)
    else:
        write_cifar_folder(place / FOLDER, batches)
    for split, names in (("train", [f"data_batch_{i}" for i in range(1, 6)]), ("test", ["test_batch"])):
        part = load("cifar10", split, data_dir=tmp_path)
        images, labels = truth(batches, names)
        assert torch.equal(part.images, images)
        assert torch.equal(part.labels, labels)
    assert not any(path.name == FOLDER for path in tmp_path.rglob("*")) or not archive  # nothing was unpacked


def test_agrees_with_torchvision(tmp_path, monkeypatch):
    from torchvision.datasets import CIFAR10

    write_cifar_folder(tmp_path / FOLDER, cifar_batches())
    (tmp_path / FOLDER / "batches.meta").write_bytes(pickle.dumps({"label_names": list("abcdefghij")}))
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    theirs = CIFAR10(str(tmp_path), train=True)
    ours = load("cifar10", data_dir=tmp_path)
    assert np.array_equal(ours.images.permute(0, 2, 3, 1).numpy(), theirs.data)
    assert ours.labels.tolist() == theirs.targets


@pytest.mark.parametrize("protocol", [0, 1, 2, 4, 5])
@pytest.mark.parametrize("keys_as_bytes", [False, True])
def test_every_way_to_pickle_the_same_batch_is_read(tmp_path, protocol, keys_as_bytes):
    write_cifar_folder(tmp_path / FOLDER, cifar_batches(protocol=protocol, keys_as_bytes=keys_as_bytes))
    images, _ = truth(cifar_batches(), ["test_batch"])
    assert torch.equal(load("cifar10", "test", data_dir=tmp_path).images, images)


def test_batches_written_by_python_2_are_read(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (3, 3072), dtype=np.uint8)
    contents = python2_batch(images, [5, 0, 9])
    assert np.array_equal(pickle.loads(contents, encoding="latin1")["data"], images)  # the file itself is in order
    write_cifar_folder(tmp_path / FOLDER, {"test_batch": contents})
    part = load("cifar10", "test", data_dir=tmp_path)
    assert np.array_equal(part.images.flatten(1).numpy(), images)
    assert part.labels.tolist() == [5, 0, 9]


class Attack:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("archive", [False, True])
def test_code_in_a_batch_is_refused_and_not_run(tmp_path, archive):
    batches = cifar_batches()
    batches["test_batch"] = pickle.dumps({"data": Attack(tmp_path / "pwned"), "labels": [1]})
    if archive:
        write_cifar_archive(tmp_path / ARCHIVE, batches)
    else:
        write_cifar_folder(tmp_path / FOLDER, batches)
    with pytest.raises(UserError, match=r"io\.open"):
        load("cifar10", "test", data_dir=tmp_path)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    "names", [("builtins", "eval"), ("os", "system"), ("numpy", "load"), ("numpy._core.multiarray", "ndarray.tofile")]
)
def test_any_other_global_is_refused(tmp_path, names):
    batches = cifar_batches()
    batches["test_batch"] = b"c" + "\n".join(names).encode() + b"\n(S'x'\ntR."
    write_cifar_folder(tmp_path / FOLDER, batches)
    with pytest.raises(UserError, match=".".join(names)):
        load("cifar10", "test", data_dir=tmp_path)


GOOD = np.zeros((3, 3072), np.uint8)
BAD_BATCHES = {
    "list": pickle.dumps([1, 2]),
    "n, 3072": pickle.dumps({"data": np.zeros((3, 784), np.uint8), "labels": [0, 1, 2]}),
    "uint8": pickle.dumps({"data": np.zeros((3, 3072)), "labels": [0, 1, 2]}),
    "no uint8 'data'": pickle.dumps({"labels": [0, 1, 2]}),
    "one label": pickle.dumps({"data": GOOD, "labels": [0, 1]}),
    "0 .. 9": pickle.dumps({"data": GOOD, "labels": [0, 1, 10]}),
    "each of its 3": pickle.dumps({"data": GOOD, "labels": ["a", "b", "c"]}),
    "not a whole batch": pickle.dumps({"data": GOOD, "labels": [0, 1, 2]})[:200],
    "whole batch": b"",
}


@pytest.mark.parametrize("words", BAD_BATCHES)
def test_wrong_batches_are_refused(tmp_path, words):
    write_cifar_folder(tmp_path / FOLDER, cifar_batches() | {"test_batch": BAD_BATCHES[words]})
    with pytest.raises(UserError, match=words) as caught:
        load("cifar10", "test", data_dir=tmp_path)
    assert "test_batch" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b[:-9], lambda b: b"junk", lambda b: b""])
def test_damaged_archives_are_refused(tmp_path, damage):
    path = tmp_path / ARCHIVE
    write_cifar_archive(path, cifar_batches())
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=r"not a whole \.tar\.gz archive"):
        load("cifar10", "test", data_dir=tmp_path)


@pytest.mark.parametrize("archive", [False, True])
def test_an_absent_batch_is_named(tmp_path, archive):
    batches = cifar_batches()
    del batches["data_batch_3"]
    if archive:
        write_cifar_archive(tmp_path / ARCHIVE, batches)
    else:
        write_cifar_folder(tmp_path / FOLDER, batches)
    with pytest.raises(UserError, match="data_batch_3"):
        load("cifar10", data_dir=tmp_path)
    assert len(load("cifar10", "test", data_dir=tmp_path)) == 4


def test_official_size_needs_the_official_checksum(tmp_path, monkeypatch):
    batches = cifar_batches()
    write_cifar_folder(tmp_path / FOLDER, batches)
    monkeypatch.setattr("infolab.data.cifar.OFFICIAL_ROWS", 4)
    with pytest.raises(UserError, match="wrong checksum"):
        load("cifar10", "test", data_dir=tmp_path)
    sums = {name: hashlib.md5(contents).hexdigest() for name, contents in batches.items()}
    monkeypatch.setattr("infolab.data.places.cifar10_batches", lambda: sums)
    assert len(load("cifar10", data_dir=tmp_path)) == 20
