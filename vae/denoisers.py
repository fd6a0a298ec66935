"""Small diffusion models of vectors, several as one batch: a Gaussian's linear denoiser plus a network."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from common.ensemble import EnsembleMLP
from common.immse import GaussianReference, LogsnrRange
from common.schedules import logsnr_to_alpha_sigma
from common.seeds import generator
from common.staging import staged
from vae.objective import Batches

LOGSNR_SCALE = 10.0
"""What log-SNRs are divided by before the network sees them."""

GAUSSIAN = ("mean", "eigenvalues", "eigenvectors")
"""What makes up a Gaussian; in `Denoisers` each stacks the members' own, (k, ...)."""


class Denoisers(nn.Module):
    """k denoisers eps_hat(z, logsnr) of vectors (d,), in the channel z = sqrt(s(a)) x + sqrt(s(-a)) eps.

    In the eigenbasis of the member's own Gaussian N(mu, V diag(l) V^T), eps_hat is that Gaussian's
    sigma z' / (alpha^2 l + sigma^2), z' = V^T (z - alpha mu), plus sqrt(s(a + log l)), the root of its error, times a
    network of z' / sqrt(alpha^2 l + sigma^2): where data looks Gaussian the network has nothing to do.

    Args:
        hidden: widths of the hidden layers.
        seeds: one seed of the initial weights per member (k,).
        references: one Gaussian per member, of full covariance (k,); fitted on what the member is trained on, or
            else the member knows of images that it never saw.
    """

    mean: Tensor
    eigenvalues: Tensor
    eigenvectors: Tensor

    def __init__(self, hidden: Sequence[int], seeds: Sequence[int], references: Sequence[GaussianReference]):
        super().__init__()
        d = references[0].d
        self.mlp = EnsembleMLP((d + 1, *hidden, d), seeds)
        for name in GAUSSIAN:
            own = [torch.as_tensor(getattr(reference, name)).float() for reference in references]
            self.register_buffer(name, torch.stack(own))

    def forward(self, z: Tensor, logsnr: Tensor) -> Tensor:
        """eps_hat (k, n, d) at z (k, n, d) and log-SNRs (k, n)."""
        alpha, sigma = (part[..., None] for part in logsnr_to_alpha_sigma(logsnr))
        along = (z - alpha * self.mean[:, None]) @ self.eigenvectors
        variance = alpha**2 * self.eigenvalues[:, None] + sigma**2
        root = torch.exp(logsigmoid(logsnr[..., None] + self.eigenvalues.log()[:, None]) / 2)
        out = self.mlp(along / variance.sqrt(), logsnr / LOGSNR_SCALE)
        return (along * sigma / variance + root * out) @ self.eigenvectors.mT

    def member(self, place: int) -> Callable[[Tensor, Tensor], Tensor]:
        """One member, (z (n, d), logsnr (n,)) -> eps_hat (n, d), at its present weights."""
        alone = Denoisers.__new__(Denoisers)
        nn.Module.__init__(alone)
        alone.mlp = self.mlp.select([place])
        for name in GAUSSIAN:
            alone.register_buffer(name, getattr(self, name)[place : place + 1])
        return lambda z, logsnr: alone(z[None], logsnr[None].to(z.dtype))[0]


class DenoiserObjective:
    """Loss of one step: 1/2 weight |eps - eps_hat|^2, whose mean is the NLL in nats up to a constant, (k,).

    One log-SNR per image, log-SNRs and noise being functions of (seed, step) (Kong et al. 2023, eq. 9, app. B).

    Args:
        denoisers: the networks.
        training: the images (k, b, d) at rows (k, b), dequantised by noise (k b, d).
        noise: that noise of n images in some step, (n, step) -> (n, d), on the CPU.
        batches: which images each network sees, and eps.
        logsnr_range: law of the log-SNR.
        seed: seed of the log-SNRs.
    """

    def __init__(
        self,
        denoisers: Denoisers,
        training: Callable[[Tensor, Tensor], Tensor],
        noise: Callable[[int, int], Tensor],
        batches: Batches,
        logsnr_range: LogsnrRange,
        seed: int,
    ):
        self.denoisers, self.training, self.noise, self.batches = denoisers, training, noise, batches
        self.range, self.seed = logsnr_range, seed

    def __call__(self, step: int) -> Tensor:
        """The losses (k,)."""
        batch = self.batches(step)
        u = torch.rand(batch.rows.shape, generator=generator(self.seed, "logsnr", step), dtype=torch.float64)
        drawn = (part.float() for part in self.range.sample(u))
        logsnr, weight, shift = staged(batch.eps.device, *drawn, self.noise(batch.rows.numel(), step))
        alpha, sigma = (part[..., None] for part in logsnr_to_alpha_sigma(logsnr))
        z = alpha * self.training(batch.rows, shift) + sigma * batch.eps
        error = (batch.eps - self.denoisers(z, logsnr)).square().sum(-1)
        return (batch.weight * 0.5 * weight * error).sum(1)
