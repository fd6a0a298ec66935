"""Wang et al. (2023), InfoDiffusion, in one file: a diffusion model with a low-dimensional code, on 8 x 8 digits.

`python -m infodiffusion.plain`: training, MMD, a probe of the code, reconstructions; about 45 seconds on one core. Fast
path: `objective.py`, `infolab.sample`; the test that both agree: tests/infodiffusion/test_infodiffusion_plain.py.
"""

import functools
import itertools
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

T, BETA_1, BETA_T = 1000, 1e-5, 1e-2  # steps 0 .. T - 1, betas on a line
CHANNELS, MULT, BLOCKS, A_DIM = 16, (1, 2), 1, 16  # the paper: 32 or 64, (1, 2, 2, 2), 2, 32 or 256
BATCH, LR, WEIGHT_DECAY, DROPOUT, MMD_WEIGHT = 64, 1e-3, 1e-5, 0.1, 0.1  # the paper: LR 1e-4 to 2e-4, then a cosine
EPOCHS, TRAIN, SHOWN = 20, 1437, 128  # the paper: 50, of CelebA; digits to train on, and test digits reconstructed
DDIM_STEPS, SEED = 50, 0  # the paper: 1,000


_conv = functools.partial(nn.Conv2d, kernel_size=3, padding=1)


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(max(g for g in range(1, 33) if channels % g == 0), channels)


class Attention(nn.Module):
    """One head of attention between all positions, added to its input x (n, channels, height, width)."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm, self.qkv = _norm(channels), nn.Conv2d(channels, 3 * channels, 1)
        self.proj = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Features of the shape of x."""
        q, k, v = self.qkv(self.norm(x)).flatten(2).chunk(3, dim=1)
        weight = torch.softmax(torch.bmm(q.transpose(1, 2), k) / math.sqrt(q.shape[1]), dim=-1)
        return x + self.proj(torch.bmm(v, weight.transpose(1, 2)).view_as(x))


class Block(nn.Module):
    """GN(h)(1 + scale_t) + shift_t, then h (1 + scale_a) + shift_a, of time and code; emb 0: an encoder's, neither."""

    def __init__(self, channels: int, out: int, emb: int, attention: bool):
        super().__init__()
        self.first = nn.Sequential(_norm(channels), nn.SiLU(), _conv(channels, out))
        self.time = nn.Sequential(nn.SiLU(), nn.Linear(emb, 2 * out)) if emb else None
        self.norm, self.second = _norm(out), nn.Sequential(nn.SiLU(), nn.Dropout(DROPOUT), _conv(out, out))
        self.third = nn.Sequential(_norm(out), nn.SiLU(), nn.Dropout(DROPOUT), _conv(out, out))
        self.skip = nn.Conv2d(channels, out, 1) if channels != out else nn.Identity()
        self.code = nn.Sequential(nn.SiLU(), nn.Linear(emb, 2 * out)) if emb else None
        self.attention = Attention(out) if attention else nn.Identity()

    def forward(self, x: Tensor, temb: Tensor | None, aemb: Tensor | None) -> Tensor:
        """Features (n, out, height, width) of x (n, channels, height, width), embeddings (n, emb) of time and code."""
        h = self.norm(self.first(x))
        for layer, embedding in ((self.time, temb), (self.code, aemb)):
            if layer is not None:
                scale, shift = layer(embedding)[:, :, None, None].chunk(2, dim=1)
                h = h * (1 + scale) + shift
        return self.attention(self.third(self.second(h)) + self.skip(x))


