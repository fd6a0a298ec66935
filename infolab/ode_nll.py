"""-log p(x) of single examples along the probability-flow ODE of a denoiser, and data that has no density."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from infolab.data.images import dequantization_noise
from infolab.denoise import Denoiser
from infolab.device import on_cpu
from infolab.errors import RunFailedError, UserError
from infolab.immse import Bins, GaussianReference, LogsnrRange
from infolab.immse.measure import pilot_gap, rows_of_a_call
from infolab.likelihood import draw_probe, log_normal, ode_log_likelihood
from infolab.noise import BLOCK, blocks, generator
from infolab.schedules import LogsnrLine, append_dims, logsnr_to_alpha_sigma

# ----------
# -log p(x) of single examples along the probability-flow ODE of a denoiser eps_hat(z, logsnr).

MARGIN = 6.0
"""Nats of log-SNR by which the ODE begins above and ends below the range: what is left there is e^-6 of a nat each."""
EXACT = 8
"""Most dimensions whose divergence is computed exactly; above, by Hutchinson's estimate with one probe an example."""


@dataclass(frozen=True)
class OdeNll:
    """-log p(x), or of data on a grid the bound of -log P(x), of each example (n,) float64 nats, and evaluations."""

    nll_nats: Tensor
    evaluations: int


def ode_nll(
    denoiser: Denoiser,
    x: Tensor,
    where: LogsnrRange,
    reference: GaussianReference,
    *,
    bins: Bins | None = None,
    tolerance: float = 1e-4,
    seed: int = 0,
    batch: int = 0,
    transform: Callable[[Tensor], Tensor],
) -> OdeNll:
    """-log p(x) by the probability-flow ODE of the score -eps_hat / sigma (Song et al. 2021, eq. 39).

    The flow runs in the channel z = sqrt(s(a)) x + sqrt(s(-a)) eps from a = `where.high` to `where.low`, on a line in
    a, about the mean of the data, so that another origin changes nothing. It starts at sqrt(s(high)) x, so log p(x) =
    log p_high(z) + d log sqrt(s(high)), and ends at the marginal of the reference at `where.low`, all but N(0, I). The
    number is the NLL of the flow's own model, no bound of the I-MMSE one. With `bins` it is that of x + D (u - 1/2),
    one uniform u an example, minus d log D: an upper bound of -log P(x) in expectation.

    Args:
        denoiser: differentiable in z.
        x: examples (n, ...).
        where: log-SNR from which and to which the flow runs.
        reference: the Gaussian of the data.
        bins: the grid of discrete data.
        tolerance: of the solver.
        seed: of the probes and of u.
        batch: examples of a call; 0: about half a million numbers.
        transform: of each block of examples.

    Raises:
        UserError: the denoiser has no gradient in z.
        RunFailedError: the solver fails.
    """
    line = LogsnrLine(high=where.high, low=where.low)
    alpha = float(logsnr_to_alpha_sigma(torch.tensor(where.high, dtype=torch.float64))[0])
    mean = reference.mean.reshape(1, *x.shape[1:])
    values, evaluations = [], 0
    for block, part in _blocks(x, batch, transform):
        d = part[0].numel()
        shift = d * math.log(alpha)
        if bins is not None:
            u = dequantization_noise(tuple(part.shape), seed, block.start).to(part)
            part = part + bins.step * (u - 0.5)
            shift += d * math.log(bins.step)
        part = part - mean.to(part)
        centred, probe = _about(denoiser, line, mean.to(part)), _probe(part, seed, block.start)
        found = ode_log_likelihood(centred, line, alpha * part, 1.0, probe=probe, tolerance=tolerance)
        end = on_cpu(found.x_T).double()
        log_p = on_cpu(found.log_p).double() - log_normal(end, 1.0, 1) + _log_end(reference, end, where.low)
        values.append(-log_p - shift)
        evaluations += found.evaluations * len(part)
    return OdeNll(torch.cat(values), evaluations)


