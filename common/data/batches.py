"""The order in which an epoch visits its images, and the one augmentation that training may ask for."""

import torch
from torch import Tensor

from common.errors import UserError
from common.seeds import generator


def epoch_permutation(n: int, seed: int, epoch: int) -> Tensor:
    """The order of the n examples in one epoch, int64 (n,), a function of (n, seed, epoch) only.

    A resumed run therefore visits the examples as an unbroken one does.

    >>> sorted(epoch_permutation(5, seed=0, epoch=3).tolist())
    [0, 1, 2, 3, 4]
    """
    return torch.randperm(n, generator=generator(seed, "data", "epoch", epoch))


def augment_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror each image left to right with probability 1/2, decided per image. For training batches only.

    Args:
        images: (n, c, h, w), any type, on any device.
        generator: the source of the n coin tosses.

    Raises:
        UserError: if `images` is not (n, c, h, w).
    """
    if images.ndim != 4:
        raise UserError(f"images of shape {tuple(images.shape)} cannot be mirrored: expected (n, c, h, w)")
    return mirrored(images, flip_draws(images.shape[0], generator).to(images.device))


def flip_draws(n: int, generator: torch.Generator) -> Tensor:
    """The coin tosses of `augment_flip` for n images, uniforms (n,) on the device of the generator."""
    return torch.rand(n, generator=generator, device=generator.device)


def mirrored(images: Tensor, draws: Tensor) -> Tensor:
    """The images (n, c, h, w), those whose draw (n,) is below 1/2 mirrored left to right."""
    return torch.where((draws < 0.5)[:, None, None, None], images.flip(-1), images)
