"""The images of a run: registered sets, CelebA at any size with its attributes, dSprites, 3dshapes, folders."""

import dataclasses
from pathlib import Path

import torch

from infolab.data import NAMES, ImageSet, load, registry
from infolab.data import folders as celeba_files
from infolab.data.factor_files import FACTOR_FILES, dsprites, shapes3d
from infolab.data.folders import load_resized
from infolab.errors import UserError, check_choice
from infolab.noise import generator

FOLDERS = ("chairs", "ffhq")
"""Sets that are folders of images of these names below --data-dir."""
DATASETS = (*[name for name in NAMES if name != "patches"], "dsprites", "3dshapes", *FOLDERS)
SHAPES = {
    "digits": (1, 8),
    "cifar10": (3, 32),
    "celeba": (3, 64),
    "3dshapes": (3, 64),
    "chairs": (3, 64),
    "ffhq": (3, 64),
}
"""Channels and published side; all others are grey at 32."""
TEST_EVERY = 10


def check_dataset(name: str) -> str:
    """The name, where there is such a set.

    Raises:
        UserError: there is none.
    """
    return check_choice("data set", name, DATASETS)


def published_shape(name: str) -> tuple[int, int]:
    """Channels and side of the images of a set."""
    return SHAPES.get(name, (1, 32))


def load_images(
    dataset: str,
    shape: tuple[int, int],
    *,
    data_dir: Path,
    download: bool = False,
    folders: tuple[str, str] = ("", ""),
    m: int = 0,
    seed: int = 0,
) -> tuple[ImageSet, ImageSet]:
    """Training and test images, uint8 (n, channels, side, side); registered sets are padded to the side with level 0.

    Args:
        dataset: one of `DATASETS`, or any name with `folders`.
        shape: channels and side of the images.
        data_dir: where files lie.
        download: fetch missing files first.
        folders: folder of training images and of test images (may be empty: every tenth training image).
        m: training images, chosen by the seed; 0: all.
        seed: of the choice.

    Raises:
        UserError: unknown set, files that are missing or damaged, or images of another shape.
    """
    channels, side = shape
    if folders[0] or dataset in FOLDERS:
        train, test = _from_folders(dataset, side, channels, data_dir, folders)
    elif dataset == "celeba":
        train, test = (_celeba(split, data_dir, side) for split in ("train", "test"))
    elif dataset in FACTOR_FILES:
        train, test = (dsprites if dataset == "dsprites" else shapes3d)(data_dir, side)
    else:
        name = check_dataset(dataset)
        train, test = (
            load(name, split, data_dir=data_dir, download=download, size=side) for split in ("train", "test")
        )
    if train.shape != (channels, side, side):
        raise UserError(
            f"{train.name} has images of shape {train.shape}, expected {(channels, side, side)}: choose --image-size"
        )
    if m:
        if m > len(train):
            raise UserError(f"--m must be at most {len(train):,}, the training images of {train.name}, not {m:,}")
        train = train.take(torch.randperm(len(train), generator=generator(seed, "data", "subset"))[:m].sort().values)
    return train, test


def contents_of(dataset: str, data_dir: Path, folders: tuple[str, str] = ("", "")) -> dict[str, str]:
    """Digests of the files of the user's own that `load_images` reads, by what they are."""
    if folders[0] or dataset in FOLDERS:
        places = {"train_folder": folders[0] or data_dir / dataset, "test_folder": folders[1]}
        return registry.joined(**{name: registry.of_folder(Path(place)) for name, place in places.items() if place})
    attributes = registry.of_attributes(data_dir) if dataset == "celeba" else ""
    return registry.joined(data=registry.of_set(dataset, data_dir), attributes=attributes)


def attributes_or_factors(images: ImageSet) -> torch.Tensor | None:
    """What codes are scored against: factors where they are known, else the label as the one factor; None: nothing."""
    if images.factors is not None:
        return images.factors
    return None if images.labels is None else images.labels[:, None]


def _celeba(split: str, data_dir: Path, side: int) -> ImageSet:
    images = celeba_files.load(split, data_dir, side)
    found = celeba_files.attributes(split, data_dir)
    if found is None:
        return images
    names, values = found
    return dataclasses.replace(images, factors=values, factor_names=names)


def _from_folders(
    dataset: str, side: int, channels: int, data_dir: Path, folders: tuple[str, str]
) -> tuple[ImageSet, ImageSet]:
    train = load_resized(folders[0] or data_dir / dataset, dataset, "train", side, channels)
    if folders[1]:
        return train, load_resized(folders[1], dataset, "test", side, channels)
    held_out = torch.arange(len(train)) % TEST_EVERY == TEST_EVERY - 1
    if not held_out.any():
        raise UserError(f"{len(train)} images are too few to hold out every tenth: give --test-folder")
    test = dataclasses.replace(train.take(torch.nonzero(held_out)[:, 0]), split="test")
    return train.take(torch.nonzero(~held_out)[:, 0]), test