def _log_end(reference: GaussianReference, z: Tensor, logsnr: float) -> Tensor:
    """log N(z; 0, alpha^2 Sigma + sigma^2 I), the reference's marginal about its mean at a log-SNR, (n,)."""
    alpha, sigma = (float(v) for v in logsnr_to_alpha_sigma(torch.tensor(logsnr, dtype=torch.float64)))
    variances = alpha**2 * reference.spectrum + sigma**2
    return GaussianReference(torch.zeros_like(reference.mean), variances, reference.eigenvectors).log_prob(z)


def _blocks(x: Tensor, batch: int, transform: Callable[[Tensor], Tensor]) -> Iterator[tuple[slice, Tensor]]:
    rows = max(BLOCK, rows_of_a_call(batch, x[0].numel()))
    for block in blocks(len(x), rows):
        yield block, transform(x[block])


def _about(denoiser: Denoiser, line: LogsnrLine, mean: Tensor) -> Denoiser:
    """The model of x - mu, by its score at times of the line: that of z - alpha mu."""

    def score(z: Tensor, t: Tensor) -> Tensor:
        logsnr = line.t_to_logsnr(t)
        alpha, sigma = (append_dims(v, z) for v in logsnr_to_alpha_sigma(logsnr))
        eps_hat = denoiser.eps(z + alpha * mean, logsnr)
        if not eps_hat.requires_grad:
            raise UserError(
                "the denoiser has no gradient in z, which --estimator ode needs: compute it without no_grad"
            )
        return -eps_hat / sigma

    return Denoiser.of_score(score, line)


def _probe(part: Tensor, seed: int, first: int) -> Tensor | None:
    """For Hutchinson's estimate; None where the divergence is computed exactly."""
    if part.ndim == 2 and part.shape[1] <= EXACT:
        return None
    # A probe for each block of the noise streams, so that it does not depend on the batch.
    rows = [
        draw_probe("rademacher", (BLOCK, *part.shape[1:]), generator(seed, "nll", "probe", number))
        for number in range(first // BLOCK, (first + len(part) - 1) // BLOCK + 1)
    ]
    return torch.cat(rows)[: len(part)].to(part)


# ----------
# Data that has no density: a denoiser that still knows the noise where hardly any is left.

FINEST = 2.0**-18
"""Noise, as a share of the largest value, that single precision resolves with 5 bits to spare."""
LARGEST_GAP = 0.05
"""How far a denoiser's error may stay below the Gaussian's at that noise; atoms of mass p make it p per dimension."""
NARROWEST = 100 * FINEST
"""Smallest standard deviation, as a share of the largest value, beside which that noise is small."""


def check_has_density(
    denoiser: Denoiser,
    x: Tensor,
    reference: GaussianReference,
    seed: int,
    batch: int,
    transform: Callable[[Tensor], Tensor],
) -> int:
    """Refuse a denoiser that knows eps where only noise of `FINEST` is left; returns the evaluations spent.

    Where the data has a density, smooth at that noise, no denoiser is better there than the Gaussian's, good or bad.
    Where it has atoms the optimal one is, at every log-SNR, and the integral grows with the range: the density's NLL is
    minus infinity. Nothing is refused where that noise is not small beside the spread of the data in every direction.

    Args:
        denoiser, x, reference, seed, batch, transform: as in `infolab.immse.measure.pilot_gap`.

    Raises:
        UserError: see above.
    """
    reference.require_density()
    largest = max(float(x.abs().max()), math.sqrt(float(reference.spectrum.max())))
    if float(reference.spectrum.min()) < (NARROWEST * largest) ** 2:
        return 0
    logsnr = -2 * math.log(FINEST * largest)
    try:
        gap, se, spent = pilot_gap(denoiser, x, reference, logsnr, seed=seed, batch=batch, transform=transform)
    except RunFailedError:  # not finite there: it may never have been meant for so little noise, and need not be
        return 0
    if gap - 2 * se > LARGEST_GAP:
        raise UserError(
            f"the data has no density: at log-SNR {logsnr:.3g} the denoiser's error is still {gap:.2g} below the "
            "Gaussian's, where it must have come up to it; give discrete data its --discrete-step, and take no "
            "denoiser that was fitted to these very examples"
        )
    return spent
