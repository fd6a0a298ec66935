"""Which point clouds and pictures of the diffusion paper are laid out: one seed, every T, of the largest preset."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from infolab import results as tables
from scripts.select import NoRowsError

Files = list[tuple[dict[str, Any], dict[str, np.ndarray]]]
Picked = TypeVar("Picked")
PRESETS = {"paper": 2, "quick": 1}
"""A smoke run's pictures (rank 0) never stand in for those of a real one."""


@dataclass(frozen=True)
class Clouds:
    """Samples (n, 2) by T of the networks of one seed and m, and test points (n, 2) of the true law."""

    m: int
    seed: int
    samples: dict[float, np.ndarray]
    test: np.ndarray


@dataclass(frozen=True)
class Pictures:
    """Images of one seed in [0, 1], (n, h, w) or (n, h, w, 3): samples by split and T, training images by split."""

    seed: int
    m: dict[str, int]
    samples: dict[tuple[str, float], np.ndarray]
    train: dict[str, np.ndarray]


def clouds_by_T(results: Path) -> tuple[Clouds, str]:
    """The sweep over T of the toy networks, and whose it is.

    Raises:
        NoRowsError: no array file has two values of T at one m and seed.
    """
    return _pick(results, "toy", _toy_sweep)


def pictures_by_T(results: Path, dataset: str) -> tuple[Pictures, str]:
    """Samples of the image networks of the seed with the most values of T, and whose they are.

    Raises:
        NoRowsError: there is no array file of this data set.
    """
    return _pick(results, dataset, _image_sweep)


def _pick(results: Path, experiment: str, choose: Callable[[Files], Picked]) -> tuple[Picked, str]:
    problem = f"no arrays of {experiment} in diffusion/images"
    for root in (results, results / "reference"):
        files = tables.read_arrays(root, "diffusion", experiment)
        if files:
            own = results / "diffusion" / "images" / f"{files[0][0]['run_id']}.npz"
            try:
                return choose(files), "yours" if own.exists() and root == results else "reference"
            except NoRowsError as error:
                problem = f"{error} in diffusion/images ({experiment})"
    raise NoRowsError(problem)


def _rank(provenance: dict[str, Any]) -> int:
    return PRESETS.get(str(provenance.get("preset")), 0)


def _toy_sweep(files: Files) -> Clouds:
    groups: dict[tuple[int, int, int], dict[float, np.ndarray]] = {}
    tests: dict[tuple[int, int, int], np.ndarray] = {}
    for provenance, arrays in files:
        # Python floats: a T stored as float32 must print, and compare, as the decimal that it was.
        for m, seed, T, samples in zip(arrays["m"], arrays["seed"], arrays["T"], arrays["samples"], strict=True):
            key = (_rank(provenance), int(m), int(seed))
            groups.setdefault(key, {})[_decimal(T)] = samples
            tests[key] = arrays["test"]
    sweeps = {key: by_T for key, by_T in groups.items() if len(by_T) > 1}
    if not sweeps:
        raise NoRowsError("no sweep over T")
    best = max(sweeps, key=lambda key: (key[0], len(sweeps[key]), -key[2]))
    return Clouds(best[1], best[2], dict(sorted(sweeps[best].items())), tests[best])


def _image_sweep(files: Files) -> Pictures:
    largest = max(_rank(provenance) for provenance, _ in files)
    by_seed: dict[int, list[dict[str, np.ndarray]]] = {}
    for provenance, arrays in files:
        if _rank(provenance) == largest:
            by_seed.setdefault(int(arrays["seed"]), []).append(arrays)
    seed = max(by_seed, key=lambda seed: (len(by_seed[seed]), -seed))
    chosen = by_seed[seed]
    return Pictures(
        seed,
        {str(arrays["split"]): int(arrays["m"]) for arrays in chosen},
        {(str(arrays["split"]), _decimal(arrays["T"])): _unit(arrays, "samples") for arrays in chosen},
        {str(arrays["split"]): _unit(arrays, "train") for arrays in chosen},
    )


def _decimal(T: np.ndarray) -> float:
    return float(f"{float(T):.6g}")


def _unit(arrays: dict[str, np.ndarray], name: str) -> np.ndarray:
    images = arrays[name].astype(np.float64) / (int(arrays["levels"]) - 1)
    channels_first = images.ndim == 4 and images.shape[1] == 3
    return images.transpose(0, 2, 3, 1) if channels_first else images
