"""The images of one run: loaded (downloaded when asked), the few-shot subset chosen, on the device."""

import torch

from common.data import ImageSet, load
from common.errors import UserError
from diffusion.image_config import ImageConfig


def load_images(config: ImageConfig, device: torch.device) -> tuple[ImageSet, ImageSet]:
    """The training set (m images chosen by the seed, or all) and the whole test set of `config`, on `device`.

    Raises:
        UserError: unknown data set, files that are missing or damaged, or images that do not fit the network.
    """
    train, test = (
        load(config.dataset, split, data_dir=config.data_dir, download=config.download) for split in ("train", "test")
    )
    size = config.unet()
    expected = (size.in_channels, size.image_size, size.image_size)
    if tuple(train.shape) != expected:
        raise UserError(
            f"--network {config.network} takes images of shape {expected}, {config.dataset}'s are "
            f"{tuple(train.shape)}: choose the network of that data set"
        )
    if config.m:
        train = train.subset(config.m, config.seed)
    return train.to(device), test.to(device)
