"""Which bytes a data set is: a digest of someone's own files, which enters a run's id; official files have none.

A run is a function of its settings and of its data. The registered sets that are built in, and the official files of
MNIST, Fashion-MNIST and CIFAR-10, are named by their settings; any other file is named by what is in it.
"""

from functools import lru_cache
from pathlib import Path

from common.data import celeba, cifar, factor_files, idx
from common.data.checksums import IDX_CONTENTS, cifar10_batches, md5
from common.data.digests import of_files, of_values
from common.data.pictures import pictures_in
from common.data.places import resolve_data_dir
from common.errors import UserError
from common.files import contents as unpacked
from common.files import reading

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
        return of_path(celeba.find("train", resolve_data_dir(data_dir)) / celeba.ATTRIBUTES)
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
    place = celeba.find("train", data_dir)
    names = {name for split in ("train", "test") for name in celeba.members(place, split)}
    return place, [place / celeba.PARTITION, *(place / celeba.FOLDER / name for name in names)]


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
