"""Plain reference of the 2-D study of Kong et al. (2023): one density at a time, in batches of a DataLoader.

The published algorithm as one would write it with torch.nn and torch.optim: a network with sinusoidal embeddings,
trained on the importance-weighted denoising error, and -log p of single points from random log-SNRs.
"""

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

LOC, SCALE, CLIP = 0.0, 3.0, 4.0

Batch = tuple[Tensor, Tensor, Tensor]
"""x (b, d), logsnr (b,), eps (b, d)."""


class Embedding(nn.Module):
    """Sines, then cosines, of scale v 10000^(-k/(h-1)), k = 0..h-1."""

    frequencies: Tensor

    def __init__(self, size: int, scale: float):
        super().__init__()
        half = size // 2
        falling = torch.exp(-math.log(10_000) / (half - 1) * torch.arange(half))
        self.register_buffer("frequencies", scale * falling)

    def forward(self, v: Tensor) -> Tensor:
        """Features (n, size) of numbers (n,)."""
        angle = v[:, None] * self.frequencies
        return torch.cat([angle.sin(), angle.cos()], dim=-1)


class Denoiser(nn.Module):
    """eps_hat(z, logsnr) of a point in the plane: embeddings, three linear layers, ReLU between them."""

    def __init__(self, size: int = 128, hidden: int = 128):
        super().__init__()
        self.of_input, self.of_logsnr = Embedding(size, 100.0), Embedding(size, 50.0)
        self.layers = nn.Sequential(
            nn.Linear(3 * size, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 2)
        )

    def forward(self, z: Tensor, logsnr: Tensor) -> Tensor:
        """eps_hat (n, 2) at z (n, 2), logsnr (n,)."""
        features = [self.of_input(z[:, 0]), self.of_input(z[:, 1]), self.of_logsnr(logsnr)]
        return self.layers(torch.cat(features, dim=-1))


def draw_logsnr(n: int, source: torch.Generator) -> Tensor:
    """Log-SNRs (n,) of the cut logistic law."""
    edge = 1 / (1 + math.exp(CLIP))
    return LOC + SCALE * torch.logit(edge + (1 - 2 * edge) * torch.rand(n, generator=source))


def weights_of(logsnr: Tensor) -> Tensor:
    """One over the density of `draw_logsnr`."""
    u = (logsnr - LOC) / SCALE
    return SCALE * math.tanh(CLIP / 2) / (torch.sigmoid(u) * torch.sigmoid(-u))


def nll(network: nn.Module, x: Tensor, logsnr: Tensor, eps: Tensor) -> Tensor:
    """Draws (n,) of h(N(0, I)) + 1/2 Int (|eps - eps_hat|^2 - d s(a)) da, one log-SNR and one eps for each row of x."""
    a, d = logsnr[:, None], x.shape[1]
    z = torch.sqrt(torch.sigmoid(a)) * x + torch.sqrt(torch.sigmoid(-a)) * eps
    error = (eps - network(z, logsnr)).square().sum(1)
    gap = error - d * torch.sigmoid(logsnr)
    return d / 2 * math.log(2 * math.pi * math.e) + 0.5 * weights_of(logsnr) * gap


def loader(x: Tensor, batch: int, source: torch.Generator) -> DataLoader:
    """Shuffled batches of the rows of x; a remainder is left out."""
    return DataLoader(TensorDataset(x), batch_size=batch, shuffle=True, drop_last=True, generator=source)


def noised(batches: Iterable[Sequence[Tensor]], source: torch.Generator) -> Iterable[Batch]:
    """Log-SNRs and noise for each batch."""
    for (x,) in batches:
        yield x, draw_logsnr(len(x), source), torch.randn(x.shape, generator=source)


def train(network: nn.Module, optimizer: torch.optim.Optimizer, batches: Iterable[Batch]) -> list[float]:
    """One optimiser step on the mean NLL of each batch; returns the losses before each step."""
    losses = []
    for x, logsnr, eps in batches:
        loss = nll(network, x, logsnr, eps).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@torch.no_grad()
def density(network: nn.Module, pixels: Tensor, points: int, source: torch.Generator) -> Tensor:
    """-log p (n,) at each of `pixels` (n, 2), one after the other, from `points` random log-SNRs each."""
    values = []
    for pixel in pixels:
        x = pixel.expand(points, 2)
        eps = torch.randn(points, 2, generator=source)
        values.append(nll(network, x, draw_logsnr(points, source), eps).mean())
    return torch.stack(values)
