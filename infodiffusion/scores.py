"""The modes that score codes and samples, and those that keep codes and show them."""

import dataclasses
import functools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from infodiffusion.checkpoint import experiment_of, folder_of, images_of, load_coded
from infodiffusion.config import InfoConfig, canonical_config
from infodiffusion.networks import draw_prior
from infodiffusion.outputs import code_arrays, for_figures, keep_arrays, keep_pictures, saved, spread_over
from infodiffusion.tables import InfoQuality
from infolab import metrics
from infolab.data import ImageSet
from infolab.data.folders import load_resized
from infolab.device import pick_device, precision_label
from infolab.errors import UserError
from infolab.files import load_npy
from infolab.metrics.inputs import targets_of
from infolab.metrics.sensitivity import require
from infolab.noise import generator
from infolab.results import write
from infolab.runs import Run
from infolab.storage import Pieces, fingerprint

# ----------
# The modes that score codes and samples.

ENOUGH = 2_000
"""Test images from which on codes are scored on them alone; smaller sets lend their training images too."""
MOST_REFERENCE = 10_000
EXTRACTED = 1024
"""Images of a piece of features, whole batches of `metrics.extract`."""

Compute = Callable[[], list[metrics.Measured]]


def score_disentanglement(preset: str, config: InfoConfig) -> None:
    """eval_disentangle: DCI and MIG against the factors, TAD against the attributes (factors above their median).

    What is not defined has no row: disentanglement of one factor, completeness and gaps of one code, TAD of labels.
    """
    run = Run("infodiffusion", experiment_of(config), preset, config)
    codes, factors, images = _scored(config, "factors")
    with run.open():
        keep = _keeping(run, codes=codes, factors=factors)
        found = keep("dci", lambda: metrics.dci(codes, factors, config.dci_variant, config.seed).measured())
        if codes.shape[1] > 1:
            found += keep("mig", lambda: [metrics.mig(codes, factors)])
        binary = set(np.unique(factors)) <= {0, 1}
        # Classes above and below the median class are no attribute.
        if codes.shape[1] > 1 and (binary or factors.shape[1] > 1):
            attributes = factors if binary else metrics.binarise(factors)
            found += keep("tad", lambda: metrics.tad(codes, attributes, seed=config.seed).measured())
        _write(run, config, found, "none", images)


def score_classification(preset: str, config: InfoConfig) -> None:
    """train_classifier: AUROC and accuracy of logistic regressions from the code, 5 folds, mean over factors."""
    run = Run("infodiffusion", experiment_of(config), preset, config)
    codes, factors, images = _scored(config, "factors")
    with run.open():
        keep = _keeping(run, codes=codes, factors=factors)
        found = keep("classes", lambda: metrics.latent_classification(codes, factors, seed=config.seed).measured())
        _write(run, config, found, "none", images)


def score_samples(preset: str, config: InfoConfig) -> None:
    """calc_fid: FID (from 2,048 samples on), KID and MMD of eval_fid's images against training images.

    `--reference` names others: statistics (.npz), which FID alone takes, or a folder of images.
    """
    run, device = Run("infodiffusion", experiment_of(config), preset, config), pick_device(config.device)
    path = folder_of(canonical_config(config, "eval_fid")) / "generated.npy"
    if not path.is_file():
        raise UserError(f"no samples '{path}': run the same command with --mode eval_fid first")
    generated = load_npy(path, remedy="run the same command with --mode eval_fid --force again")
    against, name = _reference(config, device)
    with run.open():
        extractor = _extractor(config, device)
        seen = require(extractor, config.force_features, run.say)
        pieces = Pieces(run.folder, f"{fingerprint({'generated': torch.from_numpy(generated)})} {extractor.name}")
        keep = functools.partial(_measured, pieces)
        drawn = _features(pieces, "generated", extractor, generated)
        if against is None:
            found = keep("fid", lambda: [metrics.fid(metrics.load_moments(Path(config.reference)), drawn)])
        else:
            real = _features(pieces, "reference", extractor, _pixels(spread_over(against, MOST_REFERENCE)))
            enough = min(len(generated), len(real.values)) >= metrics.LEAST_FOR_FID
            found = keep("fid", lambda: [metrics.fid(real, drawn, name)]) if enough else []
            found += keep("kid", lambda: [metrics.kid(real, drawn, name)])
            found += keep("mmd", lambda: [metrics.mmd(real, drawn, reference=name)])
        _write(run, config, found, sampling_name(config), name, {"sensitivity": seen.as_record()} if seen else {})


def sampling_name(config: InfoConfig) -> str:
    """How samples were drawn, for tables.

    >>> sampling_name(InfoConfig(steps=50))
    'ddim,steps=50,eta=0.01,codes=prior'

    Two phases are DDIM's, with all steps where `steps` is 0:

    >>> sampling_name(InfoConfig(steps=0, sampling="two-phase"))
    'ddim,steps=1000,eta=0.01,codes=two-phase,split=500'
    """
    if config.model == "vae":
        return "decoder,codes=prior"
    steps = config.T if config.sampling == "two-phase" and not config.steps else config.steps
    sampler = f"ddim,steps={steps},eta={config.eta:g}" if steps else f"ddpm,steps={config.T}"
    sampler += precision_label(config.precision)
    codes = {"prior": "prior", "latent": "latent", "two-phase": f"two-phase,split={config.split_step}"}[config.sampling]
    return sampler if config.model == "vanilla" else f"{sampler},codes={codes}"


def _keeping(run: Run, **scored: np.ndarray) -> Callable[[str, Compute], list[metrics.Measured]]:
    """`_measured` with the pieces of metrics of these arrays."""
    of = fingerprint({name: torch.from_numpy(array) for name, array in scored.items()})
    return functools.partial(_measured, Pieces(run.folder, of))


