"""KID and MMD: kernel distances between samples, unbiased at any number of examples, with standard errors."""

from common.errors import choose
from common.mmd import KERNELS, mmd2, named_kernel, polynomial_mmd2
from infodiffusion.metrics.features import Features, check_comparable, described
from infodiffusion.metrics.measured import Array, Measured, as_tensor

MEDIAN = "median"


def kid(real: Features, generated: Features, reference: str = "train") -> Measured:
    """KID: unbiased MMD^2 with the kernel (x . y / d + 1)^3 over all pairs (Binkowski et al. 2018, section 4).

    The published tools average it over random subsets of 1,000 and give the spread over subsets; its mean is the same.
    It may be negative where the two laws are close.

    Args:
        real: features of the reference sample.
        generated: features of the samples, of the same extractor.
        reference: name of the reference sample.

    Raises:
        UserError: different extractors, or fewer than 2 examples.
    """
    check_comparable(real, generated)
    found = polynomial_mmd2(real.values, generated.values)
    n = len(generated)
    return Measured(
        f"kid{described(generated, reference, n)}", found.value, found.se, n, more={"n_reference": len(real)}
    )


def mmd(
    real: Features | Array,
    generated: Features | Array,
    kernel: str = MEDIAN,
    biased: bool = False,
    reference: str = "train",
) -> Measured:
    """MMD^2 with a Gaussian kernel: unbiased with its error, or the published biased V-statistic (its error the same).

    Args:
        real: features of the reference sample, or an array (n, ...) as its own features.
        generated: features of the samples, or an array.
        kernel: `median`, the median distance of both samples as its width, or a name of `common.mmd.KERNELS`.
        biased: keep the pairs of a point with itself.
        reference: name of the reference sample.

    Raises:
        UserError: an unknown kernel, different extractors, or fewer than 2 examples.
    """
    choose("kernel", kernel, (MEDIAN, *KERNELS))
    real, generated = as_features(real), as_features(generated)
    check_comparable(real, generated)
    x, y = (part.values.flatten(1) for part in (real, generated))
    found = mmd2(x, y, None if kernel == MEDIAN else named_kernel(kernel, x.shape[1]), biased)
    n = len(generated)
    name = f"mmd{described(generated, reference, n)[:-1]},kernel={kernel}{',biased' if biased else ''}]"
    return Measured(name, found.value, found.se, n, more={"n_reference": len(real)})


def as_features(x: Features | Array) -> Features:
    """An array (n, ...) as its own features (n, d); features as they are.

    Raises:
        UserError: no real numbers, or values that are not finite.
    """
    if isinstance(x, Features):
        return x
    x = as_tensor(x, "features")
    return Features(x.flatten(1) if x.ndim > 1 else x[:, None])
