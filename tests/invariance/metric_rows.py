"""Rows of the metrics of codes and samples."""

import math
from fractions import Fraction

import numpy as np
import torch
from instrument import Instrument, Numbers, Sample, power, same

from diffusion.toy_evaluate import kl_kde, log_kde
from infolab import metrics
from infolab.mmd import gaussian_kernel, median_bandwidth, mmd2, mmd2_loss, polynomial_mmd2

FOLDS = "training and test folds share copies of an example, which are read there by heart"


def codes(source: np.random.Generator, n: int = 240) -> Sample:
    """Three codes of two factors."""
    factors = np.stack([source.integers(2, size=n), source.integers(2, size=n)], axis=1)
    values = source.normal(size=(n, 3))
    values[:, :2] += 2.5 * factors
    return Sample({"codes": values, "factors": factors}, ("codes",), (("codes", "factors"),))


def pair(source: np.random.Generator, n: int = 50, m: int = 40, d: int = 2) -> Sample:
    """Two samples a little apart."""
    x, y = source.normal(size=(n, d)), 1.3 * source.normal(size=(m, d)) + 0.5
    return Sample({"x": x, "y": y}, ("x", "y"), (("x",), ("y",)))


def tensors(sample: Sample) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(sample["x"]), torch.from_numpy(sample["y"])


def of_measured(*found: metrics.Measured) -> Numbers:
    """Values with their standard errors, or twice the spread over folds where there is none: each is refitted."""
    errors = [one.se if one.se is not None else 2 * (one.sd or 0.0) for one in found]
    # A fold of m held-out examples moves an accuracy by 1/m: a spread of 0 is no error of 0.
    return Numbers(
        np.array([one.value for one in found]),
        np.array([math.hypot(e, 2 / one.n) for e, one in zip(errors, found, strict=True)]),
    )


def dci(variant: str, folds: int):
    def measure(sample: Sample) -> Numbers:
        n = 240 if variant == "forest" else 60
        found = metrics.dci(sample["codes"][: 2 * n], sample["factors"][: 2 * n], variant, folds=folds, jobs=1)
        return of_measured(*found.measured())

    return measure


def tad(sample: Sample) -> Numbers:
    found = metrics.tad(sample["codes"], sample["factors"])
    summed = of_measured(found.tad)
    return Numbers(
        np.concatenate([found.best, found.gap, found.kept, summed.values]),
        np.concatenate([np.zeros(4 + len(found.kept)), summed.errors]),
    )


def fid(sample: Sample) -> Numbers:
    found = metrics.fid(*(metrics.as_features(part) for part in tensors(sample)), force=True)
    return Numbers(np.array([found.value, found.se, found.more["floor"]]))


def fid_of_copies(_before: Numbers, sample: Sample, after: Sample) -> np.ndarray:
    """Covariances are divided by n - 1: those of 2 n copies are (2n - 2) / (2n - 1) of those of n."""
    moments = []
    for name in ("x", "y"):
        values = sample[name]
        n = len(values)
        moments += [values.mean(0), np.cov(values.T) * (2 * n - 2) / (2 * n - 1)]
    from scipy.linalg import sqrtm

    root = sqrtm(moments[1] @ moments[3]).real
    value = np.square(moments[0] - moments[2]).sum() + np.trace(moments[1] + moments[3] - 2 * root)
    given = fid(after).values  # the error and the floor are those of 2 n examples: no copy is known for one
    return np.array([value, *given[1:]])


def gaussian_fid(sample: Sample) -> Numbers:
    parts = [metrics.moments(metrics.as_features(part)) for part in tensors(sample)]
    value = metrics.gaussian_fid(parts[0].mean, parts[0].cov, parts[1].mean, parts[1].cov)
    return Numbers(np.array([value]))


def moments(sample: Sample) -> Numbers:
    found = metrics.moments(metrics.as_features(tensors(sample)[0]))
    return Numbers(np.concatenate([found.mean.numpy(), found.cov.numpy().flatten()]))


