"""MD5 sums of the official files: which contents are the published data set, which are someone's own."""

import hashlib
from pathlib import Path

from common.data.places import MissingFilesError
from common.errors import UserError

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
