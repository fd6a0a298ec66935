"""An image's own pixels as its features, for where no network is wanted."""

import torch
from torch import Tensor

from infodiffusion.metrics.features import NONE

PIXELS = "pixels"
"""Name of these features, as `--features` takes it and metrics' names have it."""


class Pixels:
    """Levels over 255, in [0, 1], as a flat vector: distances are those of the images themselves, pixel by pixel."""

    name, resize = PIXELS, NONE
    device = torch.device("cpu")

    def __call__(self, images: Tensor) -> Tensor:
        """Features (n, c h w) in [0, 1] of uint8 images (n, c, h, w)."""
        return images.flatten(1).float() / 255
