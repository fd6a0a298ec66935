"""The training and test images of a run, on its device, and their way to [-1, 1] and back."""

import functools

import torch

from common.data import ImageSet
from infodiffusion.config import InfoConfig
from infodiffusion.data import load_images


def images_of(config: InfoConfig, device: torch.device) -> tuple[ImageSet, ImageSet]:
    """Training and test images of `config`.

    Raises:
        UserError: files that are missing or damaged, or images of another shape.
    """
    loaded = _loaded(
        config.dataset,
        config.shape,
        data_dir=config.data_dir,
        download=config.download,
        folders=(config.train_folder, config.test_folder),
        m=config.m,
        seed=config.seed,
    )
    train, test = loaded
    return train.to(device), test.to(device)


# The runs of a sweep share their images; drawing or reading them takes longer than a small mode.
_loaded = functools.lru_cache(maxsize=2)(load_images)