class UNet(nn.Module):
    """eps_hat(x_t, t, a) of grey images, given time and code (a_dim numbers); a_dim 0: neither, an encoder's."""

    def __init__(self, channels: int, mult: Sequence[int], blocks: int, a_dim: int):
        super().__init__()
        emb, self.channels, attended = 4 * channels if a_dim else 0, channels, min(2, len(mult) - 1)
        if a_dim:
            self.time = nn.Sequential(nn.Linear(channels, emb), nn.SiLU(), nn.Linear(emb, emb))
            self.fc_a = nn.Linear(a_dim, emb)
        self.layers, skips, width = nn.ModuleList([_conv(1, channels)]), [channels], channels
        for level, factor in enumerate(mult):
            for _ in range(blocks):
                self.layers.append(Block(width, factor * channels, emb, level == attended))
                width = factor * channels
                skips.append(width)
            if level < len(mult) - 1:
                self.layers.append(_conv(width, width, stride=2))
                skips.append(width)
        self.layers += [Block(width, width, emb, True), Block(width, width, emb, False)]
        self.down, self.up = len(skips), len(self.layers)  # numbers of the first layers that are not down, that are up
        for level in reversed(range(len(mult))):
            for _ in range(blocks + 1):
                self.layers.append(Block(width + skips.pop(), mult[level] * channels, emb, level == attended))
                width = mult[level] * channels
            if level:
                self.layers.append(_conv(width, width))
        self.tail = nn.Sequential(_norm(width), nn.SiLU(), _conv(width, 1))

    def forward(self, x: Tensor, t: Tensor | None = None, a: Tensor | None = None) -> Tensor:
        """(n, 1, side, side) for images x of that shape, steps t (n,) and codes a (n, a_dim)."""
        temb, aemb, h, skips = None, None, x, list[Tensor]()
        if t is not None:
            angle = t[:, None] * torch.exp(-math.log(10_000) * torch.arange(0, self.channels, 2) / self.channels)
            temb, aemb = self.time(torch.cat([torch.cos(angle), torch.sin(angle)], dim=1)), self.fc_a(a)
        for number, layer in enumerate(self.layers):
            block = isinstance(layer, Block)
            if number >= self.up:
                h = torch.cat([h, skips.pop()], dim=1) if block else F.interpolate(h, scale_factor=2.0)
            h = layer(h, temb, aemb) if block else layer(h)
            if number < self.down:
                skips.append(h)
        return self.tail(h)


class InfoDiff(nn.Module):
    """U-Net eps_hat, encoder to the code a (n, a_dim), and abar_t = prod_(s <= t) (1 - beta_s), (steps,)."""

    def __init__(self, channels: int, mult: Sequence[int], blocks: int, a_dim: int, side: int, steps: int = T):
        super().__init__()
        self.backbone, self.a_dim = UNet(channels, mult, blocks, a_dim), a_dim
        self.encoder = nn.Sequential(UNet(channels, mult, blocks, 0), nn.Flatten(), nn.Linear(side * side, a_dim))
        self.betas = torch.linspace(BETA_1, BETA_T, steps)
        self.abars = torch.cumprod(1 - self.betas.double(), 0).float()

    def loss(self, x: Tensor, t: Tensor, eps: Tensor, prior: Tensor) -> Tensor:
        """Mean (eps - eps_hat)^2 + |x0_hat - x|^2 / T + weight MMD^2(prior, a), x0_hat from the least noised image."""
        abar, a = self.abars[t][:, None, None, None], self.encoder(x)
        out = self.backbone(torch.sqrt(abar) * x + torch.sqrt(1 - abar) * eps, t, a)
        errors = (out - eps).square().flatten(1).mean(1)
        # |x0_hat - x|^2 is beta_1/(1 - beta_1) |eps - eps_hat|^2 at step 0, where 1/T of the images are drawn.
        reconstruction = (errors * (t == 0)).mean() * self.betas[0] / (1 - self.betas[0])
        return errors.mean() + reconstruction + MMD_WEIGHT * mmd(prior, a)


def mmd(x: Tensor, y: Tensor) -> Tensor:
    """MMD^2 of two samples (n, d), V-statistic, kernel exp(-|x - y|^2 / d^2)."""
    xx, yy, xy = (torch.exp(-(p[:, None] - q).square().mean(2) / len(p[0])).mean() for p, q in ((x, x), (y, y), (x, y)))
    return xx + yy - 2 * xy


