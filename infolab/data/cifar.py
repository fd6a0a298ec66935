"""CIFAR-10: a strict reader of the python batches, from the folder or from the archive, that runs no code from them."""

import gzip
import io
import pickle
import pickletools
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from infolab.data.images import ImageSet
from infolab.data.places import check_cifar10, folders_below, missing
from infolab.errors import UserError
from infolab.files import DamagedFileError, reading
from infolab.files import contents as contents_of

BATCHES = {"train": tuple(f"data_batch_{i}" for i in range(1, 6)), "test": ("test_batch",)}
FOLDER = "cifar-10-batches-py"
ARCHIVE = "cifar-10-python.tar.gz"
OFFICIAL_ROWS = 10_000
MOST_OF_A_BATCH = 1 << 30
"""Bytes that are read of a batch in an archive, 30 times the official ones: a small archive may unpack to any size."""
WAYS = f"copy {ARCHIVE} from https://www.cs.toronto.edu/~kriz/cifar.html, or ask for a download with --download"
# All that a pickled batch needs besides strings, numbers, lists and dicts: how numpy rebuilds an array, under the
# module names of numpy 1 and 2, and how protocol 2 of Python 3 writes bytes.
ALLOWED = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.numeric", "_frombuffer"),
    ("numpy.core.numeric", "_frombuffer"),
    ("_codecs", "encode"),
}


class _ForbiddenNameError(Exception):
    """A pickle names something that no array needs."""


class _ArrayUnpickler(pickle.Unpickler):
    """Unpickles arrays, bytes and dicts; any other name in the file is refused before it is looked up."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise _ForbiddenNameError(f"{module}.{name}")
        if module.startswith("numpy.core"):
            module = module.replace("numpy.core", "numpy._core") if hasattr(np, "_core") else module
        return super().find_class(module, name)


def load(split: str, data_dir: Path) -> ImageSet:
    """Read one split: 32 x 32 x 3 images with labels 0 .. 9.

    Looks for torchvision's folder `cifar-10-batches-py` in `data_dir` or up to three levels below it, then for the
    archive `cifar-10-python.tar.gz`, which is read without unpacking it to the disk.

    Raises:
        UserError: files missing, truncated, of another format or shape, damaged, or with code in them.
    """
    images, labels, _ = read_split(split, find(split, data_dir))
    return ImageSet("cifar10", split, torch.from_numpy(images), levels=256, labels=torch.from_numpy(labels))


def read_split(split: str, place: Path) -> tuple[np.ndarray, np.ndarray, bool]:
    """Images uint8 (n, 3, 32, 32), labels int64 (n,), and whether all batches in `place` are the official ones.

    Raises:
        UserError: as `load`.
    """
    batches = [_parse(path, contents) for path, contents in batches_in(place, split)]
    images, labels, official = zip(*batches, strict=True)
    return np.concatenate(images).reshape(-1, 3, 32, 32), np.concatenate(labels), all(official)


def find(split: str, data_dir: Path) -> Path:
    """The folder of batches, or the archive, that holds `split`.

    Raises:
        UserError: if neither is there, or if the folder lacks a batch; says where they go and how to get them.
    """
    folders = list(folders_below(data_dir))
    for folder in folders:
        absent = [batch for batch in BATCHES[split] if not (folder / batch).is_file()]
        if not absent:
            return folder
        if folder.name == FOLDER and not any((other / ARCHIVE).is_file() for other in folders):
            raise UserError(f"'{folder}' lacks {', '.join(absent)}: unpack the whole archive there; {WAYS}")
    for folder in folders:
        if (folder / ARCHIVE).is_file():
            return folder / ARCHIVE
    raise missing("cifar10", split, f"the folder {FOLDER} or the archive {ARCHIVE}", data_dir, WAYS)


def batches_in(place: Path, split: str) -> list[tuple[Path, bytes]]:
    """(path, bytes) of each batch of the split in `place`, folder or archive, in order.

    Raises:
        UserError: an archive that is truncated, damaged or without one of them.
    """
    if place.is_dir():
        with reading(place, "a folder of readable batches of CIFAR-10", "unpack the archive again"):
            return [(place / batch, contents_of(place / batch)) for batch in BATCHES[split]]
    found: dict[str, bytes] = {}
    with (
        reading(place, "a whole .tar.gz archive", "fetch it again"),
        gzip.open(place) as unzipped,
        tarfile.open(fileobj=unzipped, mode="r:") as archive,
    ):
        for member in archive:
            batch = member.name.removeprefix("./").removeprefix(f"{FOLDER}/")
            file = archive.extractfile(member) if batch in BATCHES[split] else None
            if file is not None:
                found[batch] = file.read(MOST_OF_A_BATCH)
        while unzipped.read(1 << 20):  # gzip compares its checksum at the very end, beyond the last member
            pass
    absent = [batch for batch in BATCHES[split] if batch not in found]
    if absent:
        raise UserError(
            f"'{place}' lacks {FOLDER}/{', '.join(absent)}: it is not the archive of CIFAR-10; fetch it again"
        )
    return [(place / FOLDER / batch, found[batch]) for batch in BATCHES[split]]


def _parse(path: Path, contents: bytes) -> tuple[np.ndarray, np.ndarray, bool]:
    """Images (n, 3072), labels (n,) of one batch, checked for type, shape, range and checksum; and: official?"""
    with reading(path, "a whole batch of CIFAR-10", "fetch it again"):
        try:
            _check_places(contents)
            # Latin-1 is how strings and arrays of a Python 2 pickle, as the official files are, survive in Python 3.
            batch = _ArrayUnpickler(io.BytesIO(contents), encoding="latin1").load()
        except _ForbiddenNameError as error:
            raise UserError(f"'{path}' asks to run {error}, which no CIFAR-10 batch needs: do not trust it") from error
    if not isinstance(batch, dict):
        raise UserError(f"'{path}' holds a {type(batch).__name__}: a CIFAR-10 batch is a dict with data and labels")
    batch = {key.decode("latin1") if isinstance(key, bytes) else key: value for key, value in batch.items()}
    images, labels = batch.get("data"), batch.get("labels")
    if not (
        isinstance(images, np.ndarray) and images.dtype == np.uint8 and images.ndim == 2 and images.shape[1] == 3072
    ):
        raise UserError(f"'{path}' has no uint8 'data' of shape (n, 3072): it is not a CIFAR-10 batch; fetch it again")
    labels = _labels(labels)
    if labels is None or len(labels) != len(images):
        raise UserError(f"'{path}' needs one label 0 .. 9 for each of its {len(images)} images: fetch it again")
    return images, labels, check_cifar10(path, contents, official_size=len(images) == OFFICIAL_ROWS)


def _check_places(pickled: bytes) -> None:
    """Refuse a pickle that keeps a value at a place beyond its own length: all places before it would take memory."""
    for opcode, argument, _ in pickletools.genops(pickled):
        if opcode.name == "LONG_BINPUT" and argument is not None and argument > len(pickled):
            raise DamagedFileError(f"it keeps value number {argument:,} of {len(pickled):,} bytes")


def _labels(labels: Any) -> np.ndarray | None:
    """Labels as int64 (n,), or None if they are not whole numbers 0 .. 9."""
    if isinstance(labels, np.ndarray):
        labels = labels.tolist()
    if not isinstance(labels, list) or not labels:
        return None
    if not all(isinstance(label, int) and 0 <= label <= 9 for label in labels):
        return None
    return np.array(labels, dtype=np.int64)
