"""Published sets with known factors from their own files: dSprites' .npz and 3dshapes' .h5."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from infolab.data.images import ImageSet
from infolab.data.places import folders_below, missing
from infolab.errors import UserError
from infolab.files import DamagedFileError, load_npz, reading
from infolab.noise import generator

DSPRITES = "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz"
DSPRITES_FACTORS = ("shape", "scale", "orientation", "x", "y")
SHAPES3D = "3dshapes.h5"
SHAPES3D_FACTORS = ("floor_hue", "wall_hue", "object_hue", "scale", "shape", "orientation")
FACTOR_FILES = {"dsprites": DSPRITES, "3dshapes": SHAPES3D}
"""Name of the file of each set."""
WAYS = {
    "dsprites": f"copy {DSPRITES} there (https://github.com/google-deepmind/dsprites-dataset)",
    "3dshapes": f"copy {SHAPES3D} there (https://github.com/google-deepmind/3d-shapes)",
}
TEST_SHARE = 10
"""One image in ten, at random but fixed, is for testing."""


def dsprites(data_dir: Path, side: int = 32) -> tuple[ImageSet, ImageSet]:
    """Training and test images of dSprites, uint8 (n, 1, side, side), two or 256 levels, five factors.

    Pixels are 0 or 255; where `side` is 32 rather than 64 they are means of 2 x 2 pixels. The colour, which is
    constant, is left out of the factors.

    Raises:
        UserError: the file is missing or not what it should be; a side other than 32 or 64.
    """
    path = find("dsprites", data_dir)
    what, remedy = "dSprites' file", "copy it again"
    file = load_npz(path, ("imgs", "latents_classes"), what=what, remedy=remedy)
    images, classes = file["imgs"], file["latents_classes"]
    with reading(path, what, remedy):
        if images.shape != (len(classes), 64, 64) or classes.shape != (len(images), 1 + len(DSPRITES_FACTORS)):
            raise DamagedFileError(f"imgs {images.shape}, latents_classes {classes.shape}")
        if images.dtype != np.uint8 or images.max() > 1 or classes.dtype.kind not in "iu":
            raise DamagedFileError(f"imgs of type {images.dtype} or above 1, latents_classes of type {classes.dtype}")
    pixels = torch.from_numpy(images)[:, None]
    factors = torch.from_numpy(classes[:, 1:].astype(np.int64))
    return _split("dsprites", _shrunk(pixels, side, 255), factors, DSPRITES_FACTORS)


def shapes3d(data_dir: Path, side: int = 64) -> tuple[ImageSet, ImageSet]:
    """Training and test images of 3dshapes, uint8 (n, 3, side, side), 256 levels, six factors.

    Raises:
        UserError: the file is missing or not what it should be, no h5py, a side other than 32 or 64.
    """
    try:
        import h5py
    except ImportError as error:
        raise UserError("3dshapes is an HDF5 file: .venv/bin/python -m pip install h5py") from error
    path = find("3dshapes", data_dir)
    with reading(path, "3dshapes' file", "copy it again"), h5py.File(path, "r") as file:
        images, labels = file["images"][:], file["labels"][:]
        if images.shape != (len(labels), 64, 64, 3) or labels.shape != (len(images), len(SHAPES3D_FACTORS)):
            raise DamagedFileError(f"images {images.shape}, labels {labels.shape}")
        if images.dtype != np.uint8 or labels.dtype.kind not in "fiu" or not np.isfinite(labels).all():
            raise DamagedFileError(f"images of type {images.dtype}, labels of type {labels.dtype} or not finite")
    columns = [np.unique(column, return_inverse=True)[1] for column in labels.T]
    factors = torch.from_numpy(np.stack(columns, axis=1).astype(np.int64))
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2)
    return _split("3dshapes", _shrunk(pixels, side, 1), factors, SHAPES3D_FACTORS)


def find(dataset: str, data_dir: Path) -> Path:
    """The file of a set, in `data_dir` or up to three levels below it.

    Raises:
        UserError: it is not there; says how to get it.
    """
    name = FACTOR_FILES[dataset]
    for folder in folders_below(data_dir):
        if (folder / name).is_file():
            return folder / name
    raise missing(dataset, "train", name, data_dir, WAYS[dataset])


def _shrunk(pixels: Tensor, side: int, factor: int) -> Tensor:
    """Images of 64 pixels times `factor` at 64 or 32 pixels, in blocks: the set may be large."""
    if side not in (32, 64) or pixels.shape[-1] != 64:
        raise UserError(f"images of {pixels.shape[-1]} pixels a side cannot be shown at {side}: choose 32 or 64")
    blocks = []
    for block in pixels.split(4096):
        shown = block * factor if side == 64 else torch.nn.functional.avg_pool2d(block.float() * factor, 2).round()
        blocks.append(shown.to(torch.uint8))
    return torch.cat(blocks)


def _split(name: str, images: Tensor, factors: Tensor, names: tuple[str, ...]) -> tuple[ImageSet, ImageSet]:
    order = torch.randperm(len(images), generator=generator(0, "data", name))
    held_out = max(1, len(images) // TEST_SHARE)
    whole = ImageSet(name, "train", images, 256, factors[:, names.index("shape")].clone(), factors, names)
    test = whole.take(order[:held_out].sort().values)
    return whole.take(order[held_out:].sort().values), ImageSet(
        name, "test", test.images, 256, test.labels, test.factors, names
    )
