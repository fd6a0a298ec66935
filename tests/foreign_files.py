"""Every reader of a user's files: a whole file of its kind, and how the lab reads it back as arrays."""

import gzip
import json
import pickle
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from data_files import cifar_batches, write_cifar_archive, write_cifar_folder, write_idx
from PIL import Image

from infolab.arrays import read_array
from infolab.data import cifar, folders, idx
from infolab.data.factor_files import DSPRITES, dsprites
from infolab.data.folders import load_folder
from infolab.errors import UserError
from infolab.immse import GaussianReference
from infolab.memorization import read_long
from infolab.metrics import Features, load_extractor, load_moments, moments, save_moments, train_extractor
from infolab.nn.unet import UNet, UNetConfig
from infolab.pretrained import load_iddpm, read_scheduler
from infolab.results import read_arrays, write_arrays
from infolab.storage import load_latest, save_checkpoint
from itdiffusion.checkpoint import read_config
from itdiffusion.images_model import ImagesConfig
from itdiffusion.shapes_model import points_law
from vae.importer import ImportOptions, _read_grid

RNG = np.random.default_rng(0)
POINTS = RNG.standard_normal((7, 2))
PICTURE = RNG.integers(0, 256, (9, 11, 3), dtype=np.uint8)
PROVENANCE = {"experiment": "toy"}
LONG = "run,index,inside,logpx\n" + "".join(f"r{k},{i},{(i + k) % 2},{-i - 0.5}\n" for k in range(2) for i in range(6))
STUDY = {
    "meta": {"dataset": "BinarizedMNIST", "model": "mlp", "seed": 1, "learning_rate": 1e-3, "num_iw_samples": 4},
    "results": {
        "logpxs": {str(e): {"train": {"0": -1.5, "1": -2.5}, "test": {"2": -3.5}} for e in (1, 2)},
        "losses": {"train": [3.0, 2.0], "test": [3.5, 2.5]},
    },
}
STUDY_FILES = [f"x_cv_repeat0_fold{fold}.json.gz" for fold in range(2)]
TINY = UNetConfig(
    image_size=8, model_channels=32, channel_mult=(1,), num_res_blocks=1, attention_resolutions=(), num_heads=1
)
SCHEDULER = {"num_train_timesteps": 50, "beta_start": 1e-4, "beta_end": 0.1, "variance_type": "fixed_small"}


@dataclass(frozen=True)
class Reader:
    """One kind of file.

    Attributes:
        write: makes a whole file in a folder, and returns its path.
        read: reads it as a list of arrays.
        checked: the format has a checksum over all numbers, so damage is either seen or does no harm.
    """

    write: Callable[[Path], Path]
    read: Callable[[Path], list[Any]]
    checked: bool = False


def plain(name: str, make: Callable[[Path], Any]) -> Callable[[Path], Path]:
    def write(folder):
        make(folder / name)
        return folder / name

    return write


def idx_file(zipped):
    def write(folder):
        write_idx(folder, zipped=zipped)
        return folder / ("train-images-idx3-ubyte" + (".gz" if zipped else ""))

    return write


def cifar_file(folder):
    write_cifar_folder(folder / cifar.FOLDER, cifar_batches(n=2))
    return folder / cifar.FOLDER / "test_batch"


def cifar_archive(folder):
    write_cifar_archive(folder / cifar.ARCHIVE, cifar_batches(n=1))
    return folder / cifar.ARCHIVE


def partition(folder):
    (folder / folders.FOLDER).mkdir(exist_ok=True)
    (folder / folders.PARTITION).write_text("1.jpg 0\n2.jpg 2\n3.jpg 0\n")
    return folder / folders.PARTITION


def attributes(folder):
    partition(folder)
    (folder / folders.ATTRIBUTES).write_text("3\nBald Smiling\n1.jpg -1 1\n2.jpg 1 1\n3.jpg 1 -1\n")
    return folder / folders.ATTRIBUTES


def save_dsprites(path):
    classes = np.concatenate([np.zeros((11, 1), int), RNG.integers(0, 3, (11, 5))], axis=1)
    np.savez_compressed(path, imgs=RNG.integers(0, 2, (11, 64, 64), dtype=np.uint8), latents_classes=classes)


@cache
def small_network() -> Any:
    return train_extractor(torch.randint(0, 256, (8, 1, 8, 8), dtype=torch.uint8), None, "small", steps=1)


def image_sets(train, test):
    return [train.images, train.factors, test.images, test.factors]


def images_of_run(folder):
    write_arrays(folder, "toy", "id", {"a": POINTS.astype(np.float32), "b": PICTURE}, PROVENANCE)
    return folder / "toy" / "images" / "id.npz"


def checkpoint(folder):
    return save_checkpoint(folder, 3, {"w": torch.from_numpy(POINTS)}, {"complete": False, "epoch": 2})


def read_checkpoint(folder):
    found = load_latest(folder)
    return [] if found is None or found[3] else [found[1]["w"]]


def config_of_run(folder):
    fields = ImagesConfig().__dict__ | {"data_dir": "data", "results_dir": "results", "runs_dir": "runs"}
    (folder / "config.json").write_text(json.dumps(fields, default=str))
    return folder / "config.json"


