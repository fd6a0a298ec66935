"""The image studies on small files in their data sets' real formats: read, missing, of another size, downloaded."""

import dataclasses
import threading
import time

import pytest
import torch
from image_studies import SETS, STUDIES, write_images
from launching import REPOSITORY, call

from diffusion import digits, mnist
from diffusion.image_model import load_images
from infolab.data import registry
from infolab.errors import UserError
from infolab.results import read, read_arrays

pytestmark = pytest.mark.usefixtures("no_tensorboard")


@pytest.fixture
def unpackaged(monkeypatch):
    """No Debian package on this machine."""
    monkeypatch.setattr("infolab.data.idx.SYSTEM", {"mnist": (), "fashion-mnist": ()})


@pytest.mark.parametrize("name", SETS)
def test_smoke_run_from_files_to_tables(name, tmp_path, monkeypatch, capsys, unpackaged):
    write_images(name, tmp_path / "data")
    flags = ["--runs-dir", tmp_path / "runs", "--results-dir", tmp_path / "results", "--data-dir", tmp_path / "data"]
    code, _, said = call(STUDIES[name].main, monkeypatch, capsys, "smoke", *flags)
    assert code == 0, said
    rows = read(tmp_path / "results", "diffusion/image_bound")
    assert set(rows.dataset) == {SETS[name]}
    assert set(rows.d) == {3072 if name == "cifar10" else 784}
    assert {(split, m) for split, m in zip(rows.split, rows.m, strict=True)} == {("few_shot", 16), ("full", 25)}
    assert len(rows) == 8
    for _, arrays in read_arrays(tmp_path / "results", "diffusion", SETS[name]):
        assert arrays["samples"].shape == ((4, 32, 32, 3) if name == "cifar10" else (4, 28, 28))


@pytest.mark.parametrize("name", SETS)
def test_missing_data_is_one_sentence_and_exit_code_2(name, tmp_path, monkeypatch, capsys, unpackaged):
    flags = ["--runs-dir", tmp_path / "runs", "--results-dir", tmp_path / "results", "--data-dir", tmp_path / "nowhere"]
    code, _, said = call(STUDIES[name].main, monkeypatch, capsys, "smoke", *flags)
    assert code == 2
    assert said.startswith(f"error: {SETS[name]} (train) is not in '{tmp_path / 'nowhere'}': expected")
    assert "--download" in said
    assert said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_network_of_another_image_size_is_refused_before_anything_is_written(tmp_path, monkeypatch, capsys):
    flags = ["--runs-dir", tmp_path / "runs", "--results-dir", tmp_path / "results", "--network", "mnist-tiny"]
    code, _, said = call(digits.main, monkeypatch, capsys, "smoke", *flags)
    assert code == 2
    assert "--network mnist-tiny takes images of shape (1, 28, 28), digits's are (1, 8, 8)" in said
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_downloaded_unless_asked_and_then_once(tmp_path, monkeypatch, unpackaged):
    fetched = []

    def fetch(name, folder):
        fetched.append(name)
        write_images("mnist", folder)
        path = next(folder.rglob("train-images*"))
        whole = path.read_bytes()
        path.write_bytes(whole[:100])
        time.sleep(0.4)  # the other tasks come meanwhile, and find half a file
        path.write_bytes(whole)

    monkeypatch.setattr(registry, "fetch", fetch)
    config = dataclasses.replace(mnist.SMOKE, data_dir=tmp_path / "data")
    with pytest.raises(UserError, match="is not in"):
        load_images(config, torch.device("cpu"))
    assert fetched == []
    assert not (tmp_path / "data").exists()
    asked, sizes = dataclasses.replace(config, download=True), []
    tasks = [
        threading.Thread(target=lambda: sizes.append(len(load_images(asked, torch.device("cpu"))[0]))) for _ in range(3)
    ]
    for task in tasks:
        task.start()
        time.sleep(0.1)
    for task in tasks:
        task.join()
    assert (fetched, sizes) == (["mnist"], [16, 16, 16])


def test_data_dir_of_the_environment_is_the_default(tmp_path, monkeypatch):
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    assert type(mnist.SMOKE)().data_dir == tmp_path
    monkeypatch.delenv("DATA_DIR")
    assert type(mnist.SMOKE)().data_dir == REPOSITORY / "data"
