"""Plain reference of the VAEs of van den Burg and Williams (2021): one fold at a time, images read one by one.

The published algorithm for binarised MNIST, in the libraries one would reach for: torch.nn, torch.optim, torchvision's
transforms and torch's DataLoader. Its pixels can be drawn anew at every reading, as published, or be given.
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.distributions import MultivariateNormal
from torch.nn.functional import binary_cross_entropy
from torch.utils.data import DataLoader, Dataset, Subset
from torchvision import transforms

HIDDEN = (512, 256)
BATCH = 64


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
    """Shuffled batches of 64 of the images at `rows`."""
    return DataLoader(images if rows is None else Subset(images, rows), batch_size=BATCH, shuffle=True)


class VAE(nn.Module):
    """The Bernoulli MLP VAE: d-512-256-2L, L-256-512-d with sigmoid outputs."""

    def __init__(self, d: int = 1024, latent: int = 16, hidden: Sequence[int] = HIDDEN):
        super().__init__()
        self.latent = latent
        self.encoder = nn.Sequential(nn.Flatten(), *_layers([d, *hidden]))
        self.mu, self.log_variance = nn.Linear(hidden[-1], latent), nn.Linear(hidden[-1], latent)
        self.decoder = nn.Sequential(*_layers([latent, *reversed(hidden)]), nn.Linear(hidden[0], d), nn.Sigmoid())

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of q(z | x), (n, L) each."""
        h = self.encoder(x)
        return self.mu(h), self.log_variance(h)

    def log_p(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x | z) of images (n, ...) and codes (n, L), (n,)."""
        return -binary_cross_entropy(self.decoder(z), x.flatten(1), reduction="none").sum(1)

    def loss(self, x: Tensor, eps: Tensor) -> Tensor:
        """Negative ELBO, summed over the batch, nats."""
        mu, log_variance = self.encode(x)
        z = mu + torch.exp(0.5 * log_variance) * eps
        kl = -0.5 * torch.sum(1 + log_variance - mu.pow(2) - log_variance.exp())
        return kl - self.log_p(x, z).sum()


def _layers(sizes: Sequence[int]) -> Iterator[nn.Module]:
    for fan_in, fan_out in itertools.pairwise(sizes):
        yield nn.Linear(fan_in, fan_out)
        yield nn.ReLU(True)


def train(
    vae: VAE, optimizer: torch.optim.Optimizer, batches: Iterable[Tensor], source: torch.Generator
) -> list[float]:
    """One Adam step on the summed negative ELBO of each batch of images; returns the losses per image."""
    losses = []
    for x in batches:
        optimizer.zero_grad()
        loss = vae.loss(x, torch.randn(len(x), vae.latent, generator=source))
        loss.backward()
        optimizer.step()
        losses.append(loss.item() / len(x))
    return losses


@torch.no_grad()
def log_px(vae: VAE, x: Tensor, n_z: int, eps: Tensor | None = None) -> Tensor:
    """Importance-weighted log p(x) of a batch of images (n, ...) with n_z codes each, (n,).

    Args:
        vae: the model.
        x: images.
        n_z: N_z.
        eps: noise (n_z, n, L); None: drawn.
    """
    mu, log_variance = vae.encode(x)
    prior = MultivariateNormal(torch.zeros(vae.latent), torch.eye(vae.latent))
    posterior = MultivariateNormal(mu, scale_tril=torch.diag_embed(torch.exp(0.5 * log_variance)))
    z = posterior.sample((n_z,)) if eps is None else mu + torch.exp(0.5 * log_variance) * eps
    log_p = vae.log_p(x.repeat(n_z, *[1] * (x.ndim - 1)), z.flatten(0, 1)).view(n_z, len(x))
    return torch.logsumexp(log_p + prior.log_prob(z) - posterior.log_prob(z), 0) - math.log(n_z)


def fold(images: Dataset, inside: Sequence[int], outside: Sequence[int], epochs: int, every: int, n_z: int) -> Tensor:
    """One fold of the grid: train on the images inside, log p(x) of all images every few epochs; returns the last."""
    vae = VAE()
    optimizer = torch.optim.Adam(vae.parameters(), lr=1e-3)
    batches = loader(images, inside)
    found = torch.empty(0)
    for epoch in range(1, epochs + 1):
        train(vae, optimizer, batches, torch.default_generator)
        if epoch % every == 0:
            readers = (batches, loader(images, outside))
            found = torch.cat([log_px(vae, x, n_z) for reader in readers for x in reader])
    return found
