"""What an image run is compared with, fitted to its training set: uniform, histogram, Gaussian, categorical mixture."""

import math

from common.baselines import per_pixel_histogram_bpd
from common.categorical_mixture import fit_categorical_mixture
from common.data import ImageSet
from common.gaussian_baseline import VARIANCE_FLOOR, fit_gaussian_levels
from common.results.tables.itdiffusion_images import ImageBaseline
from itdiffusion.images_config import ImagesConfig

COMPONENTS = 50
SMOOTHING = 0.3
"""Counts added to every level in the mixture. Of 0.02, 0.05, 0.1, 0.3 and 1 it gives the digits' test set the fewest
bits, so that the choice favours the baseline."""
MOST_NUMBERS = 4_000_000


def baselines(config: ImagesConfig, train: ImageSet, test: ImageSet) -> list[ImageBaseline]:
    """Bits per dimension of the test images under each; of the mixture only where its tables stay small."""
    a, b, Q = train.images.cpu(), test.images.cpu(), train.levels
    gaussian = f"gaussian[floor={VARIANCE_FLOOR:.4f}]"
    found = {
        "uniform": (math.log2(Q), 0.0),
        "histogram": per_pixel_histogram_bpd(a, b, Q),
        gaussian: fit_gaussian_levels(a, Q).bpd(b),
    }
    if train.d * Q * COMPONENTS <= MOST_NUMBERS and len(train) >= COMPONENTS:
        mixture = fit_categorical_mixture(a, Q, COMPONENTS, smoothing=SMOOTHING, seed=config.seed)
        found[f"mixture[{COMPONENTS},smoothing={SMOOTHING}]"] = mixture.bpd(b)
    return [
        ImageBaseline(
            dataset=config.dataset, model=name, seed=config.seed, d=train.d, n=len(test), levels=Q,
            nll_bpd=bpd, nll_bpd_se=se,
        )
        for name, (bpd, se) in found.items()
    ]  # fmt: skip