def train_step(model: InfoDiff, optimizer: torch.optim.Optimizer, x: Tensor, source: torch.Generator) -> float:
    """One optimiser step on images x (n, 1, side, side) in [-1, 1], prior N(0, I); returns the loss."""
    t, eps = torch.randint(len(model.betas), (len(x),), generator=source), torch.randn(x.shape, generator=source)
    loss = model.loss(x, t, eps, torch.randn(len(x), model.a_dim, generator=source))
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return loss.item()


@torch.no_grad()
def ddim(model: InfoDiff, x: Tensor, a: Tensor, path: Sequence[int], eta: float, source: torch.Generator) -> Tensor:
    """DDIM (Song, Meng, Ermon 2021, eq. 12) along steps, -1 the data: [..., -1] samples, [-1, ...] inverts (eta 0)."""
    for t, to in itertools.pairwise(path):
        A, B = (model.abars[step] if step >= 0 else torch.ones(()) for step in (t, to))
        out = model.backbone(x, torch.full((len(x),), t if t >= 0 else to), a)
        sigma = eta * torch.sqrt((1 - B) / (1 - A) * (1 - A / B)) if eta else torch.zeros(())
        x0_hat = (x - torch.sqrt(1 - A) * out) / torch.sqrt(A)
        x = torch.sqrt(B) * x0_hat + torch.sqrt(1 - B - sigma**2) * out + sigma * torch.randn(x.shape, generator=source)
    return x


def main() -> dict[str, tuple[float, float]]:
    """Print and return what the code says of the digit, its MMD^2 to the prior, and errors of reconstructions."""
    source, digits, values = torch.Generator().manual_seed(SEED), load_digits(), {}
    order = torch.randperm(len(digits.data), generator=source)
    x, y = torch.tensor(digits.images / 8 - 1, dtype=torch.float32)[order, None], digits.target[order.numpy()]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)  # of initial weights and dropout
        model = InfoDiff(CHANNELS, MULT, BLOCKS, A_DIM, x.shape[-1])
        optimizer = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=WEIGHT_DECAY)
        for epochs in (0, EPOCHS):
            for batch in (rows for _ in range(epochs) for rows in torch.randperm(TRAIN, generator=source).split(BATCH)):
                train_step(model.train(), optimizer, x[batch], source)
            a = model.eval().encoder(x).detach()
            probe = LogisticRegression(max_iter=2000).fit(a[:TRAIN], y[:TRAIN])
            read = torch.tensor(probe.predict(a[TRAIN:]) == y[TRAIN:])
            distances = [mmd(torch.randn(part.shape, generator=source), part) for part in a[TRAIN:].split(BATCH)]
            values[f"test digits read off the code, epoch {epochs}"] = mean_and_se(read.float())
            values[f"MMD^2 of {BATCH} test codes to N(0, I), epoch {epochs}"] = mean_and_se(torch.stack(distances))
    shown, a, path = x[-SHOWN:], a[-SHOWN:], [round(T * k / DDIM_STEPS) - 1 for k in range(DDIM_STEPS + 1)]
    x_T, noise = ddim(model, shown, a, path, 0.0, source), torch.randn(shown.shape, generator=source)
    starts = {"own code and x_T": (x_T, a), "own code": (noise, a), "another's code": (noise, a.roll(1, 0))}
    for name, (start, code) in starts.items():
        errors = (ddim(model, start, code, path[::-1], 0.0, source) - shown).square()
        values[f"squared error a pixel, from {name}"] = mean_and_se(errors.flatten(1).mean(1))
    print(f"Digits in [-1, 1], code of {A_DIM} numbers, DDIM in {DDIM_STEPS} steps, +- one standard error")
    for name, (value, se) in values.items():
        print(f"  {name:46} {value:.4f} +- {se:.4f}")
    print("The paper: codes stay near the prior and tell the kind; with x_T they give the image back.")
    return values


def mean_and_se(values: Tensor) -> tuple[float, float]:
    """Mean and standard error of values (n,)."""
    return float(values.mean()), float(values.std()) / math.sqrt(len(values))


if __name__ == "__main__":
    main()
