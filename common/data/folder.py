"""Images from a folder of .png and .jpg files, the label being the file name up to its first underscore."""

from pathlib import Path

import numpy as np
import torch

from common.data.imageset import ImageSet
from common.data.pictures import pictures_in, read_picture
from common.errors import UserError


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
