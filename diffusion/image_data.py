"""The images of one run: loaded (downloaded when asked), the few-shot subset chosen, on the device."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import torch

from common.data import ImageSet, load
from common.errors import UserError
from diffusion.image_config import ImageConfig


def load_images(config: ImageConfig, device: torch.device) -> tuple[ImageSet, ImageSet]:
    """The training set (m images chosen by the seed, or all) and the whole test set of `config`, on `device`.

    Raises:
        UserError: unknown data set, files that are missing or damaged, or images that do not fit the network.
    """
    with _one_at_a_time(config.data_dir) if config.download else contextlib.nullcontext():
        train = load(config.dataset, "train", data_dir=config.data_dir, download=config.download)
        test = load(config.dataset, "test", data_dir=config.data_dir, download=config.download)
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


@contextlib.contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Hold the folder's lock: of tasks that start together one downloads, the others wait and find the files."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".download.lock").open("a") as lock:
        with contextlib.suppress(ImportError):  # Windows has no fcntl, and no launchers that share a sweep
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
