"""The commands of `python -m infodiffusion.metrics`: options in, a record of estimates out."""

import math
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from common.device import pick_device
from common.errors import UserError
from common.outputs import check_out
from infodiffusion.metrics.auroc import auroc_matrix, binarise
from infodiffusion.metrics.classify import latent_classification
from infodiffusion.metrics.dci import dci
from infodiffusion.metrics.features import NONE, Extractor, Features, Moments, moments, save_moments
from infodiffusion.metrics.frechet import fid
from infodiffusion.metrics.inception import load_extractor
from infodiffusion.metrics.information import information
from infodiffusion.metrics.inputs import (
    data_set,
    is_data_set,
    read_codes,
    read_factors,
    read_features,
    read_images,
    read_samples,
    targets_of,
)
from infodiffusion.metrics.kernel import kid, mmd
from infodiffusion.metrics.measured import Measured, as_factors
from infodiffusion.metrics.mig import mig
from infodiffusion.metrics.options import CodeOptions, FeatureOptions, InformationOptions, SampleOptions, StatsOptions
from infodiffusion.metrics.pixels import PIXELS, Pixels
from infodiffusion.metrics.sensitivity import require
from infodiffusion.metrics.small_network import train_extractor
from infodiffusion.metrics.tad import tad

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
