"""Result files of the public memorization study (van den Burg and Williams 2021) as tables of the lab.

`python -m vae.memorization import DIR [--results-dir ...] [--data-dir ...]`: every `*_cv_repeat{r}_fold{k}.json.gz` in
and below DIR. Each (data set, model, seed, learning rate) is a grid of its own.
"""

import re
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from infolab.config import EXCLUDED_FROM_RUN_ID, RunConfig, parse_options, user_path
from infolab.data import load
from infolab.data.places import default_data_dir, file_md5
from infolab.errors import UserError
from infolab.files import DamagedFileError, load_json, reading
from infolab.memorization import ScoreSums
from infolab.results import write
from infolab.runs import Run
from vae.grids import ScoreRows
from vae.tables import ImportedLosses, Memorization

NAME = re.compile(r"_cv_repeat(\d+)_fold(\d+)\.json\.gz$")
DATASETS = {"BinarizedMNIST": "mnist", "CIFAR10": "cifar10", "CelebA": "celeba"}
"""Their names of data sets in the registry of the lab."""
WHAT, REMEDY = "a result file of the study", "fetch it again"
META: dict[str, Any] = {"dataset": str, "model": str, "seed": int, "learning_rate": (int, float)}
"""What every file says of its networks."""


@dataclass(frozen=True)
class ImportOptions:
    """Scores from the result files of the public memorization study."""

    results_dir: Path = Path("results")
    """Folder of the result tables."""
    data_dir: Path = field(default_factory=default_data_dir)
    """Folder of data sets, from which the classes of the images come where the set is there."""


@dataclass(frozen=True)
class ImportedGrid(RunConfig):
    """What the files of one grid share.

    A grid that is imported again, with more of its files perhaps, replaces what was imported before; another grid of
    the same settings has another first file, and stands beside it.
    """

    dataset: str = ""
    """Name in the registry of the lab."""
    model: str = ""
    """Their description of the model."""
    seed: int = 0
    """Their root seed."""
    lr: float = 0.0
    """Learning rate of Adam."""
    n_z: int = 0
    """Importance samples per image."""
    first_file: str = ""
    """Digest of the file of the lowest repeat and fold."""
    data_dir: Path = field(default_factory=default_data_dir, metadata=EXCLUDED_FROM_RUN_ID)
    """Folder of data sets."""


def import_files(words: Sequence[str]) -> None:
    """Read the files below the folder that is the first word, and write the tables of each grid.

    Raises:
        UserError: no folder, no such files in it, or a file that is damaged or not of this form.
    """
    if not words or words[0].startswith("-"):
        raise UserError("name the folder of the result files: python -m vae.memorization import DIR")
    folder = user_path(words[0])
    options = parse_options(ImportOptions, "python -m vae.memorization import DIR", words[1:])
    if not folder.is_dir():
        raise UserError(f"'{folder}' is not a folder: expected one with files *_cv_repeat0_fold0.json.gz")
    paths = sorted(path for path in folder.rglob("*.json.gz") if NAME.search(path.name))
    if not paths:
        raise UserError(f"no files *_cv_repeat{{r}}_fold{{k}}.json.gz in or below '{folder}': check the path")
    grids: dict[tuple[Path, str], list[Path]] = defaultdict(list)
    for path in paths:  # one grid is one folder and one name up to the repeat
        grids[path.parent, NAME.split(path.name)[0]].append(path)
    for found in [_read_grid(found, options) for found in grids.values()]:  # all are checked before one is written
        _write_grid(found)


@dataclass(frozen=True)
class _Found:
    """What the files of one grid hold, ready to be written."""

    grid: ImportedGrid
    rows: ScoreRows
    losses: list[ImportedLosses]
    files: list[str]
    absent: str


