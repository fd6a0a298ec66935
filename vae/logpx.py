"""Importance-weighted log p(x) of a VAE with its effective sample size: a lower bound in expectation.

log p_hat(x) = log (1/N) sum_k w_k, w_k = p(x | z_k) N(z_k; 0, I) / q(z_k | x), z_k ~ q(z | x) (Burda, Grosse and
Salakhutdinov 2016). p_hat itself is unbiased. Weights are summed in float64.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from common.errors import UserError
from common.precision import to_double
from common.seeds import generator

NOISE_BLOCK = 16
"""Images whose noise is drawn together: image i's noise is a function of (seed, i), however many are evaluated."""

LogLikelihood = Callable[[Tensor, Tensor], Tensor]
"""(x (n, ...), z (n, N, L)) -> log p(x | z) (n, N)."""


@dataclass(frozen=True)
class LogPx:
    """The estimate for each image, float64 (n,).

    Attributes:
        value: log p_hat(x), nats.
        elbo: mean of log w_k, nats: the evidence lower bound with the same proposal.
        ess: effective sample size (sum w)^2 / sum w^2, in 1 .. N.
        n_z: N.
    """

    value: Tensor
    elbo: Tensor
    ess: Tensor
    n_z: int

    @property
    def se(self) -> Tensor:
        """Standard error of each value over independent z, sqrt(1/ess - 1/N) to first order (of p_hat / p)."""
        return (1 / self.ess - 1 / self.n_z).clamp(min=0).sqrt()

    @staticmethod
    def join(parts: list["LogPx"]) -> "LogPx":
        """The estimates of several blocks of images as one."""
        values, elbos, sizes = ([getattr(part, name) for part in parts] for name in ("value", "elbo", "ess"))
        return LogPx(torch.cat(values), torch.cat(elbos), torch.cat(sizes), parts[0].n_z)


@dataclass(frozen=True)
class GaussianProposal:
    """q(z | x) = N(mu, C C^T) of n images: mu (n, L), C lower triangular (n, L, L), or its diagonal (n, L)."""

    mu: Tensor
    scale: Tensor

    def sample(self, eps: Tensor) -> Tensor:
        """z = mu + C eps at standard normal eps (n, N, L)."""
        if self.scale.ndim == 2:
            return torch.addcmul(self.mu[:, None], self.scale[:, None], eps)
        return torch.baddbmm(self.mu[:, None], eps, self.scale.mT)

    def log_det(self) -> Tensor:
        """log |C|, (n,)."""
        diagonal = self.scale if self.scale.ndim == 2 else self.scale.diagonal(dim1=-2, dim2=-1)
        return diagonal.log().sum(-1)

    def take(self, rows: slice) -> "GaussianProposal":
        """The proposal of some of the images."""
        return GaussianProposal(self.mu[rows], self.scale[rows])


def importance_log_px(
    x: Tensor, proposal: GaussianProposal, eps: Tensor, log_likelihood: LogLikelihood, block: int = NOISE_BLOCK
) -> LogPx:
    """log p_hat(x) of images x (n, ...) from standard normal eps (n, N, L).

    log w = log p(x | z) + log N(z; 0, I) - log q(z | x) = log p(x | z) - |z|^2 / 2 + |eps|^2 / 2 + log |C|.

    Args:
        x: images as the decoder's likelihood takes them.
        proposal: q(z | x) of the same images.
        eps: noise; its rows are N(0, I), independent or not (shifted Sobol points).
        log_likelihood: the decoder.
        block: images decoded at a time.
    """
    parts = []
    for first in range(0, len(x), block):
        rows = slice(first, first + block)
        part, noise = proposal.take(rows), eps[rows]
        z = part.sample(noise)
        log_w = to_double(log_likelihood(x[rows], z))
        log_w += 0.5 * to_double(noise.square().sum(-1) - z.square().sum(-1)) + to_double(part.log_det())[:, None]
        parts.append(_summary(log_w))
    return LogPx.join(parts)


def _summary(log_w: Tensor) -> LogPx:
    n_z = log_w.shape[1]
    top = log_w.amax(1, keepdim=True)
    w = torch.exp(log_w - top)
    total = w.sum(1)
    value = top[:, 0] + total.log() - math.log(n_z)
    return LogPx(value, log_w.mean(1), total.square() / w.square().sum(1), n_z)


@dataclass(frozen=True)
class Points:
    """Standard normal points of the proposal, eps (n, N, L) of the images first .. first + n - 1.

    Attributes:
        kind: random (independent), or sobol: one Sobol set of N points for all images, shifted modulo 1 by an
            independent uniform vector for each image (Cranley and Patterson 1976): each point is exactly N(0, I), so
            p_hat stays unbiased, and the points of one image cover the space evenly.
        n_z: N.
        latent: L.
        seed: seed of the noise.
        stream: name of the noise; one name for networks that are to share it.
    """

    kind: str
    n_z: int
    latent: int
    seed: int
    stream: tuple[str | int, ...] = ()
    _sobol: dict[str, Tensor] = field(default_factory=dict, repr=False)

    def __call__(self, first: int, n: int) -> Tensor:
        """The points, float32 on the CPU.

        Raises:
            UserError: the first image is not at the start of a block of 16 (its noise would depend on the batch).
        """
        if first % NOISE_BLOCK:
            raise UserError(f"noise is drawn in blocks of {NOISE_BLOCK} images: start at a multiple of it, not {first}")
        blocks = [self._block(number) for number in range(first // NOISE_BLOCK, -(-(first + n) // NOISE_BLOCK))]
        return torch.cat(blocks)[:n]

    def _block(self, number: int) -> Tensor:
        source = generator(self.seed, "logpx", *self.stream, number)
        if self.kind == "random":
            return torch.randn(NOISE_BLOCK, self.n_z, self.latent, generator=source)
        shift = torch.rand(NOISE_BLOCK, 1, self.latent, generator=source)
        u = (self._sobol_points() + shift).remainder_(1.0)
        # Halves of float32's step keep both ends off 0 and 1; nothing else moves.
        return u.clamp_(2**-25, 1 - 2**-24).mul_(2).sub_(1).erfinv_().mul_(math.sqrt(2))

    def _sobol_points(self) -> Tensor:
        if "points" not in self._sobol:
            engine = torch.quasirandom.SobolEngine(self.latent, scramble=False)
            self._sobol["points"] = engine.draw(self.n_z)
        return self._sobol["points"]
