"""Gaussian mixtures: every quantity of a diffusion model in closed form, the ground truth of the estimators' tests."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from infolab.errors import UserError
from infolab.estimate import Estimate, mean_and_se
from infolab.schedules import logsnr_to_alpha_sigma

ELEMENTS = 1 << 19  # entries of a (points x components) table held at once
QUADRATURE_POINTS = 1 << 25  # largest grid of the entropy quadrature


class GaussianMixture:
    """The distribution sum_j w_j N(m_j, S_j) in d dimensions, and its image in the channel x_t = alpha x0 + sigma eps.

    Inputs of any dtype and device are taken; the work is done in float64 on the CPU. Scores and means come back like
    the input, log densities in float64. Everything is differentiable in the points.

    Attributes:
        weights: (k,) w_j, normalised.
        means: (k, d) m_j.
        eigenvalues: (k, 1) variances of isotropic components, else (k, d) eigenvalues of S_j; zero is allowed (the
            empirical measure) wherever noise makes the density well-defined.
        eigenvectors: None for isotropic components, else (k, d, d) with columns that belong to the eigenvalues.

    Args:
        weights: (k,) positive, of any sum.
        means: (k, d).
        covariance: a variance, (k,) isotropic variances, or (k, d, d) covariance matrices.

    Raises:
        UserError: shapes that do not fit, weights that are not positive, a negative variance.

    >>> law = GaussianMixture(torch.ones(2), torch.tensor([[-1.0], [1.0]]), 0.5)
    >>> law.cov()
    tensor([[1.5000]], dtype=torch.float64)
    """

    def __init__(self, weights: Tensor, means: Tensor, covariance: float | Tensor) -> None:
        means, weights = _double(means), _double(weights)
        spread = torch.as_tensor(covariance, dtype=torch.float64)
        k, d = means.shape if means.ndim == 2 else (0, 0)
        if k == 0 or weights.shape != (k,) or spread.shape not in ((), (k,), (k, d, d)):
            raise UserError(
                f"mixture of weights {tuple(weights.shape)}, means {tuple(means.shape)}, covariance "
                f"{tuple(spread.shape)}: expected (k,), (k, d) and a number, (k,) or (k, d, d)"
            )
        if not bool((weights > 0).all()):
            raise UserError("the weights of a mixture must be positive: leave out components of weight zero")
        self.weights, self.means = weights / weights.sum(), means
        self.eigenvectors: Tensor | None = None
        if spread.ndim == 3:
            self.eigenvalues, self.eigenvectors = torch.linalg.eigh(spread.cpu())
            # A singular matrix has eigenvalues that are zero up to rounding.
            tiny = 1e-14 * self.eigenvalues.abs().amax(1, keepdim=True)
            self.eigenvalues = torch.where(self.eigenvalues.abs() <= tiny, 0.0, self.eigenvalues)
        else:
            self.eigenvalues = spread.cpu().expand(k)[:, None].clone()
        if bool((self.eigenvalues < 0).any()):
            raise UserError("a covariance has a negative eigenvalue: expected variances of at least 0")

    @property
    def d(self) -> int:
        """Number of dimensions."""
        return self.means.shape[1]

    def log_prob(self, x: Tensor) -> Tensor:
        """Return log sum_j w_j N(x; m_j, S_j) for x (..., d), shape (...), in nats.

        Raises:
            UserError: a component has a zero variance, so there is no density.
        """
        self._require_density()
        return self.log_prob_at(x, torch.ones(()), torch.zeros(()))

    def score(self, x: Tensor) -> Tensor:
        """Return grad log p(x) for x (..., d)."""
        self._require_density()
        return self.score_at(x, torch.ones(()), torch.zeros(()))

    def log_prob_at(self, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return log p_t(x_t) of x_t = alpha x0 + sigma eps; alpha, sigma of the batch shape of x_t (..., d), or ()."""
        return torch.cat([torch.logsumexp(logits, 1) for logits, *_ in self._blocks(x_t, alpha, sigma)]).reshape(
            x_t.shape[:-1]
        )

    def score_at(self, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return grad log p_t(x_t) = -sum_j r_j (alpha^2 S_j + sigma^2 I)^-1 (x_t - alpha m_j), r_j the posteriors."""
        parts = []
        for logits, x, a, variances, pulls in self._blocks(x_t, alpha, sigma):
            r = torch.softmax(logits, 1)
            if self.eigenvectors is None:
                r = r / variances[..., 0]
                parts.append(a * (r @ self.means) - r.sum(1, keepdim=True) * x)
            else:
                parts.append(-torch.einsum("bk,bke,kde->bd", r, pulls, self.eigenvectors))
        return torch.cat(parts).reshape(x_t.shape).to(x_t)

    def divergence_at(self, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return the divergence of `score_at`, the Laplacian of log p_t at x_t (..., d), shape (...), float64.

        sum_j r_j (|p_j - mean p|^2 - tr C_j^-1), C_j = alpha^2 S_j + sigma^2 I, p_j = C_j^-1 (x_t - alpha m_j).
        """
        parts = []
        for logits, x, a, variances, pulls in self._blocks(x_t, alpha, sigma):
            r = torch.softmax(logits, 1)
            # The spread of the pulls about their mean, so that nothing cancels between far modes.
            if self.eigenvectors is None:
                v = variances[..., 0]
                spread, trace = torch.zeros_like(v), self.d / v
                for i in range(self.d):  # one coordinate at a time: no table of size b k d
                    pull = (x[:, i : i + 1] - a * self.means[:, i]) / v
                    spread = spread + (pull - (r * pull).sum(1, keepdim=True)).square()
            else:
                pull = torch.einsum("bke,kde->bkd", pulls, self.eigenvectors)
                mean = (r[..., None] * pull).sum(1, keepdim=True)
                spread, trace = (pull - mean).square().sum(-1), (1 / variances).sum(-1)
            parts.append((r * (spread - trace)).sum(1))
        return torch.cat(parts).reshape(x_t.shape[:-1])

    def posterior_mean_at(self, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return E[x0 | x_t] = sum_j r_j (m_j + alpha S_j (alpha^2 S_j + sigma^2 I)^-1 (x_t - alpha m_j))."""
        parts = []
        for logits, x, a, variances, pulls in self._blocks(x_t, alpha, sigma):
            r = torch.softmax(logits, 1)
            if self.eigenvectors is None:
                gain = self.eigenvalues[:, 0] / variances[..., 0]
                parts.append((r * (1 - a**2 * gain)) @ self.means + a * (r * gain).sum(1, keepdim=True) * x)
            else:
                shift = torch.einsum("bk,bke,kde->bd", r, pulls * self.eigenvalues, self.eigenvectors)
                parts.append(r @ self.means + a * shift)
        return torch.cat(parts).reshape(x_t.shape).to(x_t)

    def posterior_mean(self, z: Tensor, logsnr: Tensor) -> Tensor:
        """Return E[x | z], the optimal denoiser of z = sqrt(s(a)) x + sqrt(s(-a)) eps at log-SNR a (batch shape)."""
        return self.posterior_mean_at(z, *logsnr_to_alpha_sigma(_double(logsnr)))

    def eps_hat(self, z: Tensor, logsnr: Tensor) -> Tensor:
        """Return E[eps | z] = -sigma grad log p_t(z) in the channel of `posterior_mean`."""
        alpha, sigma = logsnr_to_alpha_sigma(_double(logsnr))
        score = self.score_at(_double(z), alpha, sigma)
        return (-sigma[..., None] * score).to(z)

    def noised(self, alpha: float, sigma: float) -> "GaussianMixture":
        """Return the distribution of alpha x0 + sigma eps."""
        if self.eigenvectors is None:
            return GaussianMixture(self.weights, alpha * self.means, alpha**2 * self.eigenvalues[:, 0] + sigma**2)
        covariance = alpha**2 * self._covariances() + sigma**2 * torch.eye(self.d, dtype=torch.float64)
        return GaussianMixture(self.weights, alpha * self.means, covariance)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw n points, (n, d) float64."""
        j = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        eps = torch.randn(n, self.d, generator=generator, dtype=torch.float64) * self.eigenvalues[j].sqrt()
        if self.eigenvectors is not None:
            eps = torch.einsum("bde,be->bd", self.eigenvectors[j], eps)
        return self.means[j] + eps

    def mean(self) -> Tensor:
        """Return the mean, (d,)."""
        return self.weights @ self.means

    def cov(self) -> Tensor:
        """Return the covariance sum_j w_j (S_j + m_j m_j^T) - m m^T, (d, d)."""
        centred = self.means - self.mean()
        between = (self.weights[:, None] * centred).T @ centred
        return between + torch.einsum("k,kde->de", self.weights, self._covariances())

    def entropy(self, n: int, generator: torch.Generator) -> Estimate:
        """Estimate the differential entropy -E log p(x) from n draws."""
        value, se = mean_and_se(-self.log_prob(self.sample(n, generator)))
        return Estimate(value, se, estimand="differential entropy", n=n, d=self.d)

    def entropy_quadrature(self) -> Estimate:
        """Return the differential entropy for d = 1, 2 by the trapezoid rule.

        The step is a quarter of the smallest standard deviation and the box reaches 9 standard deviations beyond every
        mean (mass outside below 1e-18). The rule converges exponentially, so its error (1e-12 for a Gaussian) is far
        below `se_quadrature`, the difference to the rule of twice the step.

        Raises:
            UserError: d above 2, a zero variance, or a grid above 2^25 points.
        """
        self._require_density()
        if self.d > 2:
            raise UserError(f"the entropy quadrature takes 1 or 2 dimensions, got {self.d}: use entropy()")
        step = float(self.eigenvalues.min().sqrt()) / 4
        reach = 9 * self._covariances().diagonal(dim1=1, dim2=2).sqrt()
        low, high = (self.means - reach).amin(0), (self.means + reach).amax(0)
        counts = [2 * math.ceil(float(width) / step / 2) + 1 for width in high - low]
        if math.prod(counts) > QUADRATURE_POINTS:
            raise UserError(f"the entropy quadrature needs {math.prod(counts)} points: use entropy()")
        axes = [start + step * torch.arange(c, dtype=torch.float64) for start, c in zip(low, counts, strict=True)]
        fine = coarse = 0.0
        rows = 2 * max(1, ELEMENTS // (2 * math.prod(counts[1:])))  # even, so that every other point is every other one
        for first in axes[0].split(rows):
            density = self._density_on_grid([first, *axes[1:]])
            surprise = -torch.xlogy(density, density)
            fine += float(surprise.sum()) * step**self.d
            coarse += float(surprise[(slice(None, None, 2),) * self.d].sum()) * (2 * step) ** self.d
        return Estimate(fine, 0.0, abs(fine - coarse), estimand="differential entropy", d=self.d)

    def _density_on_grid(self, axes: list[Tensor]) -> Tensor:
        """Density on the product of one or two axes; isotropic components factorise, so it is one matrix product."""
        if self.eigenvectors is not None:
            grid = torch.cartesian_prod(*axes).reshape(-1, self.d)
            return self.log_prob(grid).exp().reshape([len(axis) for axis in axes])
        variance = self.eigenvalues[:, 0]
        factors = [
            torch.exp(-((axis[:, None] - self.means[:, i]) ** 2) / (2 * variance)) / torch.sqrt(2 * math.pi * variance)
            for i, axis in enumerate(axes)
        ]
        weighted = factors[0] * self.weights
        return weighted.sum(1) if self.d == 1 else weighted @ factors[1].T

    def _require_density(self) -> None:
        if not bool((self.eigenvalues > 0).all()):
            raise UserError("a mixture with a zero variance has no density: add noise first, with noised()")

    def _covariances(self) -> Tensor:
        if self.eigenvectors is None:
            return self.eigenvalues[:, :, None] * torch.eye(self.d, dtype=torch.float64)
        return (self.eigenvectors * self.eigenvalues[:, None]) @ self.eigenvectors.mT

    def _blocks(
        self, x_t: Tensor, alpha: Tensor, sigma: Tensor
    ) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor, Tensor]]:
        """Yield (logits, x_t, alpha, variances, pulls) for blocks of b points, so that memory stays bounded.

        logits (b, k): log w_j N(x_t; alpha m_j, alpha^2 S_j + sigma^2 I). variances (b, k, 1 or d): eigenvalues of that
        covariance. pulls (b, k, d): its inverse times x_t - alpha m_j, in the eigenbasis (empty when isotropic).
        """
        batch, k, d = x_t.shape[:-1], *self.means.shape
        if x_t.shape[-1] != d:
            raise UserError(f"points of shape {tuple(x_t.shape)}: expected (..., {d}), the mixture's dimensions")
        flat = _double(x_t).reshape(-1, d)
        alphas, sigmas = (_per_point(_double(v), batch) for v in (alpha, sigma))
        rows = max(1, ELEMENTS // (k * (1 if self.eigenvectors is None else d)))
        for start in range(0, len(flat), rows):
            block = slice(start, start + rows)
            x, a, s = flat[block], *(v if len(v) == 1 else v[block] for v in (alphas, sigmas))
            variances = (a**2)[..., None] * self.eigenvalues + (s**2)[..., None]
            log_volume = torch.log(variances).sum(-1) * (d // variances.shape[-1])
            if self.eigenvectors is None:
                # One coordinate at a time: as exact as differences, without a table of size b k d.
                squares = sum((x[:, i : i + 1] - a * self.means[:, i]) ** 2 for i in range(d)) / variances[..., 0]
                pulls = x.new_empty(0)
            else:
                difference = torch.einsum("bkd,kde->bke", x[:, None] - a[..., None] * self.means, self.eigenvectors)
                pulls = difference / variances
                squares = (difference * pulls).sum(-1)
            normaliser = (log_volume + d * math.log(2 * math.pi)) / 2
            yield self.weights.log() - squares / 2 - normaliser, x, a, variances, pulls


def _per_point(value: Tensor, batch: torch.Size) -> Tensor:
    """A channel's alpha or sigma as a column, (points, 1), or (1, 1) where one value serves all."""
    return value.reshape(1, 1) if value.numel() == 1 else value.expand(batch).reshape(-1, 1)


def _double(x: Tensor) -> Tensor:
    """The tensor in float64 on the CPU."""
    return x.cpu().double()
