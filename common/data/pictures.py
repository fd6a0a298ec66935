"""Image files: which are in a folder, and their grey levels as the file says them, 8 bits a channel."""

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from common.errors import UserError
from common.files import contents, reading

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
