"""Plain reference of the auxiliary-variable diffusion model of Wang et al. (2023): U-Nets, training step, DDIM.

The layout of the public code (three convolutions a block, attention at the third level, an encoder that is a U-Net to
one channel) in the parts that one would reach for, with its sampling loop, in which x0_hat takes abar of the very step
that the network was asked at.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

T, BETA_1, BETA_T = 1000, 1e-5, 1e-2


def groups(channels: int) -> int:
    """Groups of a group norm: the largest divisor of the channels up to 32."""
    return max(g for g in range(1, 33) if channels % g == 0)


class Block(nn.Module):
    """Convolution, then GN(h)(1 + scale_t) + shift_t, then h (1 + scale_a) + shift_a, two more convolutions, the skip.

    Args:
        channels: input channels.
        out_channels: output channels.
        emb: length of the embeddings of time and code; 0: an encoder's block, which has neither.
        attention: attention afterwards.
    """

    def __init__(self, channels: int, out_channels: int, emb: int, attention: bool):
        super().__init__()
        self.block1 = nn.Sequential(
            nn.GroupNorm(groups(channels), channels), nn.SiLU(), nn.Conv2d(channels, out_channels, 3, padding=1)
        )
        self.time = nn.Sequential(nn.SiLU(), nn.Linear(emb, 2 * out_channels)) if emb else None
        self.norm = nn.GroupNorm(groups(out_channels), out_channels)
        self.rest = nn.Sequential(nn.SiLU(), nn.Dropout(0.1), nn.Conv2d(out_channels, out_channels, 3, padding=1))
        self.block3 = nn.Sequential(
            nn.GroupNorm(groups(out_channels), out_channels),
            nn.SiLU(),
            nn.Dropout(0.1),
            nn.Conv2d(out_channels, out_channels, 3, padding=1),
        )
        self.skip = nn.Conv2d(channels, out_channels, 1) if channels != out_channels else nn.Identity()
        self.code = nn.Sequential(nn.SiLU(), nn.Linear(emb, 2 * out_channels)) if emb else None
        self.attention = Attention(out_channels) if attention else nn.Identity()

    def forward(self, x: Tensor, temb: Tensor | None, aemb: Tensor | None) -> Tensor:
        """Features (n, out_channels, height, width)."""
        h = self.norm(self.block1(x))
        if self.time is not None and self.code is not None:
            scale, shift = self.time(temb)[:, :, None, None].chunk(2, dim=1)
            h = h * (1 + scale) + shift
            scale, shift = self.code(aemb)[:, :, None, None].chunk(2, dim=1)
            h = h * (1 + scale) + shift
        h = self.block3(self.rest(h)) + self.skip(x)
        return self.attention(h)


class Attention(nn.Module):
    """One head of attention between all positions, added to its input.

    Args:
        channels: number of channels.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.norm = nn.GroupNorm(groups(channels), channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.proj = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Features of the shape of x."""
        q, k, v = self.qkv(self.norm(x)).flatten(2).chunk(3, dim=1)
        weight = torch.softmax(torch.bmm(q.transpose(1, 2), k) / math.sqrt(q.shape[1]), dim=-1)
        return x + self.proj(torch.bmm(v, weight.transpose(1, 2)).view_as(x))


class Up(nn.Module):
    """Twice the height and width, then a convolution.

    Args:
        channels: number of channels.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, 2 height, 2 width)."""
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class PlainUNet(nn.Module):
    """The U-Net, told time and code, or neither.

    Parameters are registered in the order of `infolab.nn.unet.UNet`, so that weights can be copied one by one.

    Args:
        channels: C of the first level.
        mult: multipliers of the levels.
        blocks: residual blocks a level.
        a_dim: length of the code; 0: an encoder, to one channel.
    """

    def __init__(self, channels: int, mult: tuple[int, ...], blocks: int, a_dim: int):
        super().__init__()
        emb = 4 * channels if a_dim else 0
        self.channels, attended = channels, min(2, len(mult) - 1)
        if a_dim:
            self.time_embedding = nn.Sequential(nn.Linear(channels, emb), nn.SiLU(), nn.Linear(emb, emb))
            self.fc_a = nn.Linear(a_dim, emb)
            half = channels // 2
            angle = torch.arange(T)[:, None] * torch.exp(-math.log(10_000) * torch.arange(half) / half)
            self.table: Tensor
            self.register_buffer("table", torch.cat([torch.cos(angle), torch.sin(angle)], dim=1))
        self.head = nn.Conv2d(1, channels, 3, padding=1)
        self.down, skips, width = nn.ModuleList(), [channels], channels
        for level, factor in enumerate(mult):
            for _ in range(blocks):
                self.down.append(Block(width, factor * channels, emb, level == attended))
                width = factor * channels
                skips.append(width)
            if level < len(mult) - 1:
                self.down.append(nn.Conv2d(width, width, 3, stride=2, padding=1))
                skips.append(width)
        self.middle = nn.ModuleList([Block(width, width, emb, True), Block(width, width, emb, False)])
        self.up = nn.ModuleList()
        for level in reversed(range(len(mult))):
            for _ in range(blocks + 1):
                self.up.append(Block(width + skips.pop(), mult[level] * channels, emb, level == attended))
                width = mult[level] * channels
            if level:
                self.up.append(Up(width))
        self.tail = nn.Sequential(nn.GroupNorm(groups(width), width), nn.SiLU(), nn.Conv2d(width, 1, 3, padding=1))

    def forward(self, x: Tensor, t: Tensor | None = None, a: Tensor | None = None) -> Tensor:
        """(n, 1, side, side) for images x, steps t (n,) and codes a (n, a_dim)."""
        temb = None if t is None else self.time_embedding(self.table[t])
        aemb = None if a is None else self.fc_a(a)
        h = self.head(x)
        hs = [h]
        for layer in self.down:
            h = layer(h, temb, aemb) if isinstance(layer, Block) else layer(h)
            hs.append(h)
        for layer in self.middle:
            h = layer(h, temb, aemb)
        for layer in self.up:
            h = layer(torch.cat([h, hs.pop()], dim=1), temb, aemb) if isinstance(layer, Block) else layer(h)
        return self.tail(h)


class PlainEncoder(nn.Module):
    """A U-Net to one channel, flattened, linear to a, then to mu and log variance.

    Args:
        channels, mult, blocks: of the U-Net.
        a_dim: length of the code.
        side: of the images.
    """

    def __init__(self, channels: int, mult: tuple[int, ...], blocks: int, a_dim: int, side: int):
        super().__init__()
        self.network = PlainUNet(channels, mult, blocks, 0)
        self.fc_a = nn.Linear(side * side, a_dim)
        self.fc_mu = nn.Linear(a_dim, a_dim)
        self.fc_var = nn.Linear(a_dim, a_dim)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """a, mu, log variance (n, a_dim)."""
        a = self.fc_a(self.network(x).flatten(1))
        return a, self.fc_mu(a), self.fc_var(a)


class PlainInfoDiff(nn.Module):
    """Backbone and encoder.

    Args:
        channels, mult, blocks, a_dim, side: sizes.
        steps: diffusion steps.
    """

    def __init__(self, channels: int, mult: tuple[int, ...], blocks: int, a_dim: int, side: int, steps: int = T):
        super().__init__()
        self.steps = steps
        self.backbone = PlainUNet(channels, mult, blocks, a_dim)
        self.encoder = PlainEncoder(channels, mult, blocks, a_dim, side)
        self.betas = torch.linspace(BETA_1, BETA_T, steps)
        self.alpha_bars = torch.cumprod(1 - self.betas.double(), 0).float()

    def loss(self, x: Tensor, idx: Tensor, eps: Tensor, prior: Tensor, mmd_weight: float) -> Tensor:
        """Denoising + reconstruction / T + MMD with the deterministic code, as the public loss is written."""
        abar = self.alpha_bars[idx][:, None, None, None]
        a, _, _ = self.encoder(x)
        out = self.backbone(torch.sqrt(abar) * x + torch.sqrt(1 - abar) * eps, idx, a)
        beta, first = self.betas[0], self.alpha_bars[0]
        x_0 = torch.sqrt(1 / (1 - beta)) * (x - beta / torch.sqrt(1 - first) * out)
        return (out - eps).square().mean() + (x_0 - x).square().mean() / self.steps + mmd_weight * mmd(prior, a)


def kernel(x: Tensor, y: Tensor) -> Tensor:
    """exp(-mean (x - y)^2 / d) of all pairs."""
    return torch.exp(-(x[:, None] - y[None]).square().mean(2) / x.shape[1])


def mmd(x: Tensor, y: Tensor) -> Tensor:
    """The biased MMD^2."""
    return kernel(x, x).mean() + kernel(y, y).mean() - 2 * kernel(x, y).mean()


def train_step(
    model: PlainInfoDiff,
    optimizer: torch.optim.Optimizer,
    x: Tensor,
    mmd_weight: float,
    source: torch.Generator | None = None,
) -> float:
    """One optimiser step on images x (n, 1, side, side) in [-1, 1]; returns the loss."""
    idx = torch.randint(model.steps, (len(x),), generator=source)
    eps = torch.randn(x.shape, generator=source)
    prior = torch.randn(len(x), model.encoder.fc_a.out_features, generator=source)
    loss = model.loss(x, idx, eps, prior, mmd_weight)
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return loss.item()


@torch.no_grad()
def sample(
    model: PlainInfoDiff, x: Tensor, a: Tensor, eta: float, last: int = T, source: torch.Generator | None = None
) -> Tensor:
    """DDIM from noise x with codes a over all steps, or the first `last` of them."""
    abars = model.alpha_bars
    for count, idx in enumerate(reversed(range(model.steps))):
        if count == last:
            break
        out = model.backbone(x, torch.tensor([idx for _ in range(len(x))]), a)
        x_0 = (x - torch.sqrt(1 - abars[idx]) * out) / torch.sqrt(abars[idx])
        if idx == 0:
            return x_0
        before = abars[idx - 1]
        sigma = eta * torch.sqrt((1 - before) / (1 - abars[idx]) * model.betas[idx])
        x = torch.sqrt(before) * x_0 + torch.sqrt(1 - before - sigma**2) * out
        x = x + sigma * torch.randn(x.shape, generator=source)
    return x
