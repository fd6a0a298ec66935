"""What the commands read: arrays, folders of images, registered data sets, and features of any of them."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from common.arrays import read_array
from common.data import NAMES, ImageSet, load
from common.data.folder import load_folder
from common.data.registry import ALIASES
from common.errors import UserError
from infodiffusion.metrics.features import NONE, Extractor, Features, Moments, extract, load_moments
from infodiffusion.metrics.kernel import as_features


def is_data_set(name: str) -> bool:
    """Whether `name` is a registered data set, `sprites` or `sprites:test`."""
    return name.split(":")[0].lower() in (*NAMES, *ALIASES)


def data_set(name: str, data_dir: Path) -> ImageSet:
    """The split of a registered data set that `sprites` (train) or `sprites:test` names."""
    base, _, split = name.partition(":")
    return load(base, split or "train", data_dir=data_dir)


def read_codes(source: str, option: str, data_dir: Path, whole: bool = False) -> np.ndarray:
    """A .npy file (n, ...), or the images of a registered data set as codes, flattened to (n, d).

    `whole` keeps whole numbers as they are (see `read_array`).

    Raises:
        UserError: nothing given, or nothing there.
    """
    if not source:
        raise UserError(f"{option} is missing: give a .npy file, examples first, or a registered data set")
    values = data_set(source, data_dir).images.float() if is_data_set(source) else read_array(Path(source), whole)
    return values.flatten(1).numpy() if values.ndim > 1 else values.numpy()[:, None]


def read_factors(source: str, data_dir: Path) -> np.ndarray:
    """A .npy file (n, f) or (n,), or the factors (else labels) of a registered data set.

    Raises:
        UserError: nothing given, nothing there, or a data set without factors.
    """
    if not source:
        raise UserError("--factors is missing: give a .npy file, examples first, or a registered data set")
    if not is_data_set(source):
        return read_array(Path(source), whole=True).numpy()
    images = data_set(source, data_dir)
    found = images.labels if images.factors is None else images.factors
    if found is None:
        raise UserError(f"{source} has neither factors nor labels: give a .npy file")
    return found.numpy()


def read_images(source: str, option: str, data_dir: Path) -> Tensor:
    """uint8 images (n, c, h, w) of a folder, a .npy file or a registered data set (fewer levels spread to 0 .. 255).

    Raises:
        UserError: nothing given, nothing there, or an array that is not of whole levels 0 .. 255.
    """
    if not source:
        raise UserError(f"{option} is missing: give a folder of images, a .npy file or a registered data set")
    if is_data_set(source):
        images = data_set(source, data_dir)
        return (images.images.float() * (255 / (images.levels - 1))).round().to(torch.uint8)
    if Path(source).is_dir():
        return load_folder(source, "train").images
    array = read_array(Path(source))
    if array.ndim == 4 and array.shape[1] not in (1, 3) and array.shape[3] in (1, 3):
        array = array.permute(0, 3, 1, 2)
    if array.ndim == 3:
        array = array[:, None]
    whole = array.round()
    if array.ndim != 4 or not torch.equal(whole, array) or float(array.min()) < 0 or float(array.max()) > 255:
        raise UserError(
            f"'{source}' has shape {tuple(array.shape)} and values {float(array.min()):g} .. {float(array.max()):g}: "
            "expected images (n, channels, height, width) of whole levels 0 .. 255"
        )
    return whole.to(torch.uint8).contiguous()


def read_features(source: str, option: str, extractor: Extractor | None, data_dir: Path) -> Features:
    """Features of `source`: the array itself without an extractor, else those of its images."""
    if extractor is not None:
        return extract(extractor, read_images(source, option, data_dir))
    if (source and Path(source).is_dir()) or is_data_set(source):
        return as_features(read_images(source, option, data_dir).float())
    return as_features(torch.from_numpy(read_codes(source, option, data_dir)))


def read_reference(source: str, extractor: Extractor | None, data_dir: Path) -> Features | Moments:
    """The reference sample: moments of a STATS.npz, else features."""
    if source.endswith(".npz"):
        names = (extractor.name, extractor.resize) if extractor else (NONE, NONE)
        return load_moments(Path(source), *names)
    return read_features(source, "--real", extractor, data_dir)
