"""The digest of someone's own data files: it enters the run's id, official files and built-in sets have none."""

import gzip
import json
import os
from pathlib import Path

import numpy as np
import pytest
from data_files import write_idx
from PIL import Image

from diffusion.image_model import ImageConfig
from infodiffusion.config import InfoConfig
from infolab.config import identity, run_id, settings_id
from infolab.data import folders, places, registry
from infolab.data.places import IDX_CONTENTS
from itdiffusion.images_model import ImagesConfig
from itdiffusion.shapes_model import ShapesConfig
from scoregen.clusters_model import ClustersConfig
from vae.config import VAEConfig
from vae.denoiser_grid import DenoiserGridConfig


def pictures(folder: Path, level: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("a_1.png", "b_2.png"):
        Image.fromarray(np.full((8, 8), level, dtype=np.uint8)).save(folder / name)


def own_mnist(place: Path, level: int) -> None:
    write_idx(place, zipped=False, seed=level)


def own_cifar(place: Path, level: int) -> None:
    from data_files import cifar_batches

    place.mkdir(parents=True, exist_ok=True)
    for name, batch in cifar_batches(seed=level).items():
        (place / name).write_bytes(batch)


def own_celeba(place: Path, level: int) -> None:
    pictures(place / folders.FOLDER, level)
    (place / folders.PARTITION).write_text("a_1.png 0\nb_2.png 2\n")


def one_file(name):
    def write(place: Path, level: int) -> None:
        place.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(bytes([level] * 50))

    return write


def of_mnist(config_type):
    return lambda place: config_type(dataset="mnist", data_dir=place)


CASES = {
    "vae": (own_mnist, of_mnist(VAEConfig)),
    "vae.denoiser_grid": (own_mnist, of_mnist(DenoiserGridConfig)),
    "diffusion": (own_mnist, of_mnist(ImageConfig)),
    "scoregen": (own_mnist, of_mnist(ClustersConfig)),
    "itdiffusion": (own_mnist, of_mnist(ImagesConfig)),
    "infodiffusion": (own_mnist, of_mnist(InfoConfig)),
    "cifar10": (own_cifar, lambda place: ImageConfig(dataset="cifar10", data_dir=place)),
    "celeba": (own_celeba, lambda place: VAEConfig(dataset="celeba", data_dir=place)),
    "dsprites": (
        one_file("dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz"),
        lambda place: InfoConfig(dataset="dsprites", data_dir=place),
    ),
    "3dshapes": (one_file("3dshapes.h5"), lambda place: InfoConfig(dataset="3dshapes", data_dir=place)),
    "folder by name": (
        lambda place, level: pictures(place / "ffhq", level),
        lambda place: InfoConfig(dataset="ffhq", data_dir=place),
    ),
    "training folder": (pictures, lambda place: InfoConfig(dataset="mine", train_folder=str(place))),
    "folders": (pictures, lambda place: ImagesConfig(train_folder=str(place), test_folder=str(place))),
    "points file": (one_file("points.csv"), lambda place: ShapesConfig(points_file=str(place / "points.csv"))),
    "pre-trained": (one_file("net.pt"), lambda place: ImagesConfig(members=(str(place / "net.pt"),))),
    "features": (one_file("net.pth"), lambda place: InfoConfig(mode="calc_fid", features=str(place / "net.pth"))),
    "statistics": (
        one_file("stats.npz"),
        lambda place: InfoConfig(mode="calc_fid", reference=str(place / "stats.npz")),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_other_contents_are_another_run_and_the_same_contents_the_same(name, tmp_path):
    write, config_of = CASES[name]
    place = tmp_path / "data"
    write(place, 40)
    config = config_of(place)
    first = run_id(config)
    assert first.startswith(settings_id(config) + "-")
    assert identity(config)["contents"]
    for path in place.rglob("*"):
        os.utime(path, (1, 1))
    registry.forget()
    assert run_id(config_of(place)) == first
    write(place, 80)
    registry.forget()
    assert run_id(config_of(place)) != first
    assert settings_id(config_of(place)) == settings_id(config)
    assert run_id(config) == first, "a run keeps its id while its files change"
    write(place, 40)
    registry.forget()
    assert run_id(config_of(place)) == first


@pytest.mark.parametrize("digest", [registry.of_path, registry.of_weights, registry.of_folder])
def test_what_is_kept_beside_a_folder_is_no_part_of_it(digest, tmp_path, monkeypatch):
    monkeypatch.setattr(places, "LARGE", 1)
    pictures(tmp_path, 7)
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    found = set()
    for _ in range(3):
        registry.forget()
        places._digest.cache_clear()
        found.add(digest(tmp_path))
    assert (tmp_path / places.KEPT).exists()
    assert len(found) == 1


def test_a_list_that_a_run_does_not_read_is_no_part_of_it(tmp_path):
    own_celeba(tmp_path, 40)
    faces = run_id(VAEConfig(dataset="celeba", data_dir=tmp_path))
    coded = run_id(InfoConfig(dataset="celeba", data_dir=tmp_path))
    (tmp_path / folders.ATTRIBUTES).write_text("2\nSmiling\n")
    registry.forget()
    assert run_id(VAEConfig(dataset="celeba", data_dir=tmp_path)) == faces
    assert run_id(InfoConfig(dataset="celeba", data_dir=tmp_path)) != coded


def test_official_files_and_built_in_sets_have_none(tmp_path, monkeypatch):
    assert run_id(VAEConfig()) == settings_id(VAEConfig())
    arrays = write_idx(tmp_path, zipped=False)
    own = registry.of_set("mnist", tmp_path)
    from infolab.data.places import md5

    official = {stem: md5((tmp_path / stem).read_bytes()) for stem in arrays}
    monkeypatch.setitem(IDX_CONTENTS, "mnist", official)
    registry.forget()
    assert own
    assert registry.of_set("mnist", tmp_path) == ""
    for stem in arrays:  # and so has a copy that is zipped
        (tmp_path / f"{stem}.gz").write_bytes(gzip.compress((tmp_path / stem).read_bytes()))
        (tmp_path / stem).unlink()
    registry.forget()
    assert registry.of_set("mnist", tmp_path) == ""


def test_files_that_are_not_there_have_none(tmp_path):
    for name in ("mnist", "cifar10", "celeba", "dsprites"):
        assert registry.of_set(name, tmp_path) == ""
    assert registry.of_folder(tmp_path / "nowhere") == registry.of_path(tmp_path / "nowhere") == ""


def test_the_digest_of_a_large_set_is_made_once(tmp_path, monkeypatch):
    pictures(tmp_path, 7)
    small = registry.of_folder(tmp_path)
    assert not (tmp_path / places.KEPT).exists()
    monkeypatch.setattr(places, "LARGE", 1)
    places._digest.cache_clear()
    registry.forget()
    assert registry.of_folder(tmp_path) == small
    assert small in json.loads((tmp_path / places.KEPT).read_text()).values()
    places._digest.cache_clear()
    registry.forget()
    with monkeypatch.context() as patch:
        patch.setattr(places, "file_md5", lambda path: pytest.fail("read again"))
        assert registry.of_folder(tmp_path) == small
    (tmp_path / places.KEPT).write_text("[not what it was]")
    places._digest.cache_clear()
    registry.forget()
    assert registry.of_folder(tmp_path) == small
