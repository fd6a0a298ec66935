"""What the commands read: arrays, folders of images, registered data sets, and features of any of them."""

import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from infolab.arrays import read_array, read_labels
from infolab.data import NAMES, ImageSet, load
from infolab.data.folders import load_folder
from infolab.data.registry import ALIASES
from infolab.errors import UserError
from infolab.metrics.distances import as_features
from infolab.metrics.features import NONE, PIXELS, Extractor, Features, Moments, extract, load_moments

FAR_APART = 50
"""Features of values 0 .. 1 beside others above this are warned of: one of the two may be in grey levels."""


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
    """A .npy file (n, f) or (n,) of numbers or names, or the factors (else labels) of a registered data set.

    Raises:
        UserError: nothing given, nothing there, or a data set without factors.
    """
    if not source:
        raise UserError("--factors is missing: give a .npy file, examples first, or a registered data set")
    if not is_data_set(source):
        return read_labels(Path(source))
    found = targets_of(data_set(source, data_dir))
    if found is None:
        raise UserError(f"{source} has neither factors nor labels: give a .npy file")
    return found.numpy()


def targets_of(images: ImageSet) -> Tensor | None:
    """Factors (n, f) of a data set, else labels (n,), else None."""
    return images.labels if images.factors is None else images.factors


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
            "expected images (n, channels, height, width) of whole levels 0 .. 255 (images in 0 .. 1: multiply them by "
            "255 and round)"
        )
    if float(array.max()) == 1:
        sys.stderr.write(
            f"warning: '{source}' has no level above 1, of 0 .. 255: if its white is 1, multiply it by 255\n"
        )
    return whole.to(torch.uint8).contiguous()


def read_features(source: str, option: str, extractor: Extractor | None, data_dir: Path) -> Features:
    """Features of `source`: the array (n, d) itself without an extractor, else those of its images.

    Raises:
        UserError: nothing given, nothing there, or images without an extractor.
    """
    values = _read_values(source, option, extractor, data_dir)
    return as_features(values) if extractor is None else extract(extractor, values)


def read_samples(
    real: str, generated: str, extractor: Extractor | None, data_dir: Path
) -> tuple[Features | Moments, Features]:
    """The reference sample (moments, where it is a STATS.npz) and the generated one, of one range of values.

    Raises:
        UserError: see `read_features`; or images of levels 0 .. 1 beside others of 0 .. 255.
    """
    if real.endswith(".npz"):
        names = (extractor.name, extractor.resize) if extractor else (NONE, NONE)
        return load_moments(Path(real), *names), read_features(generated, "--generated", extractor, data_dir)
    values = [
        _read_values(source, option, extractor, data_dir)
        for source, option in ((real, "--real"), (generated, "--generated"))
    ]
    _check_ranges(values[0], values[1], images=extractor is not None)
    first, second = (as_features(one) if extractor is None else extract(extractor, one) for one in values)
    return first, second


def _read_values(source: str, option: str, extractor: Extractor | None, data_dir: Path) -> Tensor:
    """Images for an extractor, features (n, d) without one."""
    if extractor is not None:
        return read_images(source, option, data_dir)
    if not source:
        raise UserError(f"{option} is missing: give a .npy file of features (n, d), or images and --features")
    shape: tuple[int, ...] = ()
    if not is_data_set(source) and not Path(source).is_dir():
        array = read_array(Path(source))
        if array.ndim <= 2:
            return array if array.ndim == 2 else array[:, None]
        shape = tuple(array.shape)
    raise UserError(
        f"{option} {source} holds images{f' {shape}' if shape else ''}, which are no features: give --features "
        f"{PIXELS} (levels over 255), a network (--features NET.safetensors), or an array (n, d) of features"
    )


def _check_ranges(real: Tensor, generated: Tensor, images: bool) -> None:
    """Refuse images of which one set is in 0 .. 1 and the other in 0 .. 255; warn of features that look so."""
    ends = {name: (float(x.min()), float(x.max())) for name, x in (("--real", real), ("--generated", generated))}
    (low, (a, b)), (high, (c, d)) = sorted(ends.items(), key=lambda item: item[1][1])
    if min(a, c) < 0 or not 0 < b <= 1 or d <= (2 if images else FAR_APART):
        return
    said = f"{low} has values {a:g} .. {b:g} and {high} {c:g} .. {d:g}"
    if images:
        raise UserError(f"{said}: images must have one range, levels 0 .. 255; multiply those of {low} by 255")
    sys.stderr.write(f"warning: {said}: distances need one scale; were both scaled alike?\n")
