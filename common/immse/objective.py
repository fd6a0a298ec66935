"""Training on the NLL itself: the importance-weighted denoising error and what turns it into nats."""

import torch
from torch import Tensor

from common.immse.grid import LogsnrRange
from common.immse.measure import Denoiser
from common.immse.reference import GaussianReference
from common.schedules import expand, logsnr_to_alpha_sigma


def nll_loss(
    denoiser: Denoiser, x: Tensor, generator: torch.Generator, logsnr_range: LogsnrRange, *, stratified: bool = True
) -> Tensor:
    """1/2 weight |eps - eps_hat|^2 of one log-SNR per example, (n,), differentiable in the denoiser's parameters.

    Its mean is an unbiased estimate of 1/2 Int E|eps - eps_hat|^2 da over the range; with `nll_offset` added it is the
    NLL in nats (Kong et al. 2023, eq. 9 and app. B).

    Args:
        denoiser: z (n, ...), logsnr (n,) -> eps_hat.
        x: examples (n, ...).
        generator: source of log-SNRs and noise, on the CPU.
        logsnr_range: logistic law of the log-SNR.
        stratified: one log-SNR in each n-th of the law, in random order, rather than independent ones.
    """
    n = len(x)
    u = torch.rand(n, generator=generator, dtype=torch.float64)
    if stratified:
        u = (torch.randperm(n, generator=generator) + u) / n
    logsnr, weight = logsnr_range.sample(u)
    eps = torch.randn(x.shape, generator=generator).to(x)
    alpha, sigma = (expand(v.to(x), x) for v in logsnr_to_alpha_sigma(logsnr))
    eps_hat = denoiser(alpha * x + sigma * eps, logsnr.to(x))
    return 0.5 * weight.to(x) * (eps - eps_hat).square().flatten(1).sum(1)


def nll_offset(reference: GaussianReference, logsnr_range: LogsnrRange) -> float:
    """h_G - 1/2 Int mmse_G(a) da over the range: what the mean of `nll_loss` lacks to be the NLL in nats."""
    return reference.entropy_nats - reference.mmse_integral(logsnr_range.low, logsnr_range.high) / 2
