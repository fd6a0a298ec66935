"""The commands of `infolab metrics`: options in, a record of estimates out."""

import json
import math
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from infolab.arrays import check_out
from infolab.config import called_as, default_device, parse_options
from infolab.data.places import default_data_dir
from infolab.device import pick_device
from infolab.errors import UserError, check_choice, run_main
from infolab.metrics.codes import auroc_matrix, binarise, dci, mig, tad
from infolab.metrics.distances import fid, kid, mmd
from infolab.metrics.features import NONE, PIXELS, Extractor, Features, Moments, Pixels, moments, save_moments
from infolab.metrics.inputs import (
    data_set,
    is_data_set,
    read_codes,
    read_factors,
    read_features,
    read_images,
    read_samples,
    targets_of,
)
from infolab.metrics.measured import Measured, as_factors
from infolab.metrics.networks import load_extractor, train_extractor
from infolab.metrics.probes import information, latent_classification
from infolab.metrics.sensitivity import require

# ----------
# Options of the commands of `python -m infodiffusion.metrics`.


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


# ----------
# The commands of `python -m infodiffusion.metrics`: options in, a record of estimates out.

Record = dict[str, Any]

HELD_OUT_EVERY = 10
"""Of a folder or an array every tenth image is held out of a network's training."""
MOST_PAIRS = 4_096
"""AUROCs of single codes are printed one by one up to this many pairs."""


def run_dci(options: CodeOptions) -> Record:
    """Disentanglement, completeness, informativeness, and the importances (codes x factors `kept`)."""
    codes, factors = _codes_and_factors(options)
    found = dci(codes, factors, options.variant, options.seed, options.folds, options.jobs)
    return {**_records(found.measured()), "importance": _numbers(found.importance), "kept": _varying(factors)}


def run_mig(options: CodeOptions) -> Record:
    """The mutual information gap."""
    codes, factors = _codes_and_factors(options)
    return {**_records([mig(codes, factors, options.bins)]), "kept": _varying(factors)}


def run_tad(options: CodeOptions) -> Record:
    """TAD and attributes captured."""
    codes, factors = _codes_and_factors(options)
    factors = factors[:, None] if factors.ndim == 1 else factors
    found = tad(codes, binarise(factors) if options.binarise else factors, options.seed, folds=options.folds)
    return {
        **_records([found.tad, found.captured]),
        "kept": found.kept.tolist(),
        "best": _numbers(found.best),
        "gap": _numbers(found.gap),
    }


def run_auroc(options: CodeOptions) -> Record:
    """Latent classification, by factor too (those `kept`), and the AUROC of each single code for each binary one."""
    codes, factors = _codes_and_factors(options)
    found = latent_classification(codes, factors, options.folds, options.seed)
    record = _records([found.auroc, found.accuracy])
    record["per_factor"] = [{"auroc": float(a), "accuracy": float(b)} for a, b in found.per_factor]
    record["kept"] = _varying(factors)
    numbers = as_factors(factors, len(codes))
    binary = numbers.max(0) == 1
    if 0 < codes.shape[1] * int(binary.sum()) <= MOST_PAIRS:
        record["single_code_auroc"] = _numbers(auroc_matrix(codes, numbers[:, binary]))
    return record


def run_fid(options: SampleOptions) -> Record:
    """The Frechet distance."""
    extractor, seen = _seeing(options)
    real, generated = read_samples(options.real, options.generated, extractor, options.data_dir)
    return _records([fid(real, generated, _reference(options.ref, options.real), options.force)]) | seen


def run_kid(options: SampleOptions) -> Record:
    """The kernel distance with KID's kernel."""
    real, generated, seen = _both(options)
    return _records([kid(real, generated, _reference(options.ref, options.real))]) | seen


def run_mmd(options: SampleOptions) -> Record:
    """MMD^2 with a Gaussian kernel."""
    real, generated, seen = _both(options)
    found = mmd(real, generated, options.kernel, options.biased, _reference(options.ref, options.real))
    return _records([found]) | seen


def run_stats(options: StatsOptions) -> Record:
    """Write moments of the features of images, and say what was written."""
    out = check_out(options.out, "--out", "STATS.npz", [options.images])
    extractor = _extractor(options)
    features = read_features(options.images, "--images", extractor, options.data_dir)
    kept = moments(features, _reference(options.ref, options.images))
    save_moments(kept, out)
    return {
        "out": options.out,
        "extractor": kept.extractor,
        "resize": kept.resize,
        "reference": kept.reference,
        "n": kept.n,
        "d": len(kept.mean),
    }


def run_features(options: FeatureOptions) -> Record:
    """Train a small network on a data set, measure what it sees on held-out images, and write it with that table.

    Held out are the test images of a registered set, else every tenth image.
    """
    out = check_out(options.out, "--out", "NET.safetensors", [options.data])
    images = read_images(options.data, "--data", options.data_dir)
    factors, modes, name = None, None, Path(options.data).stem
    if is_data_set(options.data):
        known = data_set(options.data, options.data_dir)
        factors, name = targets_of(known), known.name
        other = f"{name}:{'train' if known.split == 'test' else 'test'}"
        held_out, modes = read_images(other, "--data", options.data_dir), targets_of(data_set(other, options.data_dir))
    else:
        chosen = torch.arange(len(images)) % HELD_OUT_EVERY == HELD_OUT_EVERY - 1
        images, held_out = images[~chosen], images[chosen]
    network = train_extractor(images, factors, f"small-{name}", options.seed, options.steps)
    network.calibrate(held_out, modes).save(out)
    found = require(network, force=True)  # says what it sees, and that metrics will refuse it where that is too little
    seen = found.as_record() if found else None
    said = {"out": options.out, "extractor": network.name, "classes": list(network.classes), "n": len(images)}
    return said | ({"sensitivity": seen} if options.json else {})


