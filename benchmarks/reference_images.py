"""Plain reference of the image study of Chen, Zhu, Shkurti (2025) and Huang, Lim, Courville (2021): U-Net and loop.

The U-Net of Ho et al. (2020) at the published MNIST layout and the training loop of the public image scripts, in the
parts that one would reach for: nn.Conv2d, nn.GroupNorm, a DataLoader over images that are scaled one by one, Adam.
"""

import math
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset

from diffusion.plain import beta, marginal

LOGIT_A = 0.05


class ResidualBlock(nn.Module):
    """x -> skip(x) + conv(silu(norm(conv(silu(norm(x))) + dense(silu(emb))))).

    Args:
        channels: input channels.
        out_channels: output channels; where they differ the skip is a 1x1 convolution.
        emb_channels: length of the embedding of time.
        groups: groups of the group norms.
    """

    def __init__(self, channels: int, out_channels: int, emb_channels: int, groups: int):
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, channels)
        self.conv1 = nn.Conv2d(channels, out_channels, 3, padding=1)
        self.time = nn.Linear(emb_channels, out_channels)
        self.norm2 = nn.GroupNorm(groups, out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.skip = nn.Identity() if channels == out_channels else nn.Conv2d(channels, out_channels, 1)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        """Features (n, out_channels, height, width) of x (n, channels, height, width) and emb (n, emb_channels)."""
        h = self.conv1(F.silu(self.norm1(x))) + self.time(F.silu(emb))[:, :, None, None]
        return self.skip(x) + self.conv2(F.silu(self.norm2(h)))


class SelfAttention(nn.Module):
    """One head of attention between all positions, added to its input.

    Args:
        channels: number of channels.
        groups: groups of the group norm.
    """

    def __init__(self, channels: int, groups: int):
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.proj = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Features of the shape of x (n, channels, height, width)."""
        q, k, v = self.qkv(self.norm(x)).flatten(2).chunk(3, dim=1)
        weight = torch.softmax(torch.bmm(q.transpose(1, 2), k) / math.sqrt(q.shape[1]), dim=-1)
        return x + self.proj(torch.bmm(v, weight.transpose(1, 2)).view_as(x))


class PlainUNet(nn.Module):
    """The U-Net a(x, t) = g s for grey images whose size halves evenly; attention in the bottleneck alone.

    Parameters are registered in the order of `infolab.nn.unet.UNet`, so that weights can be copied one by one.

    Args:
        width: channels of the first level (32 as published for MNIST).
        multipliers: level l has multipliers[l] * width channels (1, 2, 2 as published).
        blocks: residual blocks a level on the way down, one more on the way up (2 as published).
        groups: groups of every group norm (32 as published).
    """

    def __init__(self, width: int, multipliers: tuple[int, ...], blocks: int, groups: int):
        super().__init__()
        self.width = width
        emb = 4 * width
        self.time = nn.Sequential(nn.Linear(width, emb), nn.SiLU(), nn.Linear(emb, emb))
        self.down = nn.ModuleList([nn.Conv2d(1, width, 3, padding=1)])
        channels, skips = width, [width]
        for level, multiplier in enumerate(multipliers):
            for _ in range(blocks):
                self.down.append(ResidualBlock(channels, multiplier * width, emb, groups))
                channels = multiplier * width
                skips.append(channels)
            if level < len(multipliers) - 1:
                self.down.append(nn.Conv2d(channels, channels, 3, stride=2, padding=1))
                skips.append(channels)
        self.before = ResidualBlock(channels, channels, emb, groups)
        self.attention = SelfAttention(channels, groups)
        self.after = ResidualBlock(channels, channels, emb, groups)
        self.up = nn.ModuleList()
        for level in reversed(range(len(multipliers))):
            for _ in range(blocks + 1):
                self.up.append(ResidualBlock(channels + skips.pop(), multipliers[level] * width, emb, groups))
                channels = multipliers[level] * width
            if level:
                self.up.append(nn.Conv2d(channels, channels, 3, padding=1))
        self.norm = nn.GroupNorm(groups, channels)
        self.last = nn.Conv2d(channels, 1, 3, padding=1)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """a (n, 1, height, width) of images x (n, 1, height, width) at times t (n,)."""
        half = self.width // 2
        angle = 1000 * t[:, None] * torch.exp(-math.log(10_000) * torch.arange(half, dtype=t.dtype) / half)
        emb = self.time(torch.cat([angle.cos(), angle.sin()], dim=1))
        h, skips = x, []
        for layer in self.down:
            h = layer(h, emb) if isinstance(layer, ResidualBlock) else layer(h)
            skips.append(h)
        h = self.after(self.attention(self.before(h, emb)), emb)
        for layer in self.up:
            if isinstance(layer, ResidualBlock):
                h = layer(torch.cat([h, skips.pop()], dim=1), emb)
            else:
                h = layer(F.interpolate(h, scale_factor=2.0))
        return self.last(F.silu(self.norm(h)))


class Images(Dataset):
    """Grey images uint8 (n, 1, height, width), each scaled to [0, 1] when it is asked for, as torchvision does."""

    def __init__(self, images: Tensor):
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return self.images[index].float() / 255


def to_logits(x: Tensor, u: Tensor) -> Tensor:
    """Logits of dequantised images: x in [0, 1] of 256 levels, u uniform noise of the same shape."""
    q = LOGIT_A + (1 - 2 * LOGIT_A) * (x * 255 + u) / 256
    return torch.log(q) - torch.log(1 - q)


def loss(network: nn.Module, x0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
    """Mean over the batch of 1/2 |sigma_t s(x_t, t) + eps|^2, s = a / g, for logits x0 (n, 1, h, w) at times t (n,)."""
    alpha, sigma = (item[:, None, None, None] for item in marginal(t))
    s = network(alpha * x0 + sigma * eps, t) / beta(t).sqrt()[:, None, None, None]
    return 0.5 * (sigma * s + eps).square().flatten(1).sum(1).mean()


def train(
    network: nn.Module, optimizer: torch.optim.Optimizer, batches: Iterable[Tensor], T: float, source: torch.Generator
) -> list[float]:
    """One epoch: a step of `optimizer` on each batch of images in [0, 1]; returns the losses before each step.

    Args:
        network: a(x, t) = g s.
        optimizer: over its parameters.
        batches: images (n, 1, height, width); iterating over a DataLoader starts its workers.
        T: diffusion time.
        source: of all noise.
    """
    losses = []
    for x in batches:
        x0 = to_logits(x, torch.rand(x.shape, generator=source))
        t = T * torch.rand(len(x), generator=source)
        value = loss(network, x0, t, torch.randn(x.shape, generator=source))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        losses.append(value.item())
    return losses
