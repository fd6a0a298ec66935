"""Beside `vae.plain`, for the speed rows: images read one by one, and one fold of the published grid at a time.

In the libraries one would reach for: torchvision's transforms and torch's DataLoader. The pixels are drawn anew at
every reading, as published.
"""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset
from torchvision import transforms

from vae import plain

PIXELS = 1024


class Binarized(Dataset):
    """Grey images (n, 28, 28) padded to 32 x 32, with black and white pixels drawn at each reading."""

    def __init__(self, images: np.ndarray):
        self.images = images
        self.transform = transforms.Compose([transforms.Pad(2), transforms.ToTensor(), torch.bernoulli])

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return self.transform(Image.fromarray(self.images[index]))


def loader(images: Dataset, rows: Sequence[int] | None = None) -> DataLoader:
    """Shuffled batches of the images at `rows`."""
    return DataLoader(images if rows is None else Subset(images, rows), batch_size=plain.BATCH, shuffle=True)


def log_px(vae: plain.VAE, x: Tensor, n_z: int) -> Tensor:
    """log p(x) of a batch of images with n_z codes each, drawn here, (n,)."""
    return plain.log_px(vae, x, n_z, torch.randn(n_z, len(x), vae.latent))


def fold(images: Dataset, inside: Sequence[int], outside: Sequence[int], epochs: int, every: int, n_z: int) -> Tensor:
    """One fold of the grid: train on the images inside, log p(x) of all images every few epochs; returns the last."""
    vae = plain.VAE(PIXELS)
    optimizer = torch.optim.Adam(vae.parameters(), lr=plain.LR)
    batches = loader(images, inside)
    found = torch.empty(0)
    for epoch in range(1, epochs + 1):
        plain.train(vae, optimizer, batches, torch.default_generator)
        if epoch % every == 0:
            readers = (batches, loader(images, outside))
            found = torch.cat([log_px(vae, x, n_z) for reader in readers for x in reader])
    return found
