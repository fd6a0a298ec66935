"""Rows of memorization scores, neighbours and duplicates, and of the laws of grey levels."""

import numpy as np
import pandas as pd
import torch
from instrument import Instrument, Numbers, Sample, same

from infolab.baselines import fit_categorical_mixture, fit_gaussian_levels, per_pixel_histogram_bpd, pixel_log_mass
from infolab.memorization import MeanErrors, ScoreSums, partitions, score_table, summary
from vae.neighbours import half_resolution, near_duplicates, nearest_distance, neighbour_distances

LEVELS = 17
NO_UNIT = "grey levels are whole numbers without a unit"


def logpx(source: np.random.Generator, runs: int = 6, n: int = 30) -> Sample:
    """log p(x) of n images under 6 networks, each trained on all images but a third: two partitions into thirds."""
    folds = np.stack([(np.arange(n) if run < 3 else np.arange(n) // 10) % 3 == run % 3 for run in range(runs)])
    values = source.normal(size=(runs, n)) * 2 - 90 + 3 * ~folds
    return Sample({"logpx": values, "inside": ~folds}, ("logpx",), (("logpx", "inside"),))


def in_other_units(sample: Sample) -> np.ndarray:
    """log p(x) of data in another unit c: -d ln c is added to each, d = 784."""
    return sample["logpx"] / sample.unit - 784 * np.log(sample.unit)


def scores(sample: Sample) -> Numbers:
    """Scores of each image."""
    sums = ScoreSums(sample["logpx"].shape[1])
    for row, inside in zip(in_other_units(sample), sample["inside"], strict=True):
        sums.add(row, inside)
    found = sums.scores()
    return Numbers(np.concatenate([found.score, found.score_se]))


def score_summary(sample: Sample) -> Numbers:
    """The command's table and summary."""
    runs, n = sample["logpx"].shape
    long = pd.DataFrame(
        {
            "run": np.repeat(np.arange(runs), n), "index": np.tile(np.arange(n), runs),
            "inside": sample["inside"].flatten(), "logpx": in_other_units(sample).flatten(),
        }
    )  # fmt: skip
    table = score_table(long)
    found = summary(table, long)
    low, middle = found["score_quantile_0.5_nats"]["low"], found["score_quantile_0.5_nats"]["value"]
    return Numbers(np.array([found["score_nats"]["value"], found["score_nats"]["se"], low, middle]))


def mean_errors(sample: Sample) -> Numbers:
    """The error of the mean score, by hand from the repeats."""
    errors = MeanErrors(sample["logpx"].shape[1])
    for runs, fold in partitions(~sample["inside"]) or []:
        errors.add(in_other_units(sample)[runs][:, None], fold)
    (found,) = errors.found()
    return Numbers(np.array([found.se, found.df]))


def of_twice_the_networks(before: Numbers, sample: Sample, _after: Sample) -> np.ndarray:
    """n networks, each twice: the squared error (n sum w^2 / (sum w)^2 - 1) / (n - 1) has 2 n - 1 below."""
    score, se = np.split(before.values, 2)
    inside = sample["inside"]
    parts = []
    for side in (inside, ~inside):
        n = side.sum(0)
        w = np.where(side, np.exp(sample["logpx"] - sample["logpx"].max()), 0.0)
        parts.append((n * np.square(w).sum(0) / np.square(w.sum(0)) - 1) / (2 * n - 1))
    assert len(se) == len(parts[0])
    return np.concatenate([score, np.sqrt(parts[0] + parts[1])])


def rows_of(source: np.random.Generator) -> Sample:
    x, y = source.normal(size=(20, 3)), source.normal(size=(30, 3))
    y[:3] = x[:3]
    return Sample({"x": x, "y": y}, ("y", "x"), (("y",),))


def neighbours(sample: Sample) -> Numbers:
    x, y = torch.from_numpy(sample["x"]), torch.from_numpy(sample["y"])
    both = neighbour_distances(x, np.arange(len(x)) % 2, y, {0: y, 1: y[: len(y) // 2]})
    alone = nearest_distance(x, y)
    return Numbers(np.concatenate([alone, both[0]]) / sample.unit)


def halved(sample: Sample) -> Numbers:
    images = half_resolution(torch.from_numpy(sample["x"]).reshape(5, 3, 2, 2).float()).numpy()
    return Numbers(images.flatten() / sample.unit)


def levels(source: np.random.Generator, n: int = 40) -> Sample:
    """Images of levels 4 .. 9, of 17."""
    return Sample({"images": source.integers(4, 10, size=(n, 2, 2))}, ("images",), (("images",),))


def images_of(sample: Sample) -> torch.Tensor:
    return torch.from_numpy(sample["images"]).to(torch.uint8)


def duplicates(sample: Sample) -> Numbers:
    found = near_duplicates(images_of(sample), LEVELS, within=1.0)
    return Numbers(found.distance.numpy())


def pairs_of_copies(before: Numbers, sample: Sample, _after: Sample) -> np.ndarray:
    """Each pair four times, and one pair of distance 0 for each image."""
    return np.sort(np.concatenate([np.zeros(len(sample["images"])), np.repeat(before.values, 4)]))


def gaussian_levels(sample: Sample) -> Numbers:
    law = fit_gaussian_levels(images_of(sample), LEVELS)
    return Numbers(np.array([law.bpd(images_of(sample))[0]]))


def histograms(sample: Sample) -> Numbers:
    """One component of the mixture is the product of the smoothed histograms."""
    images = images_of(sample)
    mixture = fit_categorical_mixture(images, LEVELS, 1)
    return Numbers(np.array([mixture.bpd(images)[0], per_pixel_histogram_bpd(images, images, LEVELS)[0]]))


def histograms_of_copies(_before: Numbers, sample: Sample, _after: Sample) -> np.ndarray:
    """Smoothed by 1 where the counts are twice: what half the smoothing gives of the counts."""
    images = images_of(sample)
    log_mass = pixel_log_mass(images, LEVELS, smoothing=0.5)
    bits = -log_mass.gather(1, images.flatten(1).long().T).sum(0).mean() / (4 * np.log(2))
    return np.array([float(bits)] * 2)


ROWS = (
    Instrument(
        "memorization scores and their errors",
        ("infolab.memorization.ScoreSums", "infolab.memorization.Scores"),
        logpx,
        scores,
        {"scale": same, "shift": same, "permutation": same, "copies": of_twice_the_networks},
        rounding=1e5,  # a unit of 10^9 adds 784 log 10^9 = 16,000 nats to what is spread by 2
    ),
    Instrument(
        "table and summary of scores",
        (
            "infolab.memorization.score_table",
            "infolab.memorization.summary",
            "infolab.memorization.mean_error",
            "infolab.memorization.partitions",
            "infolab memorization",
        ),
        logpx,
        score_summary,
        {
            "scale": same,
            "shift": same,
            "permutation": same,
            "copies": "two equal networks are taken for two",
        },
        rounding=1e5,
    ),
    Instrument(
        "error of a mean score",
        ("infolab.memorization.MeanErrors", "infolab.memorization.MeanError", "infolab.memorization.over_images"),
        logpx,
        mean_errors,
        {"scale": same, "shift": same, "permutation": same, "copies": "two equal networks are taken for two"},
        rounding=1e5,
    ),
    Instrument(
        "nearest neighbours",
        ("vae.neighbours.nearest_distance", "vae.neighbours.neighbour_distances"),
        rows_of,
        neighbours,
        {"scale": same, "shift": same, "permutation": same, "copies": same},
    ),
    Instrument(
        "images at half resolution",
        ("vae.neighbours.half_resolution",),
        lambda source: Sample({"x": source.normal(size=(5, 12))}, ("x",), (("x",),)),
        halved,
        {
            "scale": same,
            "shift": "a mean follows its pixels",
            "permutation": "the same",
            "copies": "the same",
        },
        single=1e-6,
    ),
    Instrument(
        "near duplicates",
        ("vae.neighbours.near_duplicates", "vae.neighbours.Pairs"),
        levels,
        duplicates,
        {"scale": NO_UNIT, "shift": NO_UNIT, "permutation": same, "copies": pairs_of_copies},
    ),
    Instrument(
        "Gaussian law of grey levels",
        ("infolab.baselines.fit_gaussian_levels", "infolab.baselines.GaussianLevels"),
        levels,
        gaussian_levels,
        {"scale": NO_UNIT, "shift": NO_UNIT, "permutation": same, "copies": same},
    ),
    Instrument(
        "histograms of pixels, and their mixture",
        (
            "infolab.baselines.fit_categorical_mixture",
            "infolab.baselines.CategoricalMixture",
            "infolab.baselines.per_pixel_histogram_bpd",
            "infolab.baselines.pixel_log_mass",
        ),
        levels,
        histograms,
        {"scale": NO_UNIT, "shift": NO_UNIT, "permutation": same, "copies": histograms_of_copies},
    ),
)
