"""Small files in the real formats of MNIST and CIFAR-10, written by hand for the readers' tests."""

import gzip
import io
import pickle
import struct
import tarfile
from pathlib import Path

import numpy as np


def idx_bytes(array: np.ndarray) -> bytes:
    return bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_idx(
    folder: Path, *, zipped: bool, n_train: int = 12, n_test: int = 5, seed: int = 0
) -> dict[str, np.ndarray]:
    """The four files of an MNIST-like set; returns the arrays by file stem."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    arrays = {}
    for prefix, n in (("train", n_train), ("t10k", n_test)):
        arrays[f"{prefix}-images-idx3-ubyte"] = rng.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        arrays[f"{prefix}-labels-idx1-ubyte"] = rng.integers(0, 10, n, dtype=np.uint8)
    for stem, array in arrays.items():
        contents = idx_bytes(array)
        (folder / (stem + ".gz" * zipped)).write_bytes(gzip.compress(contents) if zipped else contents)
    return arrays


def cifar_batches(n: int = 4, seed: int = 0, *, keys_as_bytes: bool = False, protocol: int = 2) -> dict[str, bytes]:
    """The six pickled batches by name, n images each."""
    rng = np.random.default_rng(seed)
    batches = {}
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
        entry = {
            "batch_label": name,
            "labels": rng.integers(0, 10, n).tolist(),
            "data": rng.integers(0, 256, (n, 3072), dtype=np.uint8),
            "filenames": [f"{i}.png" for i in range(n)],
        }
        if keys_as_bytes:
            entry = {key.encode(): value for key, value in entry.items()}
        batches[name] = pickle.dumps(entry, protocol=protocol)
    return batches


def python2_batch(images: np.ndarray, labels: list[int]) -> bytes:
    """A batch as Python 2 wrote the official files: byte strings, old numpy names, protocol 2."""

    def short(text: bytes) -> bytes:
        return b"U" + bytes([len(text)]) + text

    def integer(value: int) -> bytes:
        return b"J" + struct.pack("<i", value)

    dtype = b"cnumpy\ndtype\n" + short(b"u1") + integer(0) + integer(1) + b"\x87R("
    dtype += integer(3) + short(b"|") + b"NNN" + integer(-1) + integer(-1) + integer(0) + b"tb"
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n" + integer(0) + b"\x85" + short(b"b") + b"\x87R"
    array += b"(" + integer(1) + integer(images.shape[0]) + integer(images.shape[1]) + b"\x86" + dtype + b"\x89"
    array += b"T" + struct.pack("<i", images.size) + images.tobytes() + b"tb"
    items = short(b"labels") + b"](" + b"".join(map(integer, labels)) + b"e" + short(b"data") + array
    return b"\x80\x02}(" + items + b"u."


def write_cifar_folder(folder: Path, batches: dict[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, contents in batches.items():
        (folder / name).write_bytes(contents)


def write_cifar_archive(path: Path, batches: dict[str, bytes]) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for name, contents in batches.items():
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(contents)
            archive.addfile(member, io.BytesIO(contents))
