"""The images of one run in [-1, 1], and the Gaussian reference of its training set, computed once and cached."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from common.data import ImageSet, load
from common.data.folder import load_folder
from common.errors import UserError
from common.immse import GaussianReference, LogsnrRange
from itdiffusion.images_config import HEADS, ImagesConfig

BLOCK = 4_096


def load_images(config: ImagesConfig, device: torch.device) -> tuple[ImageSet, ImageSet]:
    """Training and test set of `config` as recorded, on `device`; of the test set `test_images`, evenly spread over it.

    Raises:
        UserError: unknown set, files that are missing or damaged, or images that do not fit the network.
    """
    if config.train_folder:
        train, test = load_folder(config.train_folder, "train"), load_folder(config.test_folder, "test")
    else:
        train, test = (
            load(config.dataset, split, data_dir=config.data_dir, download=config.download)
            for split in ("train", "test")
        )
    if train.shape != test.shape:
        raise UserError(f"training images of shape {train.shape} and test images of {test.shape}: expected the same")
    size = config.unet()
    expected = (size.in_channels, size.image_size, size.image_size)
    if tuple(train.shape) != expected and set(config.members) & set(HEADS):
        raise UserError(
            f"--network {config.network} takes images of shape {expected}, these are {tuple(train.shape)}: choose the "
            "network of that data set"
        )
    if 0 < config.test_images < len(test):
        test = test.take(torch.linspace(0, len(test) - 1, config.test_images).round().long())
    return train.to(device), test.to(device)


def to_unit(pixels: Tensor, levels: int) -> Tensor:
    """Grey levels 0 .. Q - 1 as x = 2 k / (Q - 1) - 1 in [-1, 1], float32.

    >>> to_unit(torch.tensor([0, 8, 16], dtype=torch.uint8), 17)
    tensor([-1.,  0.,  1.])
    """
    return pixels.float() * (2 / (levels - 1)) - 1


def step_of(levels: int) -> float:
    """D = 2 / (Q - 1), the step between grey levels in [-1, 1]."""
    return 2 / (levels - 1)


def reference_of(train: ImageSet, cache: Path) -> GaussianReference:
    """The exact Gaussian of the training images in [-1, 1], its spectrum floored at D^2/12; from `cache` where it is.

    The file's name is a digest of the images, so another set never finds it; its provenance says what it is of.

    Args:
        train: the training images.
        cache: folder of the cached references.
    """
    digest = hashlib.blake2b(train.images.cpu().contiguous().numpy().data, digest_size=8).hexdigest()
    path = cache / f"{train.name}-{train.levels}-{digest}.safetensors"
    floor = step_of(train.levels) ** 2 / 12
    if path.is_file():
        return GaussianReference.load(path).floored(floor)
    provenance = {"dataset": train.name, "split": train.split, "images": digest, "data_scale": "[-1, 1]"}
    reference = GaussianReference.fit(_batches(train), floor=floor, provenance=provenance)
    path.parent.mkdir(parents=True, exist_ok=True)
    reference.save(path)
    return reference


def training_range(config: ImagesConfig, reference: GaussianReference) -> LogsnrRange:
    """The law of log-SNR in training: --loc and --scale, or those of the spectrum."""
    if config.scale:
        return LogsnrRange(config.loc, config.scale, config.clip)
    return LogsnrRange.from_spectrum(reference.spectrum, clip=config.clip)


def _batches(images: ImageSet) -> Iterator[Tensor]:
    for block in images.images.split(BLOCK):
        yield to_unit(block, images.levels)