def kid(sample: Sample) -> Numbers:
    unbiased = metrics.kid(*(metrics.as_features(part) for part in tensors(sample)))
    biased = polynomial_mmd2(*tensors(sample), biased=True)
    return Numbers(np.array([unbiased.value, biased.value]))


def exact_kid(_before: Numbers, _sample: Sample, after: Sample) -> np.ndarray:
    """The definition in rational arithmetic, on the very numbers that were measured."""
    x, y = ([[Fraction(float(value)) for value in row] for row in after[name]] for name in ("x", "y"))
    d = len(x[0])

    def k(a: list[Fraction], b: list[Fraction]) -> Fraction:
        return (sum(p * q for p, q in zip(a, b, strict=True)) / d + 1) ** 3

    def sums(a: list[list[Fraction]]) -> tuple[Fraction, Fraction]:
        whole, diagonal, n = sum(k(p, q) for p in a for q in a), sum(k(p, p) for p in a), len(a)
        return (whole - diagonal) / (n * (n - 1)), whole / n**2

    cross = sum(k(p, q) for p in x for q in y) / (len(x) * len(y))
    within = [p + q for p, q in zip(sums(x), sums(y), strict=True)]
    return np.array([float(one - 2 * cross) for one in within])


def mmd(sample: Sample) -> Numbers:
    found = [metrics.mmd(*tensors(sample), biased=biased) for biased in (False, True)]
    return Numbers(np.array([one.value for one in found]))


def mmd_of_width(sample: Sample) -> Numbers:
    """The width of the kernel in the data's unit."""
    kernel, (x, y) = gaussian_kernel(1.3 * sample.unit), tensors(sample)
    found = [mmd2(x, y, kernel).value, mmd2(x, y, kernel, biased=True).value, float(mmd2_loss(x, y, kernel))]
    return Numbers(np.array([*found, median_bandwidth(x, y) / sample.unit]))


