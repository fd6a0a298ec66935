"""CelebA from torchvision's layout: aligned faces, cropped to (15, 40)-(163, 188) and resized, in memory."""

import contextlib
import os
from pathlib import Path

import numpy as np
import torch

from common.data.digests import of_files
from common.data.imageset import ImageSet
from common.data.pictures import read_picture
from common.data.places import folders_below, missing
from common.errors import UserError
from common.files import DamagedFileError, load_npy, read_text, reading

FOLDER = "img_align_celeba"
PARTITION = "list_eval_partition.txt"
ATTRIBUTES = "list_attr_celeba.txt"
PARTS = {"train": "0", "valid": "1", "test": "2"}
ALIGNED = (178, 218)
"""Width and height of the aligned images."""
CROP = (15, 40, 163, 188)
"""Left, top, right, bottom of the 148 x 148 pixels that are kept of them."""
WAYS = (
    f"unpack img_align_celeba.zip and put {PARTITION} beside its folder, as torchvision.datasets.CelebA does "
    "(https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html); it is not downloaded here"
)


def load(split: str, data_dir: Path, size: int = 32) -> ImageSet:
    """Read the faces of one split (train, valid or test) as size x size x 3 images.

    Looks for the folder `img_align_celeba` with `list_eval_partition.txt` beside it in `data_dir` or up to three levels
    below it. What was decoded once is kept beside them as `crops-<size>-<split>-<digest>.npy` (where the folder can be
    written), the digest being that of the images' files: other images are decoded anew.

    Raises:
        UserError: files missing, or not what they should be.
    """
    place = find(split, data_dir)
    names = members(place, split)
    digest = of_files(place, [place / FOLDER / name for name in names])
    cached = place / f"crops-{size}-{split}-{digest}.npy"
    images = _read_cache(cached, (len(names), 3, size, size)) if digest else None
    if images is None:
        images = np.stack([_crop(place / FOLDER / name, size) for name in names])
        for other in place.glob(f"crops-{size}-{split}*.npy"):  # of images that are no longer there
            other.unlink(missing_ok=True)
        _write_cache(cached, images)
    return ImageSet("celeba", split, torch.from_numpy(images), levels=256)


def find(split: str, data_dir: Path) -> Path:
    """The folder that holds both the images' folder and the partition.

    Raises:
        UserError: there is none; says where the files go and how to get them.
    """
    for folder in folders_below(data_dir):
        if (folder / PARTITION).is_file() and (folder / FOLDER).is_dir():
            return folder
    raise missing("celeba", split, f"the folder {FOLDER} and {PARTITION} beside it", data_dir, WAYS)


def members(place: Path, split: str) -> list[str]:
    """File names of the split, in the order of the partition.

    Raises:
        UserError: the partition is not one, or has no image of the split.
    """
    path = place / PARTITION
    lines = _lines(path, "CelebA's partition")
    if any(len(words) != 2 or words[1] not in PARTS.values() for words in lines):
        raise UserError(f"'{path}' is not CelebA's partition: expected lines such as '000001.jpg 0'; fetch it again")
    names = [name for name, part in lines if part == PARTS[split]]
    if not names:
        raise UserError(f"'{path}' has no images of the split {split}: fetch it again")
    return names


def attributes(split: str, data_dir: Path) -> tuple[tuple[str, ...], torch.Tensor] | None:
    """Names of the 40 attributes and their values 0 or 1, int64 (n, 40), for the images of a split; None: no file.

    Raises:
        UserError: the file is not CelebA's, or lacks an image of the split.
    """
    place = find(split, data_dir)
    path = place / ATTRIBUTES
    if not path.is_file():
        return None
    lines = _lines(path, "CelebA's list of attributes")
    with reading(path, "CelebA's list of attributes", "fetch it again"):
        names = tuple(lines[1])
        values = {words[0]: [int(word) for word in words[1:]] for words in lines[2:]}
        table = torch.tensor([values[name] for name in members(place, split)])
        if table.ndim != 2 or table.shape[1] != len(names) or bool((table.abs() != 1).any()):
            raise DamagedFileError("values are not 1 or -1, one for each name")
    return names, (table > 0).long()


def _lines(path: Path, what: str) -> list[list[str]]:
    """The words of each line that has some."""
    return [line.split() for line in read_text(path, what, "fetch it again").splitlines() if line.strip()]


def _crop(path: Path, size: int) -> np.ndarray:
    """One face, uint8 (3, size, size)."""
    from PIL import Image

    if not path.is_file():
        raise UserError(f"'{path}' is missing, though the partition names it: unpack the whole archive")
    face = read_picture(path, ALIGNED).convert("RGB").crop(CROP).resize((size, size), Image.Resampling.BILINEAR)
    return np.ascontiguousarray(np.asarray(face).transpose(2, 0, 1))  # here: the whole set is large


def _read_cache(path: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    try:
        images = load_npy(path)
    except UserError:  # not there, or damaged: decoded again
        return None
    return images if images.shape == shape and images.dtype == np.uint8 else None


def _write_cache(path: Path, images: np.ndarray) -> None:
    # Too large to pass through memory twice; a folder that cannot be written costs time at the next start, no more.
    aside = path.with_name(f".{path.name}.{os.getpid()}.npy")
    with contextlib.suppress(OSError):
        np.save(aside, images)
        aside.replace(path)
    with contextlib.suppress(OSError):
        aside.unlink(missing_ok=True)
