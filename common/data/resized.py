"""Images of any size from a folder and the folders below it, resized to one square."""

from pathlib import Path

import numpy as np
import torch

from common.data.imageset import ImageSet
from common.data.pictures import pictures_in, read_picture
from common.errors import UserError


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
    images = np.stack([_read(path, side, channels) for path in paths])
    parents = [str(path.parent) for path in paths]
    numbers = {parent: number for number, parent in enumerate(sorted(set(parents)))}
    labels = torch.tensor([numbers[parent] for parent in parents]) if len(numbers) > 1 else None
    return ImageSet(name, split, torch.from_numpy(images), levels=256, labels=labels)


def _read(path: Path, side: int, channels: int) -> np.ndarray:
    """One image as uint8 (channels, side, side)."""
    from PIL import Image

    picture = read_picture(path).convert("L" if channels == 1 else "RGB")
    pixels = np.asarray(picture.resize((side, side), Image.Resampling.BILINEAR))
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)
