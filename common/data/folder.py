"""Images from a folder of .png and .jpg files, the label being the file name up to its first underscore."""

from pathlib import Path

import numpy as np
import torch

from common.data.imageset import ImageSet
from common.errors import UserError

SUFFIXES = (".png", ".jpg", ".jpeg")


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
    if not folder.is_dir():
        raise UserError(f"'{folder}' is not a folder: give the folder that holds the .png or .jpg files")
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())
    if not paths:
        raise UserError(f"'{folder}' has no {', '.join(SUFFIXES)} files: give the folder that holds the images")
    images = np.stack(_alike(paths, [_read(path) for path in paths]))
    names = [path.stem.split("_")[0] for path in paths]
    numbers = {name: number for number, name in enumerate(sorted(set(names)))}
    labels = torch.tensor([numbers[name] for name in names])
    return ImageSet(folder.name, split, torch.from_numpy(images), levels=256, labels=labels)


def _read(path: Path) -> np.ndarray:
    """One image as uint8 (c, h, w)."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            grey = image.mode in ("1", "L")
            pixels = np.asarray(image.convert("L" if grey else "RGB"))
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise UserError(f"'{path}' is not a whole image ({error}): remove it or copy it again") from error
    return pixels[None] if grey else pixels.transpose(2, 0, 1)


def _alike(paths: list[Path], images: list[np.ndarray]) -> list[np.ndarray]:
    for path, image in zip(paths, images, strict=True):
        if image.shape != images[0].shape:
            raise UserError(
                f"'{path}' has shape {image.shape} and '{paths[0].name}' {images[0].shape} (channels, height, width): "
                "a folder must hold images of one shape"
            )
    return images
