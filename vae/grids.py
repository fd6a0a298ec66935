"""Which runs make up a finished K x L grid, and the rows of its memorization scores."""

import dataclasses
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, overload

import numpy as np

from infolab.config import EXCLUDED_FROM_RUN_ID, identity
from infolab.errors import UserError
from infolab.memorization import MeanError, MeanErrors, Scores
from infolab.results.images import load_arrays
from infolab.results.whole import DamagedError, read_provenance
from infolab.runs import Run
from infolab.storage import load_latest
from vae.config import VAEConfig
from vae.images import Inputs
from vae.models import VAE
from vae.objective import fold_of, members_of
from vae.run import build
from vae.tables import Memorization

# ----------
# Which runs make up a finished K x L grid, and where each network's log p(x) and weights are.

FREE = ("repeat", "folds")
"""Settings in which the runs of one grid differ."""


@dataclass(frozen=True)
class GridConfig(VAEConfig):
    """A whole K x L grid, and how its images are compared with each other; what a grid is, `vae.cv` says."""

    mode: str = "cv"
    """cv: the runs of a K x L cross-validation grid."""
    L: int = 10
    """Repeats of the grid that enter the scores, the first L; all of their runs must be finished."""
    within: float = field(default=0.01, metadata=EXCLUDED_FROM_RUN_ID)
    """Training images are listed as near-duplicates up to this distance: root mean square difference over pixels, as a
    fraction of the grey range."""
    closest: int = field(default=20, metadata=EXCLUDED_FROM_RUN_ID)
    """Closest pairs of training images that are listed in any case."""

    def check(self) -> None:
        """Refuse settings that cannot run, before anything is written."""
        super().check()
        if self.mode != "cv":
            raise UserError(f"memorization is measured over cross-validation grids: --mode cv, not {self.mode}")
        if not 0 <= self.within < 1 or self.closest < 1:
            raise UserError("--within must lie in [0, 1) and --closest must be at least 1")

    @property
    def estimator_name(self) -> str:
        """What the table of scores calls the estimate of log p(x)."""
        return f"importance[{self.n_z}, {self.proposal}/{self.points}]"


def as_grid(config: VAEConfig) -> GridConfig:
    """The grid that a config of `vae.cv` describes."""
    return GridConfig(**{item.name: getattr(config, item.name) for item in dataclasses.fields(VAEConfig)})


def whole(config: GridConfig) -> list[GridConfig]:
    """The grid without what chooses runs of it."""
    return [dataclasses.replace(config, repeat=-1, folds=(), together=0)]


@dataclass(frozen=True, eq=False)
class Network:
    """One network of a grid.

    Attributes:
        repeat: which partition into folds.
        fold: the fold that it never saw.
        logpx: log p(x) of the measured images, float32 (E, r).
        epochs: epochs of its first axis (E,).
        rows: the measured images, as rows of the training images (r,).
        labels: their classes (r,).
    """

    repeat: int
    fold: int
    logpx: np.ndarray
    epochs: np.ndarray
    rows: np.ndarray
    labels: np.ndarray


def networks(grid: GridConfig, index: np.ndarray) -> Iterator[Network]:
    """Every network of the grid once; the files are read one after the other.

    Args:
        grid: the grid.
        index: position in the data set of each training image, sorted (n,).

    Raises:
        UserError: a network of the grid has not been trained, or its log p(x) not measured.
    """
    wanted = {(repeat, fold) for repeat in range(grid.L) for fold in range(grid.K)}
    for provenance, path in _files(grid):
        repeat = int(provenance["config"]["repeat"])
        found = load_arrays(path)
        mine = [j for j, fold in enumerate(found["folds"].tolist()) if (repeat, fold) in wanted]
        if not mine:
            continue
        logpx, folds, epochs = found["train_logpx"], found["folds"], found["epochs"]
        rows, labels = np.searchsorted(index, found["train_index"]), found["train_label"]
        for j in mine:
            wanted.remove((repeat, int(folds[j])))
            yield Network(repeat, int(folds[j]), logpx[j], epochs, rows, labels)
    if wanted:
        repeat, fold = min(wanted)
        raise UserError(
            f"{len(wanted)} of the {grid.K} x {grid.L} networks of the grid at lr {grid.lr:g} are not finished (repeat "
            f"{repeat}, fold {fold} is the first): run vae/run_memorization.sh to its end, or ask for fewer with --L"
        )


def folds_of(grid: GridConfig, n: int) -> np.ndarray:
    """The fold of each of n training images in each repeat, (L, n)."""
    return np.stack([fold_of(n, grid.K, grid.seed, repeat).numpy() for repeat in range(grid.L)])