def _measured(pieces: Pieces, name: str, compute: Compute) -> list[metrics.Measured]:
    """Metrics as a piece called `name`, in the form of JSON."""

    def as_bytes() -> dict[str, Tensor]:
        text = json.dumps([dataclasses.asdict(one) for one in compute()])
        return {"json": torch.tensor(list(text.encode()), dtype=torch.uint8)}

    text = bytes(pieces(name, as_bytes)["json"].tolist()).decode()
    return [metrics.Measured(**one) for one in json.loads(text)]


def _features(pieces: Pieces, name: str, extractor: metrics.Extractor, images: np.ndarray) -> metrics.Features:
    """`metrics.extract` in pieces of whole batches."""
    parts = [
        pieces(
            f"features-{name}-{first:07d}",
            lambda: {"values": metrics.extract(extractor, images[first : first + EXTRACTED]).values},  # noqa: B023 (called at once)
        )
        for first in range(0, len(images), EXTRACTED)
    ]
    return metrics.Features(torch.cat([part["values"] for part in parts]), extractor.name, extractor.resize)


def _scored(config: InfoConfig, name: str) -> tuple[np.ndarray, np.ndarray, str]:
    """Codes, what they are scored against, and which images they are of."""
    codes, factors = saved(config, "codes_test"), saved(config, f"{name}_test")
    if len(codes) < ENOUGH:
        codes = np.concatenate([saved(config, "codes_train"), codes])
        factors = np.concatenate([saved(config, f"{name}_train"), factors])
        return codes, factors, "train and test"
    rows = np.linspace(0, len(codes) - 1, min(config.codes, len(codes))).round().astype(int)
    return codes[rows], factors[rows], "test"


def _reference(config: InfoConfig, device: torch.device) -> tuple[ImageSet | None, str]:
    """The images that samples are compared with (None: statistics in a file), and what tables call them."""
    if not config.reference:
        return images_of(config, device)[0], "train"
    path = Path(config.reference).expanduser()
    if path.suffix == ".npz":
        return None, path.stem
    if not path.is_dir():
        raise UserError(f"--reference '{path}' is neither statistics (.npz) nor a folder of images: give one of them")
    channels, side = config.shape
    return load_resized(path, config.dataset, "reference", side, channels), path.resolve().name


def _extractor(config: InfoConfig, device: torch.device) -> metrics.Extractor:
    """Inception weights by path, or the small network of the whole training split, trained once and kept."""
    if config.features != "small":
        return metrics.load_extractor(Path(config.features), device=device)
    train, test = images_of(dataclasses.replace(config, m=0), torch.device("cpu"))
    images, name, targets = torch.from_numpy(_pixels(train)), f"small-{config.dataset}", targets_of(train)
    called = metrics.network_name(images, targets, name)
    path = config.runs_dir / "infodiffusion" / "features" / f"{called}.safetensors"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        metrics.train_extractor(images, targets, name).calibrate(_pixels(test), targets_of(test)).save(path)
    return metrics.load_extractor(path, device=device)


def _pixels(images: ImageSet) -> np.ndarray:
    """Images as uint8 (n, c, h, w) of 256 levels."""
    pixels = images.images.cpu().numpy()
    if images.levels == 256:
        return pixels
    shown = for_figures(pixels, images.levels)
    return shown[:, None] if shown.ndim == 3 else shown.transpose(0, 3, 1, 2)


def _write(
    run: Run,
    config: InfoConfig,
    found: Sequence[metrics.Measured],
    sampling: str,
    images: str,
    more: dict[str, Any] | None = None,
) -> None:
    """Write the rows; `more` goes to their provenance."""
    coded = config.model != "vanilla"
    rows = [
        InfoQuality(
            dataset=config.dataset,
            model=config.model_name,
            prior=config.prior,
            a_dim=config.a_dim if coded else 0,
            mmd_weight=config.mmd_weight if coded else 0.0,
            kld_weight=config.kld_weight if coded else 0.0,
            seed=config.seed,
            m=config.m,
            epoch=config.epochs,
            sampling=sampling,
            images=images,
            metric=one.name,
            n=one.n,
            value=one.value,
            se=one.se,
        )
        for one in found
    ]
    write(config.results_dir, InfoQuality, run.id, rows, run.provenance() | (more or {}))
    run.say(f"{config.model_name}: " + ", ".join(f"{one.name} {one.value:.3f}" for one in found))


# ----------
# The modes that keep codes and show them.

PLOTTED = 2_000


def save_codes(preset: str, config: InfoConfig) -> None:
    """save_latent: codes_train.npy, codes_test.npy, and factors and labels of the same images."""
    run, device = Run("infodiffusion", experiment_of(config), preset, config), pick_device(config.device)
    train, test = images_of(config, device)
    model = load_coded(config, device)
    with run.open():
        keep_arrays(run, config, code_arrays(model, train, test, Pieces(run.folder, model)))


def plot_codes(preset: str, config: InfoConfig) -> None:
    """plot_latent: the first two coordinates of at most 2,000 test codes, their labels, and draws of the prior."""
    run = Run("infodiffusion", experiment_of(config), preset, config)
    codes = saved(config, "codes_test")
    labels = saved(config, "labels_test")
    with run.open():
        rows = np.linspace(0, len(codes) - 1, min(PLOTTED, len(codes))).round().astype(int)
        prior = draw_prior(config.prior, len(rows), config.a_dim, generator(config.seed, "plot")).numpy()
        keep_pictures(run, config, {"codes": codes[rows][:, :2], "labels": labels[rows], "prior_draws": prior[:, :2]})