def run_information(options: InformationOptions) -> Record:
    """Mutual information of inputs and codes."""
    codes = read_codes(options.codes, "--codes", options.data_dir)
    inputs = read_codes(options.inputs, "--inputs", options.data_dir)
    if len(codes) != len(inputs):
        raise UserError(f"{len(codes)} codes and {len(inputs)} inputs: expected pairs, in the same order")
    device = pick_device(options.device)
    found = information(codes, inputs, options.seed, options.steps, options.minutes, device)
    for sentence in found.warnings:
        sys.stderr.write(f"warning: {sentence}\n")
    return _records([found])


COMMANDS: dict[str, tuple[type, Callable[[Any], Record]]] = {
    "dci": (CodeOptions, run_dci),
    "mig": (CodeOptions, run_mig),
    "tad": (CodeOptions, run_tad),
    "auroc": (CodeOptions, run_auroc),
    "fid": (SampleOptions, run_fid),
    "kid": (SampleOptions, run_kid),
    "mmd": (SampleOptions, run_mmd),
    "stats": (StatsOptions, run_stats),
    "features": (FeatureOptions, run_features),
    "information": (InformationOptions, run_information),
}
"""Name of each command, its options and what it does."""


def _codes_and_factors(options: CodeOptions) -> tuple[np.ndarray, np.ndarray]:
    codes = read_codes(options.codes, "--codes", options.data_dir, whole=True)
    return codes, read_factors(options.factors, options.data_dir)


def _both(options: SampleOptions) -> tuple[Features, Features, Record]:
    """Features of both samples, and what the network sees."""
    extractor, seen = _seeing(options)
    real, generated = read_samples(options.real, options.generated, extractor, options.data_dir)
    if isinstance(real, Moments):
        raise UserError(f"'{options.real}' holds moments, which only fid takes: give the examples themselves")
    return real, generated, seen


def _seeing(options: SampleOptions) -> tuple[Extractor | None, Record]:
    """The extractor, and for JSON what it sees, which is said on standard error; a blind one is refused."""
    extractor = _extractor(options)
    found = require(extractor, options.force_features) if extractor else None
    return extractor, {"sensitivity": found.as_record()} if found and options.json else {}


def _extractor(options: SampleOptions | StatsOptions) -> Extractor | None:
    if options.features == NONE:
        return None
    if options.features == PIXELS:
        return Pixels()
    return load_extractor(Path(options.features), options.resize, pick_device(options.device))


def _reference(ref: str, source: str) -> str:
    return ref or (source.partition(":")[2] if is_data_set(source) else "") or "train"


def _varying(factors: np.ndarray) -> list[int]:
    """Numbers of the factors that vary; the others, which metrics leave out, are said on standard error."""
    columns = factors.reshape(len(factors), -1)
    constant = (columns == columns[0]).all(0)
    if constant.any():
        left_out = ", ".join(map(str, np.flatnonzero(constant)))
        sys.stderr.write(f"constant factors, counted from 0, are left out: {left_out}\n")
    return np.flatnonzero(~constant).tolist()


def _records(found: Iterable[Measured]) -> Record:
    """Records by the metric's name without its settings."""
    return {item.name.split("[")[0]: item.as_record() for item in found}


def _numbers(array: np.ndarray) -> Any:
    """Nested lists for JSON, NaN as null."""
    if array.ndim > 1:
        return [_numbers(row) for row in array]
    return [None if math.isnan(number) else float(number) for number in array]


# ----------
# `python -m infodiffusion.metrics COMMAND`: metrics of samples and codes on plain files; `USAGE` says which.

USAGE = """\
`{command} COMMAND`: metrics of samples and codes on plain files.

dci, mig, tad, auroc    --codes A.npy --factors Y.npy
fid, kid, mmd           --real X.npy --generated Y.npy --features none|pixels|PATH
stats                   --images DIR --out STATS.npz --features none|pixels|PATH
features                --data sprites --out NET.safetensors
information             --codes A.npy --inputs X.npy
Each with --json for one JSON object, --help for every option.
"""
# Not the docstring, which python -OO leaves out.


def main() -> None:
    """Run the command named first."""
    words = sys.argv[1:]
    if not words or words[0] in ("-h", "--help"):
        print(USAGE.format(command=called_as("python -m infodiffusion.metrics")), end="")
        return
    command = check_choice("command", words[0], list(COMMANDS))
    options_type, run = COMMANDS[command]
    options: Any = parse_options(options_type, f"{called_as('python -m infodiffusion.metrics')} {command}", words[1:])
    record = run(options)
    if options.json:
        print(json.dumps(record))
        return
    for name, item in record.items():
        print(f"{name:22} {_line(item)}")


def _line(item: Any) -> str:
    if not isinstance(item, dict):
        return str(item)
    error = "" if item["se"] is None else f" +- {item['se']:.4g}"
    rest = ", ".join(f"{key} {number:.6g}" for key, number in item.items() if key not in ("value", "se", "name"))
    return f"{item['value']:.6g}{error}  ({item['name']}; {rest})"


if __name__ == "__main__":
    run_main(main)
