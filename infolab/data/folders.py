"""Images in folders: grey levels as the files say them, CelebA's crops, flat folders, and any size resized to one
square.
"""

import contextlib
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from infolab.data.images import ImageSet
from infolab.data.places import folders_below, missing, of_files
from infolab.errors import UserError
from infolab.files import DamagedFileError, contents, load_npy, read_text, reading

# ----------
# Image files: which are in a folder, and their grey levels as the file says them, 8 bits a channel.

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = (".png", ".jpg", ".jpeg")


def read_picture(path: Path, size: tuple[int, int] | None = None) -> "Image":
    """The image in `path`, grey (mode L) or in colour (RGB), with levels 0 .. 255; transparency is dropped.

    A file of 16 bits a channel has levels 0 .. 65,535, of which 257 are one of 256.

    Args:
        path: a .png or .jpg file.
        size: width and height that it must have.

    Raises:
        UserError: it is no whole image, has levels of another kind (floating point), or another size.
    """
    from PIL import Image

    with reading(path, "a whole image", "remove it or copy it again"):
        content = contents(path)
        with Image.open(io.BytesIO(content)) as image:
            image.verify()  # the checksums of a PNG, which are not compared when its pixels are decoded
        with Image.open(io.BytesIO(content)) as image:
            image.load()
            mode, found = image.mode, image.size
            if mode.startswith("I"):
                levels = np.asarray(image).astype(np.int64)
            else:
                converted = image.convert("L" if mode in ("1", "L", "LA") else "RGB")
    if size is not None and found != size:
        raise UserError(f"'{path}' is {found[0]} x {found[1]} pixels: expected {size[0]} x {size[1]}, as published")
    if mode == "F":
        raise UserError(f"'{path}' has floating-point levels: expected 8 or 16 bits a channel")
    if not mode.startswith("I"):
        return converted
    if levels.min() < 0 or levels.max() > 65535:
        raise UserError(f"'{path}' has levels {levels.min()} .. {levels.max()}: expected 8 or 16 bits a channel")
    return Image.fromarray(((levels + 128) // 257).astype(np.uint8))


def pictures_in(folder: Path, below: bool) -> list[Path]:
    """The image files of `folder`, in the order of their paths; hidden files and folders are no part of it.

    Args:
        folder: where they lie.
        below: look into the folders below it too, links to folders among them.

    Raises:
        UserError: no such folder, or no image in it.
    """
    if not folder.is_dir():
        raise UserError(f"'{folder}' is not a folder: give the folder that holds the .png or .jpg files")
    paths = sorted(path for path in _files(folder, below) if path.suffix.lower() in SUFFIXES and path.is_file())
    if not paths:
        raise UserError(f"'{folder}' has no {', '.join(SUFFIXES)} files: give the folder that holds the images")
    return paths


def _files(folder: Path, below: bool) -> Iterator[Path]:
    seen: set[str] = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        seen.add(os.path.realpath(place))
        # A link to a folder above would lead round and round.
        folders[:] = [
            name
            for name in folders
            if below and not name.startswith(".") and os.path.realpath(os.path.join(place, name)) not in seen
        ]
        yield from (Path(place) / name for name in names if not name.startswith("."))


# ----------
# CelebA from torchvision's layout: aligned faces, cropped to (15, 40)-(163, 188) and resized, in memory.

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


# ----------
# Images from a folder of .png and .jpg files, the label being the file name up to its first underscore.


def load_folder(folder: str | Path, split: str) -> ImageSet:
    """All images of `folder` (not of folders below it), in the order of their names, 256 grey levels.

    Grey images give one channel, all others three (transparency is dropped). `cat_0001.png` has the label `cat`; labels
    are numbered in the order of their names. Such a folder of CIFAR-10 is what public diffusion code trains on.

    Args:
        folder: where the files lie.
        split: what the set is called, "train" or "test".

    Raises:
        UserError: no such folder, no images in it, files that are no images, or images of different shapes.
    """
    folder = Path(folder).expanduser()
    paths = pictures_in(folder, below=False)
    images = np.stack(_alike(paths, [_read(path) for path in paths]))
    names = [path.stem.split("_")[0] for path in paths]
    numbers = {name: number for number, name in enumerate(sorted(set(names)))}
    labels = torch.tensor([numbers[name] for name in names])
    return ImageSet(folder.name, split, torch.from_numpy(images), levels=256, labels=labels)


def _read(path: Path) -> np.ndarray:
    """One image as uint8 (c, h, w)."""
    pixels = np.asarray(read_picture(path))
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def _alike(paths: list[Path], images: list[np.ndarray]) -> list[np.ndarray]:
    for path, image in zip(paths, images, strict=True):
        if image.shape != images[0].shape:
            raise UserError(
                f"'{path}' has shape {image.shape} and '{paths[0].name}' {images[0].shape} (channels, height, width): "
                "a folder must hold images of one shape"
            )
    return images


# ----------
# Images of any size from a folder and the folders below it, resized to one square.


def load_resized(folder: str | Path, name: str, split: str, side: int, channels: int) -> ImageSet:
    """All images in `folder` and below it, in the order of their paths, as side x side pixels of 256 levels.

    Each is resized as a whole (bilinear, antialiased), whatever its shape. The label is the folder it lies in, numbered
    in the order of their names, where there are several.

    Args:
        folder: where the files lie.
        name: what the set is called.
        split: "train" or "test".
        side: height and width in pixels.
        channels: 1 (grey) or 3.

    Raises:
        UserError: no such folder, no images in it, or files that are no images.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise UserError(f"'{folder}' is not a folder: put the images of '{name}' there, .png or .jpg files")
    paths = pictures_in(folder, below=True)
    images = np.stack([_read_resized(path, side, channels) for path in paths])
    parents = [str(path.parent) for path in paths]
    numbers = {parent: number for number, parent in enumerate(sorted(set(parents)))}
    labels = torch.tensor([numbers[parent] for parent in parents]) if len(numbers) > 1 else None
    return ImageSet(name, split, torch.from_numpy(images), levels=256, labels=labels)


def _read_resized(path: Path, side: int, channels: int) -> np.ndarray:
    """One image as uint8 (channels, side, side)."""
    from PIL import Image

    picture = read_picture(path).convert("L" if channels == 1 else "RGB")
    pixels = np.asarray(picture.resize((side, side), Image.Resampling.BILINEAR))
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)
