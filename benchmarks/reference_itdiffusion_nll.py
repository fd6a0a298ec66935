"""The test NLL of images as in the public code of Kong et al. (2023): three network passes, each with noise of its own.

For each batch and each random log-SNR the raw, the softly rounded and the dequantised errors are measured by a call of
the network each; `itdiffusion.plain` has the formulas.
"""

import torch
from torch import Tensor

from itdiffusion.plain import EpsHat, errors

STEP = 2 / 255
"""Distance of 256 grey levels on [-1, 1]."""
BATCH = 64
VARIANTS = ("raw", "rounded", "dequantized")


@torch.no_grad()
def measure(eps_hat: EpsHat, x: Tensor, logsnr: Tensor, source: torch.Generator) -> dict[str, Tensor]:
    """Mean |eps - eps_hat|^2 over all images (n, c, h, w) at each log-SNR (J,), by variant."""
    sums = {variant: torch.zeros(len(logsnr)) for variant in VARIANTS}
    for batch in x.split(BATCH):
        dequantized = batch + STEP * (torch.rand(batch.shape, generator=source) - 0.5)
        for j, a in enumerate(logsnr):
            for variant in VARIANTS:
                data = dequantized if variant == "dequantized" else batch
                eps = torch.randn(batch.shape, generator=source)
                sums[variant][j] += errors(eps_hat, data, eps, a, variant).sum()
    return {variant: total / len(x) for variant, total in sums.items()}
