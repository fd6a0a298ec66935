"""Options of the commands of `python -m infodiffusion.metrics`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from common.config import default_device
from common.data.places import default_data_dir


@dataclass(frozen=True)
class Common:
    """What every command has."""

    data_dir: Path = field(default_factory=default_data_dir)
    """Folder of data sets that are not built in."""
    json: bool = False
    """Print one JSON object on standard output and nothing else there."""


@dataclass(frozen=True)
class CodeOptions(Common):
    """Metrics of codes, given the factors that made the examples."""

    codes: str = ""
    """A .npy file (examples, code dimensions), or a registered data set (its pixels)."""
    factors: str = ""
    """A .npy file (examples, factors) of classes, in the same order, or a registered data set, as in sprites:test."""
    variant: Literal["forest", "boosted"] = "forest"
    """dci: forest (fast) or boosted (published: scikit-learn's gradient boosting)."""
    folds: int = 5
    """dci, tad, auroc: folds of the cross-validation."""
    bins: int = 20
    """mig: bins of equal width for each code."""
    binarise: bool = False
    """tad: cut factors that are not 0 or 1 at their median."""
    jobs: int = 0
    """dci: processes; 0: one a core."""
    seed: int = 0
    """Seed of folds and trees."""


@dataclass(frozen=True)
class SampleOptions(Common):
    """Distances between a reference sample and generated samples."""

    real: str = ""
    """A .npy file, a folder of images, a registered data set (sprites:test), or for fid a STATS.npz."""
    generated: str = ""
    """A .npy file or a folder of images."""
    features: str = "none"
    """none: the arrays (n, d) are features themselves; pixels: of images, their levels over 255; else a path: Inception
    weights or a network made by `features`."""
    resize: Literal["tf-bilinear", "clean"] = "tf-bilinear"
    """How images are resized for Inception: torch-fidelity's own, or as clean-fid does."""
    device: str = field(default_factory=default_device)
    """Where features are computed: cpu, cuda, mps or auto."""
    ref: str = ""
    """Name of the reference split in the metric's name; empty: the split of a registered data set, else train."""
    force: bool = False
    """fid: also below 2,048 examples."""
    force_features: bool = False
    """fid, kid, mmd: also with a small network that hardly sees noise, or of which nobody measured what it sees."""
    kernel: Literal["median", "published", "dimension"] = "median"
    """mmd: Gaussian of the median distance; exp(-|x-y|^2/d^2); exp(-|x-y|^2/(2d))."""
    biased: bool = False
    """mmd: the V-statistic as published, instead of the unbiased estimate."""


@dataclass(frozen=True)
class StatsOptions(Common):
    """Reference statistics of images, kept for fid."""

    images: str = ""
    """A folder of images, a .npy file or a registered data set (sprites:test)."""
    out: str = ""
    """File to write, STATS.npz."""
    features: str = "none"
    """none, pixels, or a path: Inception weights or a network made by `features`."""
    resize: Literal["tf-bilinear", "clean"] = "tf-bilinear"
    """How images are resized for Inception."""
    device: str = field(default_factory=default_device)
    """Where features are computed: cpu, cuda, mps or auto."""
    ref: str = ""
    """Name of the split, kept in the file; empty: the split of a registered data set, else train."""


@dataclass(frozen=True)
class FeatureOptions(Common):
    """A small feature network trained on a data set, for fid and kid where there are no Inception weights."""

    data: str = ""
    """A registered data set, a folder of images or a .npy file; the last learns to tell rotations."""
    out: str = ""
    """File to write, NET.safetensors."""
    steps: int = 400
    """Optimiser steps of 128 images."""
    seed: int = 0
    """Seed of weights and batches."""


@dataclass(frozen=True)
class InformationOptions(Common):
    """Mutual information of inputs with their codes, in nats."""

    codes: str = ""
    """A .npy file of drawn codes (examples, code dimensions)."""
    inputs: str = ""
    """A .npy file of the inputs in the same order, or a registered data set."""
    steps: int = 0
    """Optimiser steps; 0: 2,000, or what fits into --minutes (give only one)."""
    minutes: float = 0.0
    """Wall time aimed at, instead of --steps."""
    seed: int = 0
    """Seed of halves, weights and noise."""
    device: str = field(default_factory=default_device)
    """Where networks are trained and evaluated: cpu, cuda, mps or auto."""