def _read_grid(paths: list[Path], options: ImportOptions) -> _Found:
    meta, results = _read(paths[0])
    grid = ImportedGrid(
        dataset=DATASETS.get(meta["dataset"], meta["dataset"].lower()), model=meta["model"], seed=meta["seed"],
        lr=float(meta["learning_rate"]), n_z=meta.get("num_iw_samples", 0), first_file=file_md5(paths[0])[:12],
        results_dir=options.results_dir, data_dir=options.data_dir,
    )  # fmt: skip
    with reading(paths[0], WHAT, REMEDY):
        epochs = np.array(sorted(map(int, results["logpxs"])), dtype=np.int64)
        names = (int(i) for part in results["logpxs"][str(epochs[0])].values() for i in part)
        index = np.array(sorted(names), dtype=np.int64)
        if not len(index) or index[0] < 0:
            raise DamagedFileError("it has no images, or one below number 0")
    places = [tuple(map(int, NAME.findall(path.name)[0])) for path in paths]
    K, L = max(fold for _, fold in places) + 1, len({repeat for repeat, _ in places})
    shared: dict[str, Any] = {
        "dataset": grid.dataset,
        "model": grid.model,
        "seed": grid.seed,
        "m": len(index),
        "lr": grid.lr,
        "K": K,
    }
    sums, losses = ScoreSums(len(index), (len(epochs),)), []
    for path, (repeat, fold) in zip(paths, places, strict=True):
        own, results = _read(path)
        for name in ("dataset", "model", "seed", "learning_rate"):
            if own[name] != meta[name]:
                raise UserError(f"'{path}' has {name} {own[name]}, '{paths[0].name}' {meta[name]}: import them apart")
        for side, inside in (("train", True), ("test", False)):
            rows, logpx = _side(path, results["logpxs"], side, epochs, index)
            sums.add(logpx, np.full(len(rows), inside), rows)
            losses += [
                ImportedLosses(
                    **shared,
                    grid=grid.first_file,
                    repeat=repeat,
                    fold=fold,
                    epoch=epoch,
                    split=side,
                    loss_nats=float(loss),
                )
                for epoch, loss in enumerate(_losses(path, results, side), start=1)
            ]
    settings = {**shared, "L": L, "estimator": f"imported[{grid.n_z},{grid.first_file[:6]}]"}
    rows_of = ScoreRows(settings, epochs, index, _labels(grid, index), sums.scores())
    if not rows_of:
        raise UserError(f"no image of '{paths[0].parent}' is inside one file and outside another: fetch all folds")
    missing = K * L - len(paths)
    absent = f" ({missing} of {K * L} files are not there)" if missing else ""
    return _Found(grid, rows_of, losses, [path.name for path in paths], absent)


def _write_grid(found: _Found) -> None:
    grid, rows = found.grid, found.rows
    run = Run("vae", "import", "import", grid)
    provenance = run.provenance() | {"files": found.files}
    if found.losses:
        write(grid.results_dir, ImportedLosses, run.id, found.losses, provenance)
    written = write(grid.results_dir, Memorization, run.id, rows, provenance)
    sys.stderr.write(
        f"{grid.model} on {grid.dataset}, lr {grid.lr:g}: {len(found.files)} files{found.absent}, {len(rows.epochs)} "
        f"epochs, {len(rows.places):,} images with a score in {written}\n"
    )


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    content = load_json(path, dict, WHAT, REMEDY)
    with reading(path, WHAT, REMEDY):
        meta, results = content["meta"], content["results"]
        for name, kind in META.items():
            if not isinstance(meta[name], kind) or isinstance(meta[name], bool):
                raise DamagedFileError(f"its {name} is {meta[name]!r}")
        if not isinstance(meta.get("num_iw_samples", 0), int) or not np.isfinite(meta["learning_rate"]):
            raise DamagedFileError("its learning_rate or num_iw_samples is no number")
        if not results["logpxs"] or not isinstance(results["logpxs"], dict):
            raise DamagedFileError("it has no log p(x)")
        return meta, results


def _losses(path: Path, results: dict[str, Any], side: str) -> list[float]:
    """The losses of one side (nats), epoch by epoch; none where the file has none."""
    with reading(path, WHAT, REMEDY):
        losses = np.array(results.get("losses", {}).get(side, []), dtype=np.float64)
        if losses.ndim != 1 or not np.isfinite(losses).all():
            raise DamagedFileError(f"its {side} losses are no finite numbers")
        return losses.tolist()


def _side(
    path: Path, logpxs: dict[str, Any], side: str, epochs: np.ndarray, index: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Rows (r,) and log p(x) (E, r) of the images that a network was trained on (train) or never saw (test)."""
    with reading(path, "a result file with log p(x) of the epochs and images of the first", REMEDY):
        parts = [logpxs[str(epoch)][side] for epoch in epochs]
        names = list(parts[0])
        rows = np.searchsorted(index, np.array(names, dtype=np.int64))
        logpx = np.array([[part[name] for name in names] for part in parts], dtype=np.float64)
    known = (rows < len(index)) & (index[np.minimum(rows, len(index) - 1)] == np.array(names, dtype=np.int64))
    if not known.all() or not np.isfinite(logpx).all():
        raise UserError(f"'{path}': log p(x) of other images than in the first file, or not finite")
    return rows, logpx


def _labels(grid: ImportedGrid, index: np.ndarray) -> np.ndarray:
    """Classes of the images; -1 where the data set is not there."""
    try:
        labels = load(grid.dataset, "train", data_dir=grid.data_dir).labels
    except UserError:
        labels = None
    if labels is None or index[-1] >= len(labels):
        return np.full(len(index), -1)
    return labels.numpy()[index]
