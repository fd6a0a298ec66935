"""Data that has no density: a denoiser that still knows the noise where hardly any is left."""

import math
from collections.abc import Callable

from torch import Tensor

from common.errors import RunFailedError, UserError
from common.immse import Denoiser, GaussianReference
from common.immse.ranges import pilot_gap

FINEST = 2.0**-18
"""Noise, as a share of the largest value, that single precision resolves with 5 bits to spare."""
LARGEST_GAP = 0.05
"""How far a denoiser's error may stay below the Gaussian's at that noise; atoms of mass p make it p per dimension."""
NARROWEST = 100 * FINEST
"""Smallest standard deviation, as a share of the largest value, beside which that noise is small."""


def refuse_atoms(
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
        denoiser, x, reference, seed, batch, transform: as in `common.immse.ranges.pilot_gap`.

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
