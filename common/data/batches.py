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
    tosses = torch.rand(images.shape[0], generator=generator, device=generator.device) < 0.5
    return torch.where(tosses.to(images.device)[:, None, None, None], images.flip(-1), images)
