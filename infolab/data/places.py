"""The files of a data set: where they are looked for, their published checksums, and one digest of many files."""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

from infolab import atomic
from infolab.config import user_path
from infolab.errors import UserError

# ----------
# Where data files are looked for, and what is said when they are not there.

DEPTH = 3  # levels of folders below the data folder that are searched
REPOSITORY = Path(__file__).resolve().parents[2]


class MissingFilesError(UserError):
    """A data set's files are not in the data folder. Exit code 2, as for any wrong path."""


def default_data_dir() -> Path:
    """The data folder where none is given: the environment's DATA_DIR, else `data/` in this repository."""
    given = os.environ.get("DATA_DIR")
    return user_path(given) if given else REPOSITORY / "data"


def resolve_data_dir(data_dir: str | Path | None) -> Path:
    """The folder that `data_dir` names, or the default one.

    Raises:
        UserError: if it is something else than a folder.
    """
    folder = default_data_dir() if data_dir is None else Path(data_dir).expanduser()
    if folder.exists() and not folder.is_dir():
        raise UserError(f"data folder '{folder}' is a file: give the folder that holds the data")
    return folder


def folders_below(top: Path, depth: int = DEPTH) -> Iterator[Path]:
    """`top` and the folders below it, level by level in the order of their names; unreadable ones are left out."""
    level = [top] if top.is_dir() else []
    for remaining in range(depth, -1, -1):
        yield from level
        if remaining:
            level = [child for folder in level for child in _children(folder)]


def _children(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:  # knows folders without asking the disk for each of 200,000 images
            return sorted(Path(entry) for entry in entries if entry.is_dir() and not entry.name.startswith("."))
    except OSError:
        return []


def missing(name: str, split: str, what: str, data_dir: Path, ways: str) -> MissingFilesError:
    """The one sentence for files that are not there: what was sought, where it goes and how to get it."""
    return MissingFilesError(f"{name} ({split}) is not in '{data_dir}': expected {what}; {ways}")


# ----------
# MD5 sums of the official files: which contents are the published data set, which are someone's own.

# Of the unpacked files, so that a copy compressed anew (Debian's, say) is still known for what it is. The sums of the
# archives themselves, and of the CIFAR-10 batches, are read from the installed torchvision.
IDX_CONTENTS = {
    "mnist": {
        "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    },
    "fashion-mnist": {
        "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
        "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
        "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
    },
}


def md5(data: bytes) -> str:
    """The MD5 sum in hexadecimal. It guards against damage and mix-ups, not against an attacker."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def file_md5(path: Path) -> str:
    """The MD5 sum of a file, read in pieces."""
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def cifar10_batches() -> dict[str, str]:
    """MD5 of each official CIFAR-10 batch file, as torchvision lists them."""
    from torchvision.datasets import CIFAR10

    return dict((*CIFAR10.train_list, *CIFAR10.test_list))


def archives(name: str) -> dict[str, str]:
    """MD5 of each official archive (as it is downloaded) of `name`, as torchvision lists them."""
    from torchvision import datasets

    if name == "cifar10":
        return {datasets.CIFAR10.filename: datasets.CIFAR10.tgz_md5}
    return dict({"mnist": datasets.MNIST, "fashion-mnist": datasets.FashionMNIST}[name].resources)


def check_idx(name: str, path: Path, contents: bytes, *, official_size: bool) -> bool:
    """Whether the unpacked `contents` are the official file of `name`; False: someone's own, of another size.

    Raises:
        MissingFilesError: if they are another data set's official file.
        UserError: if they have the official size and other contents.
    """
    stem, digest = path.name.removesuffix(".gz"), md5(contents)
    for other, digests in IDX_CONTENTS.items():
        if digests[stem] == digest:
            if other != name:
                raise MissingFilesError(
                    f"'{path}' is {other}'s file, not {name}'s: ask for {other}, or give the folder of {name}'s files"
                )
            return True
    _refuse_damaged(name, path, digest, IDX_CONTENTS[name][stem], official_size)
    return False


def check_cifar10(path: Path, contents: bytes, *, official_size: bool) -> bool:
    """The same for one batch of CIFAR-10 (`path` ends in the batch's name)."""
    digest = md5(contents)
    expected = cifar10_batches()[path.name] if official_size else ""
    if digest == expected:
        return True
    _refuse_damaged("cifar10", path, digest, expected, official_size)
    return False


def _refuse_damaged(name: str, path: Path, digest: str, expected: str, official_size: bool) -> None:
    if official_size:
        raise UserError(
            f"wrong checksum: '{path}' has the size of {name}'s official file but MD5 {digest} instead of {expected} "
            "(unpacked); delete it and fetch it again"
        )


# ----------
# One digest of many files: their names and what is in them, kept beside large sets so that it is made once.

KEPT = ".contents.json"
"""Kept beside large sets: digests of the files' names, sizes and times, each with the digest of what is in them."""
MOST_KEPT = 16
LARGE = 1 << 26  # bytes that are worth keeping a digest for: below, reading them again takes no time


def of_files(root: Path, paths: Iterable[Path]) -> str:
    """Digest of the names below `root` and the contents of `paths`; empty where one is not there.

    Of a large set it is kept beside the files with their sizes and times, and computed again where these differ.
    """
    try:
        listed = [(str(path.relative_to(root)), path.stat()) for path in sorted(paths) if path.name != KEPT]
    except OSError:
        return ""
    sizes = tuple((name, found.st_size, found.st_mtime_ns) for name, found in listed)
    return _digest(root, sizes)


@lru_cache(maxsize=64)
def _digest(root: Path, sizes: tuple[tuple[str, int, int], ...]) -> str:
    signature, kept = of_values(sizes), _kept(root)
    if signature in kept:
        return kept[signature]
    try:
        found = of_values([(name, file_md5(root / name)) for name, _, _ in sizes])
    except OSError:
        return ""
    if sum(size for _, size, _ in sizes) >= LARGE:
        newest = dict(list(kept.items())[1 - MOST_KEPT :]) | {signature: found}
        with contextlib.suppress(OSError):  # a folder that cannot be written costs time at the next start, no more
            atomic.write_text(root / KEPT, json.dumps(newest) + "\n")
    return found


def _kept(root: Path) -> dict[str, str]:
    with contextlib.suppress(OSError, ValueError):
        found = json.loads((root / KEPT).read_text())
        if isinstance(found, dict) and all(isinstance(item, str) for item in found.values()):
            return found
    return {}


def of_values(value: object) -> str:
    """12 digits of SHA-256 of plain values."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]