def reference(path):
    GaussianReference.fit(torch.from_numpy(POINTS), floor=0.1).save(path)


def read_reference(path):
    found = GaussianReference.load(path)
    return [found.mean, found.eigenvalues, found.eigenvectors]


def study(folder):
    """Two files, of which the second is outside where the first is inside."""
    turned = {"train": {"2": -1.0}, "test": {"0": -4.0, "1": -5.0}}
    other = STUDY | {"results": {"logpxs": {str(e): turned for e in (1, 2)}}}
    for name, content in zip(STUDY_FILES, (STUDY, other), strict=True):
        (folder / name).write_bytes(gzip.compress(json.dumps(content).encode(), mtime=0))
    return folder / STUDY_FILES[0]


def read_study(folder):
    found = _read_grid([folder / name for name in STUDY_FILES], ImportOptions(data_dir=folder))
    return [found.rows.scores.logpx_in, found.rows.positions]


def read_moments(path):
    found = load_moments(path)
    return [found.mean, found.cov]


def picture_folder(folder):
    place = folder / "pictures"
    place.mkdir(exist_ok=True)
    Image.fromarray(PICTURE).save(place / "cat_1.png")
    return place / "cat_1.png"


READERS = {
    "array": Reader(plain("x.npy", lambda path: np.save(path, POINTS)), lambda folder: [read_array(folder / "x.npy")]),
    "points, npy": Reader(
        plain("p.npy", lambda path: np.save(path, POINTS)), lambda folder: [points_law(folder / "p.npy").mixture.means]
    ),
    "points, csv": Reader(
        plain("p.csv", lambda path: np.savetxt(path, POINTS, delimiter=",", header="x,y", comments="")),
        lambda folder: [points_law(folder / "p.csv").mixture.means],
    ),
    "moments": Reader(
        plain("S.npz", lambda path: save_moments(moments(Features(torch.from_numpy(POINTS))), path)),
        lambda folder: read_moments(folder / "S.npz"),
        checked=True,
    ),
    "dsprites": Reader(plain(DSPRITES, save_dsprites), lambda folder: image_sets(*dsprites(folder)), checked=True),
    "idx": Reader(idx_file(False), lambda folder: [idx.load("mnist", "train", folder).images]),
    "idx, gz": Reader(idx_file(True), lambda folder: [idx.load("mnist", "train", folder).images], checked=True),
    "cifar batch": Reader(cifar_file, lambda folder: [cifar.load("test", folder).images]),
    "cifar archive": Reader(cifar_archive, lambda folder: [cifar.load("test", folder).images], checked=True),
    "celeba partition": Reader(partition, lambda folder: [folders.members(folder, "train")]),
    "celeba attributes": Reader(attributes, lambda folder: [(folders.attributes("train", folder) or [0, 0])[1]]),
    "picture": Reader(picture_folder, lambda folder: [load_folder(folder / "pictures", "train").images], checked=True),
    "scores, csv": Reader(
        plain("long.csv", lambda path: path.write_text(LONG)),
        lambda folder: [read_long(folder / "long.csv").to_numpy()],
    ),
    "scores, csv.gz": Reader(
        plain("long.csv.gz", lambda path: path.write_bytes(gzip.compress(LONG.encode(), mtime=0))),
        lambda folder: [read_long(folder / "long.csv.gz").to_numpy()],
        checked=True,
    ),
    "study": Reader(study, read_study, checked=True),
    "scheduler": Reader(
        plain("scheduler_config.json", lambda path: path.write_text(json.dumps(SCHEDULER))),
        lambda folder: [list(read_scheduler(folder).values())],
    ),
    "run config": Reader(config_of_run, lambda folder: [str(read_config(folder))]),
    "iddpm": Reader(
        plain("net.pt", lambda path: torch.save(UNet(TINY).state_dict(), path)),
        lambda folder: list(load_iddpm(folder / "net.pt", TINY).network.state_dict().values()),
    ),
    "small network": Reader(
        plain("net.safetensors", lambda path: small_network().save(path)),
        lambda folder: list(load_extractor(folder / "net.safetensors").state_dict().values()),
    ),
    "reference": Reader(
        plain("spectrum.safetensors", reference), lambda folder: read_reference(folder / "spectrum.safetensors")
    ),
    "checkpoint": Reader(checkpoint, read_checkpoint, checked=True),
    "arrays of a run": Reader(
        images_of_run,
        lambda folder: [one for _, arrays in read_arrays(folder, "toy", "toy") for one in arrays.values()],
        checked=True,
    ),
}
"""By name."""


def outcome(name: str, folder: Path) -> tuple[str, list[Any] | None]:
    """What a reader gives; or the sentence in which it refuses, and None. Whatever else it raises goes on."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return "", READERS[name].read(folder)
    except UserError as refusal:
        return str(refusal), None


def same(found: list[Any], expected: list[Any]) -> bool:
    """Whether two lists of arrays, or of what else a reader gives, are equal to the last bit."""
    return pickle.dumps(_plain(found)) == pickle.dumps(_plain(expected))


def _plain(items: list[Any]) -> list[Any]:
    arrays = [item.numpy() if isinstance(item, torch.Tensor) else item for item in items]
    return [(item.shape, item.tolist()) if isinstance(item, np.ndarray) else item for item in arrays]
