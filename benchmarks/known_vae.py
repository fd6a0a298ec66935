"""Cases of the VAEs: probabilistic PCA, whose log p(x) and ELBO are closed forms, and normalised decoders."""

import math
from functools import partial

import torch
from torch import Tensor

from infolab.calibrate import Case, Outcome, from_values
from infolab.noise import generator
from vae.logpx import GaussianProposal, LogPx, Points, importance_log_px
from vae.models import MixLogistics

D, LATENT, SIGMA, IMAGES, N_Z = 20, 4, 0.5, 64, 256


class LinearVAE:
    """x = W z + b + SIGMA eps with z ~ N(0, I), so p(x) = N(b, W W^T + SIGMA^2 I), and 64 draws of x, float64.

    Its encoder is wrong on purpose: the posterior's mean moved by 0.3 standard deviations, each 1.3 times too wide, and
    no covariances.
    """

    def __init__(self, seed: int):
        source = generator(seed, "linear vae")
        self.W = torch.randn(D, LATENT, generator=source, dtype=torch.float64)
        self.b = torch.randn(D, generator=source, dtype=torch.float64)
        z = torch.randn(IMAGES, LATENT, generator=source, dtype=torch.float64)
        noise = torch.randn(IMAGES, D, generator=source, dtype=torch.float64)
        self.x = z @ self.W.T + self.b + SIGMA * noise
        precision = torch.eye(LATENT, dtype=torch.float64) + self.W.T @ self.W / SIGMA**2
        covariance = torch.linalg.inv(precision)
        scale = 1.3 * covariance.diagonal().sqrt()
        mean = (self.x - self.b) @ self.W @ covariance / SIGMA**2 + 0.3 * scale
        self.encoder = GaussianProposal(mean, scale.expand(IMAGES, LATENT))

    def log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x | z), (n, N)."""
        residual = x[:, None] - z @ self.W.T - self.b
        return -0.5 * (residual.square().sum(-1) / SIGMA**2 + D * math.log(2 * math.pi * SIGMA**2))

    def log_px(self) -> Tensor:
        """log N(x; b, W W^T + SIGMA^2 I), (n,)."""
        covariance = self.W @ self.W.T + SIGMA**2 * torch.eye(D, dtype=torch.float64)
        return torch.distributions.MultivariateNormal(self.b, covariance).log_prob(self.x)

    def elbo(self) -> Tensor:
        """E_q[log p(x | z)] - KL(q || N(0, I)), (n,)."""
        mu, variance = self.encoder.mu, self.encoder.scale.square()
        residual = self.x - mu @ self.W.T - self.b
        spread = residual.square().sum(1) + (variance * self.W.square().sum(0)).sum(1)
        kl = 0.5 * (variance + mu.square() - 1 - variance.log()).sum(1)
        return -0.5 * (spread / SIGMA**2 + D * math.log(2 * math.pi * SIGMA**2)) - kl

    def estimates(self, kind: str, count: int) -> list[LogPx]:
        """`count` independent estimates of log p(x)."""
        points = [Points(kind, N_Z, LATENT, seed=replicate)(0, IMAGES).double() for replicate in range(count)]
        return [importance_log_px(self.x, self.encoder, eps, self.log_likelihood) for eps in points]


def _log_px(kind: str, size: int, seed: int) -> Outcome:
    model = LinearVAE(seed)
    found = model.estimates(kind, 10 * size)
    means = torch.stack([one.value.mean() for one in found])
    # log p_hat is below log p by half the relative variance of p_hat, to first order; twice that bounds it here.
    bias = float(torch.stack([one.se.square().mean() for one in found]).mean())
    return from_values(float(model.log_px().mean()), means, evaluations=N_Z, bias_bound=bias)


def _elbo(size: int, seed: int) -> Outcome:
    model = LinearVAE(seed)
    means = torch.stack([one.elbo.mean() for one in model.estimates("random", 10 * size)])
    return from_values(float(model.elbo().mean()), means, evaluations=N_Z)


def _logistic_total(levels: int, size: int, seed: int) -> Outcome:
    likelihood = MixLogistics(levels)
    source = generator(seed, "logistics")
    count = 1000 * size
    mean, log_scale = 2 * torch.randn(count, generator=source), 3 * torch.randn(count, generator=source) - 3
    x = likelihood.transform.forward(torch.arange(levels, dtype=torch.uint8))[:, None]
    total = likelihood.log_mass(x, mean[None], log_scale[None]).exp().sum(0).double()
    # The worst of them: float32 rounding is all that may be left.
    return Outcome(0.0, float(total.log().abs().max()), 0.0, count, bias_bound=1e-5)


CASES = [
    *(
        Case("IW log p(x)", f"probabilistic PCA, {kind} points", D, partial(_log_px, kind))
        for kind in ("random", "sobol")
    ),
    Case("ELBO of a VAE", "probabilistic PCA, a wrong encoder", D, _elbo),
    *(
        Case("discretised logistic", f"log of the sum over {levels} levels", 1, partial(_logistic_total, levels))
        for levels in (256, 17)
    ),
]
