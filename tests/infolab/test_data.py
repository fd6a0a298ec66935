"""The registry, the built-in sets, subsets and epoch orders: what is loaded is the raw data, and always the same."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from infolab.data import NAMES, augment_flip, epoch_permutation, fetch, load
from infolab.data.builtin import CELL
from infolab.errors import UserError

SIZES = {"digits": (1437, 360, (1, 8, 8), 17), "patches": (7776, 600, (3, 32, 32), 256)}


@pytest.mark.parametrize("name", SIZES)
def test_built_in_sets_have_the_documented_sizes(name):
    n_train, n_test, shape, levels = SIZES[name]
    train, test = load(name), load(name, "test")
    assert (len(train), len(test)) == (n_train, n_test)
    for part in (train, test):
        assert part.images.dtype == torch.uint8
        assert part.labels.dtype == torch.int64
        assert part.labels.shape == (len(part),)
        assert part.shape == shape
        assert part.d == np.prod(shape)
        assert (part.levels, part.name) == (levels, name)
        assert int(part.images.max()) == levels - 1


def test_digits_parts_are_the_whole_set_once_with_its_labels():
    from sklearn.datasets import load_digits

    bunch = load_digits()
    parts = [load("digits", split) for split in ("train", "test")]
    ours = torch.cat([torch.cat([p.images.flatten(1).long(), p.labels[:, None]], 1) for p in parts])
    theirs = torch.from_numpy(np.column_stack([bunch.data, bunch.target]).astype(np.int64))
    assert sorted(ours.tolist()) == sorted(theirs.tolist())


def test_digits_split_is_stratified():
    train, test = (load("digits", split).labels.bincount() for split in ("train", "test"))
    share = (train + test) * 360 / 1797
    assert bool(((test - share).abs() < 1).all())


def test_patches_of_the_two_splits_share_no_pixel():
    from sklearn.datasets import load_sample_images

    height, width, _ = load_sample_images().images[0].shape
    # Photographs whose red and green values number their cell, so that each crop tells where it was taken.
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    top = (height - height // CELL * CELL) // 2
    from infolab.data.builtin import _crops

    numbered = torch.stack([(rows - top) // CELL, columns // CELL, torch.zeros_like(rows)], -1)
    cells = {}
    for split in ("train", "test"):
        crops = _crops(numbered, split)[:, :2].flatten(2)
        assert torch.equal(crops.amin(-1), crops.amax(-1)), "a crop reaches beyond its cell"
        cells[split] = {tuple(cell) for cell in crops[:, :, 0].tolist()}
    assert not cells["train"] & cells["test"]
    assert len(cells["train"]) + len(cells["test"]) == 60


def test_patches_are_crops_of_the_photographs():
    from sklearn.datasets import load_sample_images

    china = load_sample_images().images[0].transpose(2, 0, 1)
    crop = load("patches").images[0].numpy()
    windows = np.lib.stride_tricks.sliding_window_view(china[0], (32, 32))
    found = np.argwhere((windows == crop[0]).all((2, 3)))
    assert any((china[:, y : y + 32, x : x + 32] == crop).all() for y, x in found)


def test_test_images_are_never_augmented():
    # Loading has no option that changes pixels other than padding, and gives the recorded images every time.
    import inspect

    assert set(inspect.signature(load).parameters) == {"name", "split", "data_dir", "download", "size"}
    from sklearn.datasets import load_digits

    recorded = {image.tobytes() for image in load_digits().images.astype(np.uint8)}
    for _ in range(2):
        assert all(image.numpy().tobytes() in recorded for image in load("digits", "test").images[:, 0])


def test_padding_centres_the_image():
    raw, padded = load("digits", "test"), load("digits", "test", size=13)
    assert padded.shape == (1, 13, 13)
    assert torch.equal(padded.images[:, :, 2:10, 2:10], raw.images)
    assert int(padded.images.sum()) == int(raw.images.sum())
    assert torch.equal(padded.labels, raw.labels)


def test_flip_mirrors_about_half_of_the_images_and_nothing_else():
    images = load("patches", "test").images
    flipped = augment_flip(images, torch.Generator().manual_seed(0))
    mirrored = (flipped == images.flip(-1)).flatten(1).all(1)
    kept = (flipped == images).flatten(1).all(1)
    assert bool((mirrored | kept).all())
    assert int(mirrored.sum()) == pytest.approx(300, abs=5 * np.sqrt(150))
    assert torch.equal(flipped, augment_flip(images, torch.Generator().manual_seed(0)))


def test_epoch_order_is_a_function_of_seed_and_epoch():
    orders = [epoch_permutation(50, seed, epoch) for seed, epoch in ((0, 0), (0, 1), (1, 0))]
    assert all(sorted(order.tolist()) == list(range(50)) for order in orders)
    assert len({tuple(order.tolist()) for order in orders}) == 3
    torch.manual_seed(123)
    assert torch.equal(orders[1], epoch_permutation(50, 0, 1))


def test_subsets_are_nested_and_drawn_without_replacement():
    train = load("patches")
    small, large = train.subset(16, seed=7), train.subset(100, seed=7)
    assert torch.equal(small.images, large.images[:16])
    assert torch.equal(small.labels, large.labels[:16])
    assert len({image.numpy().tobytes() for image in large.images}) == 100
    assert not torch.equal(small.images, train.subset(16, seed=8).images)
    everything = train.subset(len(train), seed=7)
    assert int(everything.images.sum()) == int(train.images.sum())


def test_a_part_keeps_its_labels_and_factors():
    test = load("sprites", "test")
    part = test.take(torch.tensor([5, 3]))
    assert torch.equal(part.images, test.images[[5, 3]])
    assert torch.equal(part.factors, test.factors[[5, 3]])
    assert torch.equal(part.factors[:, 0], part.labels)
    assert (part.split, part.factor_names) == ("test", test.factor_names)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: load("mnits"), "digits, patches, sprites, mnist, fashion-mnist, cifar10"),
        (lambda: load("digits", "valid"), "train, test"),
        (lambda: load("digits", size=4), "size >= 8"),
        (lambda: load("digits").subset(1438, 0), "1437"),
        (lambda: load("digits").subset(0, 0), "1 .. 1437"),
        (lambda: load("digits", "test").subset(5, 0), "train"),
        (lambda: fetch("digits"), "mnist, fashion-mnist, cifar10"),
        (lambda: augment_flip(torch.zeros(3, 8, 8), torch.Generator()), "n, c, h, w"),
    ],
)
def test_bad_requests_are_refused_in_a_sentence(call, words):
    with pytest.raises(UserError, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("digits", "patches", "sprites")])
def test_missing_files_are_named_with_their_place_and_remedy(name, tmp_path, monkeypatch):
    monkeypatch.setattr("infolab.data.idx.SYSTEM", {"mnist": (), "fashion-mnist": ()})
    with pytest.raises(UserError) as caught:
        load(name, "test", data_dir=tmp_path)
    message = str(caught.value)
    assert str(tmp_path) in message
    assert ("--download" in message) == (name != "celeba")
    assert "https://" in message
    assert ("dataset-fashion-mnist" in message) == (name == "fashion-mnist")
    assert list(tmp_path.iterdir()) == []


def test_data_dir_defaults_to_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "elsewhere"))
    with pytest.raises(UserError, match="elsewhere"):
        load("mnist")


def test_data_dir_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is a file"):
        load("mnist", data_dir=tmp_path / "file")


def test_a_failed_download_is_one_sentence(tmp_path, monkeypatch):
    import torchvision.datasets

    def fail(*_, **__):
        raise RuntimeError("Error downloading:\nno\nnetwork")

    monkeypatch.setattr(torchvision.datasets, "MNIST", fail)
    with pytest.raises(UserError, match="no network") as caught:
        load("mnist", data_dir=tmp_path, download=True)
    assert "\n" not in str(caught.value)


def test_a_download_is_made_only_when_asked_for_and_needed(tmp_path, monkeypatch, capsys):
    import torchvision.datasets
    from data_files import write_idx

    calls = []

    def fetch_small_files(root, download):
        calls.append((root, download))
        print("Downloading")  # noqa: T201 (as torchvision does)
        write_idx(tmp_path / "MNIST/raw", zipped=True)

    monkeypatch.setattr(torchvision.datasets, "MNIST", fetch_small_files)
    with pytest.raises(UserError):
        load("mnist", data_dir=tmp_path)
    assert calls == []
    assert len(load("mnist", data_dir=tmp_path, download=True)) == 12
    assert len(load("mnist", "test", data_dir=tmp_path, download=True)) == 5
    assert calls == [(str(tmp_path), True)]
    assert capsys.readouterr().out == ""
    (tmp_path / "MNIST/raw/t10k-labels-idx1-ubyte.gz").write_bytes(b"damaged")
    monkeypatch.setattr(torchvision.datasets, "MNIST", lambda root, download: None)  # finds its files, and is content
    with pytest.raises(UserError, match="not a whole gzip file"):
        fetch("mnist", tmp_path)


def test_importing_the_package_imports_neither_sklearn_nor_torchvision():
    code = "import sys, infolab.data; sys.exit(any(m in sys.modules for m in ('sklearn', 'torchvision')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