def mean_errors(grid: GridConfig, index: np.ndarray) -> dict[int, MeanError]:
    """The error of the mean score of a grid's measured images, by epoch.

    Args:
        grid: the grid.
        index: position in the data set of each training image, sorted (n,).

    Raises:
        UserError: see `networks`.
    """
    folds, pieces = folds_of(grid, len(index)), defaultdict[int, dict[int, np.ndarray]](dict)
    errors: MeanErrors | None = None
    for network in networks(grid, index):
        errors = errors or MeanErrors(len(network.rows), len(network.epochs))
        repeat = pieces[network.repeat]
        repeat[network.fold] = network.logpx
        if len(repeat) == grid.K:
            errors.add(np.stack([repeat[fold] for fold in range(grid.K)]), folds[network.repeat][network.rows])
            del pieces[network.repeat]
    assert errors is not None, "a grid has networks"
    return dict(zip(network.epochs.tolist(), errors.found(), strict=True))


def last_networks(grid: GridConfig, inputs: Inputs, repeat: int) -> Iterator[tuple[list[int], VAE]]:
    """The networks of one repeat with their last weights, ready to evaluate: folds held out, and their batch.

    Runs whose checkpoint is gone are left out.

    Args:
        grid: the grid.
        inputs: its training images.
        repeat: which repeat.
    """
    for provenance, _ in _files(grid):
        folds = provenance["config"]["folds"]
        if provenance["config"]["repeat"] != repeat:
            continue
        config = VAEConfig(**{**_settings(grid), "repeat": repeat, "folds": tuple(folds)})
        saved = load_latest(Run("vae", "cv", "", config).folder)
        if saved and saved[1]:
            trained = build(config, members_of(config, len(inputs)), inputs)
            weights = {name.removeprefix("model/"): item for name, item in saved[1].items() if "model/" in name}
            trained.load_state_dict(weights)
            yield folds, trained.vae.eval().requires_grad_(False)


def _settings(grid: GridConfig) -> dict[str, Any]:
    return {item.name: getattr(grid, item.name) for item in dataclasses.fields(VAEConfig)}


def _files(grid: GridConfig) -> Iterator[tuple[dict[str, Any], Path]]:
    """Provenance and arrays of the finished runs of the grid, in the order of their repeats."""
    wanted = {"contents": {}} | identity(VAEConfig(**_settings(grid)))
    wanted = {name: item for name, item in wanted.items() if name not in FREE}
    found = []
    for path in sorted((grid.results_dir / "vae" / "images").glob("*.npz")):
        try:
            provenance = read_provenance(path)
        except DamagedError as error:
            raise UserError(
                f"'{path}' is damaged ({error}): delete it and run vae/run_memorization.sh again"
            ) from error
        config = {"contents": {}} | provenance.get("config", {})
        if provenance.get("experiment") == "cv" and all(config.get(name) == item for name, item in wanted.items()):
            found.append((provenance, path))
    yield from sorted(found, key=lambda one: (one[0]["config"]["repeat"], one[0]["config"]["folds"]))


# ----------
# Rows of the table of memorization scores, made one at a time from arrays.


class ScoreRows(Sequence[Memorization]):
    """Rows of vae/memorization, made one at a time: a million of them need not be in memory at once.

    Args:
        settings: the columns that all rows share.
        epochs: epochs (E,).
        index: position of each image in the training split (n,).
        labels: their classes (n,).
        scores: scores (E, n).
    """

    def __init__(
        self, settings: dict[str, Any], epochs: np.ndarray, index: np.ndarray, labels: np.ndarray, scores: Scores
    ):
        self.settings, self.epochs, self.positions, self.labels, self.scores = settings, epochs, index, labels, scores
        self.places = np.flatnonzero((scores.runs_in > 0) & (scores.runs_out > 0))

    def __len__(self) -> int:
        return len(self.epochs) * len(self.places)

    @overload
    def __getitem__(self, place: int) -> Memorization: ...

    @overload
    def __getitem__(self, place: slice) -> list[Memorization]: ...

    def __getitem__(self, place: int | slice) -> Memorization | list[Memorization]:
        if isinstance(place, slice):
            return [self[one] for one in range(*place.indices(len(self)))]
        if not 0 <= place < len(self):
            raise IndexError(place)
        epoch, one = divmod(place, len(self.places))
        i, found = self.places[one], self.scores
        error = float(found.score_se[epoch, i])
        return Memorization(
            **self.settings, epoch=int(self.epochs[epoch]), index=int(self.positions[i]), label=int(self.labels[i]),
            logpx_in=float(found.logpx_in[epoch, i]), logpx_out=float(found.logpx_out[epoch, i]),
            score=float(found.score[epoch, i]), score_se=None if np.isnan(error) else error,
            runs_in=int(found.runs_in[i]), runs_out=int(found.runs_out[i]),
        )  # fmt: skip
