"""Ways to spoil images, by strength: what a feature network is asked to see, and what it is trained to measure."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

CANVAS = 32
"""Side, in pixels, that shifts are given for; other images are shifted in proportion to their side."""
WHOLE = 0.75
"""Shifts of this many pixels and more are rounded to whole ones, as others blur too."""
LEVELS = 2
"""Numbers that say how far `spoiled` has spoiled an image: noise and blur."""
MOST_NOISE = 100.0


def noised(images: Tensor, sd: float, source: torch.Generator) -> Tensor:
    """uint8 images (n, c, h, w) with Gaussian noise of `sd` grey levels, rounded and clipped to 0 .. 255."""
    return _levels(images.float() + sd * torch.randn(images.shape, generator=source))


def blurred(images: Tensor, sigma: float) -> Tensor:
    """uint8 images (n, c, h, w) under a Gaussian filter of `sigma` pixels; the border's pixels go on beyond it."""
    from scipy import ndimage

    found = ndimage.gaussian_filter(images.numpy().astype(np.float32), (0, 0, sigma, sigma), mode="nearest")
    return _levels(torch.from_numpy(found))


def pixels_of_shift(shift: float, side: int) -> float:
    """Pixels of a shift that is given for `CANVAS`: in proportion to the side, whole from 0.75 on.

    >>> [pixels_of_shift(1, side) for side in (64, 32, 28, 8)]
    [2.0, 1.0, 1.0, 0.25]
    """
    pixels = shift * side / CANVAS
    return float(round(pixels)) if pixels >= WHOLE else pixels


def shifted(images: Tensor, pixels: float) -> Tensor:
    """uint8 images (n, c, h, w) moved to the right, parts of pixels linearly; the border's pixels fill what is left."""
    from scipy import ndimage

    found = ndimage.shift(images.numpy().astype(np.float32), (0, 0, 0, pixels), order=1, mode="nearest")
    return _levels(torch.from_numpy(found))


def spoiled(images: Tensor, source: torch.Generator) -> tuple[Tensor, Tensor]:
    """Images for training, a third as they are, a third with noise and a third blurred, and how far each was spoiled.

    Noise has sd s = 100 u^2 grey levels, blur mixes a share w of the mean over 3 x 3 pixels into the image, u and w
    uniform in [0, 1].

    Args:
        images: uint8 (n, c, h, w).
        source: of the draws.

    Returns:
        The images, float32 of whole levels, and (n, 2): log(1 + s/10) and 2 w.
    """
    n = len(images)
    kind = torch.randint(3, (n,), generator=source)
    strength = torch.rand(n, generator=source)
    sd = torch.where(kind == 1, MOST_NOISE * strength.square(), 0.0)
    share = torch.where(kind == 2, strength, 0.0)
    shown = images.float()
    near = F.avg_pool2d(F.pad(shown, (1, 1, 1, 1), mode="replicate"), 3, 1)
    shown = shown + share[:, None, None, None] * (near - shown)
    shown = shown + sd[:, None, None, None] * torch.randn(shown.shape, generator=source)
    return shown.round().clamp(0, 255), torch.stack([(sd / 10).log1p(), 2 * share], 1)


def _levels(images: Tensor) -> Tensor:
    return images.round().clamp(0, 255).to(torch.uint8)