def mmd_of_copies(width: float | None):
    """A sum over pairs of 2 n copies is four times that of n and twice the diagonal, which is n."""

    def theory(_before: Numbers, sample: Sample, _after: Sample) -> np.ndarray:
        x, y = tensors(sample)
        bandwidth = width or median_bandwidth(x, y)

        def k(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            return torch.exp(-(a[:, None] - b).square().sum(-1) / (2 * bandwidth**2))

        cross = 2 * float(k(x, y).mean())
        biased = float(k(x, x).mean() + k(y, y).mean()) - cross
        pairs = [(4 * k(a, a).sum() - 2 * len(a)) / (2 * len(a) * (2 * len(a) - 1)) for a in (x, y)]
        unbiased = float(pairs[0] + pairs[1]) - cross
        return np.array([unbiased, biased] if width is None else [unbiased, biased, biased, median_bandwidth(x, y)])

    return theory


def kde(sample: Sample) -> Numbers:
    """The bandwidth in the data's unit."""
    (x, y), bandwidth = tensors(sample), 0.4 * sample.unit
    density = log_kde(x, y, bandwidth).mean() + 2 * math.log(sample.unit)
    return Numbers(np.array([kl_kde(x, y, bandwidth), float(density)]))


def small(source: np.random.Generator) -> Sample:
    return pair(source, 8, 7)


ROWS = (
    Instrument(
        "DCI by forests",
        ("infolab.metrics.dci", "infolab metrics dci"),
        codes,
        dci("forest", 3),
        {"scale": same, "shift": same, "permutation": same, "copies": FOLDS},
    ),
    Instrument(
        "DCI by boosted trees",
        ("infolab.metrics.DCI",),
        lambda source: codes(source, 60),
        dci("boosted", 1),
        {
            "scale": same,
            "shift": same,
            "permutation": "a single fold tells no error",
            "copies": FOLDS,
        },
    ),
    Instrument(
        "MIG",
        ("infolab.metrics.mig", "infolab metrics mig"),
        codes,
        lambda sample: Numbers(np.array([metrics.mig(sample["codes"], sample["factors"]).value])),
        {"scale": same, "shift": same, "permutation": same, "copies": same},
    ),
    Instrument(
        "TAD",
        ("infolab.metrics.tad", "infolab.metrics.TAD", "infolab metrics tad"),
        codes,
        tad,
        {"scale": same, "shift": same, "permutation": same, "copies": same},
    ),
    Instrument(
        "AUROC of single codes",
        ("infolab.metrics.auroc_matrix", "infolab.metrics.binarise"),
        codes,
        lambda sample: Numbers(metrics.auroc_matrix(sample["codes"], metrics.binarise(sample["codes"])).flatten()),
        {"scale": same, "shift": same, "permutation": same, "copies": same},
    ),
    Instrument(
        "latent classification",
        (
            "infolab.metrics.latent_classification",
            "infolab.metrics.Classification",
            "infolab metrics auroc",
        ),
        codes,
        lambda sample: of_measured(
            *metrics.latent_classification(sample["codes"], sample["factors"], folds=3).measured()
        ),
        {"scale": same, "shift": same, "permutation": same, "copies": FOLDS},
        # The solver stops at a gradient of 1e-4: two examples whose scores are closer than rounding change places.
        rounding=1e5,
    ),
    Instrument(
        "FID, its error and its floor",
        ("infolab.metrics.fid", "infolab.metrics.as_features", "infolab metrics fid"),
        pair,
        fid,
        {"scale": power(2), "shift": same, "permutation": same, "copies": fid_of_copies},
        relative=True,
    ),
    Instrument(
        "FID of moments",
        ("infolab.metrics.gaussian_fid",),
        pair,
        gaussian_fid,
        {
            "scale": power(2),
            "shift": same,
            "permutation": same,
            "copies": lambda before, sample, after: fid_of_copies(before, sample, after)[:1],
        },
        relative=True,
    ),
    Instrument(
        "moments",
        ("infolab.metrics.moments", "infolab.metrics.Moments", "infolab metrics stats"),
        pair,
        moments,
        {
            "scale": power([1, 1, 2, 2, 2, 2]),
            "shift": lambda before, _, after: before.values + np.concatenate([after.origin, np.zeros(4)]),
            "permutation": same,
            "copies": lambda before, sample, _: (
                before.values * np.repeat([1, 1 - 1 / (2 * len(sample["x"]) - 1)], [2, 4])
            ),
        },
    ),
    Instrument(
        "KID",
        (
            "infolab.metrics.kid",
            "infolab metrics kid",
            "infolab.mmd.polynomial_mmd2",
            "infolab.mmd.polynomial_gram",
            "infolab.mmd.mmd2_of",
        ),
        small,
        kid,
        dict.fromkeys(("scale", "shift", "permutation", "copies"), exact_kid),
        # Rounding is that of the sums alone: the exact value is of the rounded data. Terms may exceed their sum.
        rounding=1e4,
        relative=True,
    ),
    Instrument(
        "KL by kernel densities",
        ("diffusion.toy_evaluate.kl_kde", "diffusion.toy_evaluate.log_kde"),
        pair,
        kde,
        {"scale": same, "shift": same, "permutation": same, "copies": same},
    ),
    Instrument(
        "MMD, median width",
        ("infolab.metrics.mmd", "infolab metrics mmd"),
        pair,
        mmd,
        {"scale": same, "shift": same, "permutation": same, "copies": mmd_of_copies(None)},
    ),
    Instrument(
        "MMD, width of its own",
        ("infolab.mmd.mmd2", "infolab.mmd.mmd2_loss", "infolab.mmd.gaussian_kernel", "infolab.mmd.median_bandwidth"),
        pair,
        mmd_of_width,
        {"scale": same, "shift": same, "permutation": same, "copies": mmd_of_copies(1.3)},
    ),
)
