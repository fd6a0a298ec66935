"""Plain reference of the test NLL of Kong et al. (2023): three network passes for the three variants, random log-SNRs.

As in the public code: for each batch and each log-SNR the raw (clamped), the softly rounded and the dequantised errors
are measured by a call of the network each, with noise of their own; soft rounding writes out all bins of all values.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Denoiser = Callable[[Tensor, Tensor], Tensor]
LEVELS = 256
STEP = 2 / (LEVELS - 1)
BATCH = 64
VARIANTS = ("raw", "rounded", "dequantized")


@dataclass(frozen=True)
class Errors:
    """Mean |eps - eps_hat|^2 over images at each log-SNR (J,), by variant, and the weights of the log-SNRs (J,)."""

    logsnr: Tensor
    weights: Tensor
    by_variant: dict[str, Tensor]


def sample_logsnr(
    points: int, loc: float, scale: float, source: torch.Generator, clip: float = 4.0
) -> tuple[Tensor, Tensor]:
    """Random log-SNRs of the cut logistic law and their weights 1/density."""
    edge = torch.sigmoid(torch.tensor(-clip))
    p = edge + (1 - 2 * edge) * torch.rand(points, generator=source)
    logsnr = loc + scale * torch.logit(p)
    return logsnr, scale * math.tanh(clip / 2) / (p * (1 - p))


def soft_round(x_hat: Tensor, logsnr: Tensor) -> Tensor:
    """sum_b b softmax_b(-(x_hat - b)^2 (1 + gamma) / 2), all bins of all values at once."""
    bins = torch.linspace(-1, 1, LEVELS).to(x_hat)
    logits = -0.5 * (1 + torch.exp(logsnr)) * (x_hat[..., None] - bins) ** 2
    return torch.softmax(logits, -1) @ bins


def errors(denoiser: Denoiser, x: Tensor, eps: Tensor, logsnr: Tensor, variant: str) -> Tensor:
    """|eps - eps_hat|^2 of each image (n,) at one log-SNR, with one call of the network.

    Args:
        denoiser: z (n, ...), logsnr (n,) -> eps_hat.
        x: images on [-1, 1] (n, c, h, w), dequantised already where the variant says so.
        eps: noise like x.
        logsnr: ().
        variant: one of `VARIANTS`.
    """
    alpha, sigma = torch.sigmoid(logsnr).sqrt(), torch.sigmoid(-logsnr).sqrt()
    z = alpha * x + sigma * eps
    eps_hat = denoiser(z, logsnr.expand(len(x)))
    if variant == "dequantized":
        return (eps - eps_hat).square().flatten(1).sum(1)
    x_hat = ((z - sigma * eps_hat) / alpha).clamp(-1, 1)
    if variant == "rounded":
        x_hat = soft_round(x_hat, logsnr)
    return torch.exp(logsnr) * (x - x_hat).square().flatten(1).sum(1)


@torch.no_grad()
def measure(denoiser: Denoiser, x: Tensor, logsnr: Tensor, weights: Tensor, source: torch.Generator) -> Errors:
    """All three variants on all images (n, c, h, w) at all log-SNRs (J,)."""
    sums = {variant: torch.zeros(len(logsnr)) for variant in VARIANTS}
    for batch in x.split(BATCH):
        dequantized = batch + STEP * (torch.rand(batch.shape, generator=source) - 0.5)
        for j, a in enumerate(logsnr):
            for variant in VARIANTS:
                data = dequantized if variant == "dequantized" else batch
                eps = torch.randn(batch.shape, generator=source)
                sums[variant][j] += errors(denoiser, data, eps, a, variant).sum()
    return Errors(logsnr, weights, {variant: total / len(x) for variant, total in sums.items()})


def discrete_nll(found: Errors, eigenvalues: Tensor, low: float) -> float:
    """1/2 Int min(raw, rounded) over the range and the left tail, in nats."""
    integrand = torch.minimum(found.by_variant["raw"], found.by_variant["rounded"]).double()
    left = 0.5 * torch.log1p(math.exp(low) * eigenvalues).sum()
    return float(0.5 * (found.weights * integrand).mean() + left)


def dequantized_nll(found: Errors, eigenvalues: Tensor) -> float:
    """h_G - 1/2 Int (mmse_G - mse) of the dequantised images, less d log D, in nats; eigenvalues of theirs (d,)."""
    logs = eigenvalues.log()
    gaussian = torch.sigmoid(found.logsnr[:, None] + logs).sum(1)
    entropy = len(logs) / 2 * math.log(2 * math.pi * math.e) + logs.sum() / 2
    gap = gaussian - found.by_variant["dequantized"].double()
    return float(entropy - 0.5 * (found.weights * gap).mean() - len(logs) * math.log(STEP))
