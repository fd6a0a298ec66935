"""The least that a likelihood model of images must beat: independent pixels, each with its own histogram."""

import torch
from torch import Tensor

from common.errors import UserError
from common.estimate import mean_and_se, nats_to_bpd

BLOCK = 4_096  # images counted at once: bounds the memory of the index tensors


def per_pixel_histogram_bpd(train: Tensor, test: Tensor, levels: int, smoothing: float = 1.0) -> tuple[float, float]:
    """Bits per dimension of the test images' probability mass under independent, Laplace-smoothed pixel histograms.

    P(k_i = q) = (n_iq + a) / (n + a Q), with n_iq the number of training images of level q at pixel i.

    Args:
        train: uint8 (n, ...).
        test: uint8 (m, ...), of the same image shape, m >= 2.
        levels: Q.
        smoothing: a > 0, the count added to every level.

    Returns:
        The mean over test images and its standard error over them, both in bpd.

    Raises:
        UserError: different image shapes, levels of Q or more, or no smoothing.
    """
    if train.shape[1:] != test.shape[1:]:
        raise UserError(
            f"training images {tuple(train.shape[1:])} and test images {tuple(test.shape[1:])} differ in shape"
        )
    if int(max(train.max(), test.max())) >= levels:
        raise UserError(
            f"a grey level of {int(max(train.max(), test.max()))} in sets of {levels} levels: give their own number"
        )
    log_mass = pixel_log_mass(train, levels, smoothing)
    per_image = torch.cat([_log_mass_of(block.flatten(1), log_mass) for block in test.split(BLOCK)])
    mean, se = mean_and_se(-per_image)
    d = log_mass.shape[0]
    return nats_to_bpd(mean, d), nats_to_bpd(se, d)


def pixel_log_mass(train: Tensor, levels: int, smoothing: float = 1.0) -> Tensor:
    """log P(k_i = q), float64 (d, Q), nats, of the smoothed histogram of each pixel over `train`, uint8 (n, ...).

    Raises:
        UserError: if `smoothing` is not positive: a level that training never showed would have mass 0.
    """
    if not smoothing > 0:
        raise UserError(f"smoothing = {smoothing}: expected a positive count, or unseen grey levels have probability 0")
    d = train[0].numel()
    first_bin = torch.arange(d) * levels
    counts = torch.zeros(d * levels, dtype=torch.int64)
    for block in train.flatten(1).split(BLOCK):
        counts += torch.bincount((block.long() + first_bin).flatten(), minlength=d * levels)
    return torch.log((counts.double().view(d, levels) + smoothing) / (len(train) + smoothing * levels))


def _log_mass_of(pixels: Tensor, log_mass: Tensor) -> Tensor:
    """log P of each image, (n,), nats, from its pixels (n, d)."""
    return log_mass.gather(1, pixels.long().T).sum(0)
