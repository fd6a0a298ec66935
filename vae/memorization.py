"""Memorization of a finished grid: scores, the bound with their mean, neighbours, and the commands."""

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from infolab.data import load
from infolab.errors import UserError, check_choice, run_main
from infolab.memorization import ScoreSums, score_file
from infolab.results import read, write, write_arrays
from infolab.runs import Run
from infolab.sweep import Cost, Experiment, run_sweep
from vae.config import kind
from vae.cv import SWEEPS
from vae.evaluate import bound_row
from vae.grids import GridConfig, ScoreRows, as_grid, folds_of, last_networks, mean_errors, networks, whole
from vae.images import Inputs, load_inputs
from vae.importer import import_files
from vae.neighbours import Pairs, half_resolution, near_duplicates, neighbour_distances, sample_means
from vae.tables import Bounds, Curves, Duplicates, Memorization, Neighbours

# ----------
# The generalization bound with the memorization scores' mean as its mutual-information term.


def write_held_out_bounds(preset: str, grid: GridConfig) -> None:
    """The bound with MI = mean_i M_i of the grid, beside the curves of the run on all images at the same settings.

    Nothing is written while that run (`vae.full`) is not there, nor where the tables cannot tell several grids or
    several such runs apart: their rows are never pooled.
    """
    run = Run("vae", "memorization", preset, grid)
    m = grid.m or len(load(grid.dataset, "train", data_dir=grid.data_dir))
    shared = {"dataset": grid.dataset, "model": grid.model_name, "seed": grid.seed, "lr": grid.lr, "m": m}
    own = {"K": grid.K, "L": grid.L, "estimator": grid.estimator_name}
    scores = _only(read(grid.results_dir, "vae/memorization"), **shared, **own)
    curves = _only(read(grid.results_dir, "vae/curves"), **shared, mode="full")
    for frame, columns, what in (
        (scores, ["epoch", "index"], "grids"),
        (curves, ["epoch", "split"], "runs of vae.full"),
    ):
        if frame.duplicated(columns).any():
            run.say(
                f"no bound with the held-out estimator at lr {grid.lr:g}: several {what} have these settings in "
                f"{grid.results_dir}, and their rows cannot be told apart: keep one in a --results-dir of its own"
            )
            return
    shown = {int(epoch): (pair, scores[scores["epoch"] == epoch]) for epoch, pair in curves.groupby("epoch")}
    if all(found.empty for _, found in shown.values()):
        run.say(f"no bound with the held-out estimator at lr {grid.lr:g}: vae/run_vae.sh has no run at these settings")
        return
    errors = mean_errors(grid, load_inputs(grid, torch.device("cpu"))[0].index.numpy())
    rows = [
        bound_row(
            _row(pair, "train"), _row(pair, "test"), float(found["score"].mean()), errors[epoch].se, "held-out"
        )
        for epoch, (pair, found) in shown.items()
        if len(found)
    ]  # fmt: skip
    path = write(grid.results_dir, Bounds, run.id, rows, run.provenance())
    run.say(f"{len(rows)} bounds with the held-out estimator in {path}")


def _only(frame: Any, **settings: object) -> Any:
    for column, wanted in settings.items():
        frame = frame[frame[column] == wanted]
    return frame


def _row(pair: Any, split: str) -> Curves:
    record: dict[str, Any] = pair[pair["split"] == split].iloc[-1].to_dict()
    record = {str(name): None if item != item else item for name, item in record.items()}
    return Curves(**record)


# ----------
# What is computed of a finished grid: memorization scores, neighbours, near-duplicates, and the bound with them.

CPU = torch.device("cpu")
SHOWN = 15
"""Images of each kind in the pictures of memorized ones, as published."""
PAIRS = 10
"""Closest pairs of training images that are shown."""


def grid_scores(grid: GridConfig, inputs: Inputs) -> ScoreRows:
    """The scores of every training image whose log p(x) the grid has measured, at every measured epoch.

    Raises:
        UserError: the grid is not finished.
    """
    index = inputs.index.numpy()
    folds, labels = folds_of(grid, len(index)), np.full(len(index), -1)
    epochs = np.arange(grid.logpx_every, grid.epochs + 1, grid.logpx_every)
    sums = ScoreSums(len(index), (len(epochs),))
    for network in networks(grid, index):
        labels[network.rows] = network.labels
        inside = folds[network.repeat][network.rows] != network.fold
        sums.add(network.logpx, inside, network.rows)
    settings = {**settings_of(grid, len(index)), "L": grid.L, "estimator": grid.estimator_name}
    return ScoreRows(settings, epochs, index, labels, sums.scores())


def analyse(preset: str, grid: GridConfig) -> None:
    """Scores, neighbours and near-duplicates of one grid, each into its table, and pictures of what they single out."""
    run = Run("vae", "memorization", preset, grid)
    inputs, _ = load_inputs(grid, CPU)
    rows = grid_scores(grid, inputs)
    with run.open():
        provenance = run.provenance()
        neighbours = neighbour_rows(grid, inputs)
        if neighbours:
            write(grid.results_dir, Neighbours, run.id, neighbours, provenance)
        else:
            run.say("no neighbours: the checkpoints of the grid's first repeat are not in --runs-dir")
        images = load(grid.dataset, "train", data_dir=grid.data_dir)
        pixels = images.images[inputs.index]
        pairs = near_duplicates(pixels, images.levels, grid.within, grid.closest)
        write_duplicates(grid, inputs, pairs, provenance)
        arrays = pictures(rows, pixels, pairs) | {"levels": np.array(images.levels), "within": np.array(grid.within)}
        write_arrays(grid.results_dir, "vae", run.id, arrays, provenance)
        path = write(grid.results_dir, Memorization, run.id, rows, provenance)  # last: it marks the grid as done
    found = rows.scores.score[-1, rows.places]
    error = mean_errors(grid, inputs.index.numpy())[grid.epochs]
    near = int((pairs.distance <= grid.within).sum())
    run.say(
        f"lr {grid.lr:g}, {grid.K} x {grid.L} networks, epoch {grid.epochs}: mean score {found.mean():.2f} +- {error} "
        f"nats over {len(rows.places):,} images; {len(rows):,} rows in {path}; {near} pairs of images within "
        f"{grid.within:g}"
    )


def neighbour_rows(grid: GridConfig, inputs: Inputs) -> list[Neighbours]:
    """Neighbours of each training image at the last epoch; empty where checkpoints of the first repeat are gone."""
    images, unseen = (half_resolution(part) for part in _grey(grid, inputs))
    samples: dict[int, torch.Tensor] = {}
    for folds, vae in last_networks(grid, inputs, repeat=0):
        samples |= sample_means(vae, folds, len(unseen), grid.latent, grid.seed)
    if len(samples) < grid.K:
        return []
    heldout, sampled = neighbour_distances(images, folds_of(grid, len(inputs))[0], unseen, samples)
    shared = {**settings_of(grid, len(inputs)), "epoch": grid.epochs, "n": len(unseen)}
    found = zip(inputs.index.tolist(), inputs.labels.tolist(), heldout.tolist(), sampled.tolist(), strict=True)
    return [
        Neighbours(**shared, index=i, label=label, dist_heldout=a, dist_sample=b, ratio=a / b if b else None)
        for i, label, a, b in found
    ]


def write_duplicates(grid: GridConfig, inputs: Inputs, pairs: Pairs, provenance: dict[str, Any]) -> None:
    """The near-duplicates of the grid's training images: one file for all grids on the same images."""
    m, index, labels = len(inputs), inputs.index.tolist(), inputs.labels.tolist()
    name = f"{grid.dataset}-m{m}-seed{grid.seed}-within{grid.within:g}-closest{grid.closest}"
    rows = [
        Duplicates(
            dataset=grid.dataset, seed=grid.seed, m=m, within=grid.within, closest=grid.closest,
            index_a=index[a], index_b=index[b], label_a=labels[a], label_b=labels[b], distance=distance,
        )
        for a, b, distance in zip(pairs.a.tolist(), pairs.b.tolist(), pairs.distance.tolist(), strict=True)
    ]  # fmt: skip
    write(grid.results_dir, Duplicates, name, rows, provenance)


def pictures(rows: ScoreRows, pixels: torch.Tensor, pairs: Pairs) -> dict[str, np.ndarray]:
    """The most, middle and least memorized images of the last epoch, and the closest pairs, uint8 (n, c, h, w)."""
    score = rows.scores.score[-1, rows.places]
    order, n = rows.places[np.argsort(-score, kind="stable")], len(rows.places)
    middle = max(0, (n - SHOWN) // 2)
    groups = {"most": order[:SHOWN], "middle": order[middle : middle + SHOWN], "least": order[-SHOWN:]}
    found = {"m": np.array(len(pixels))}
    for name, places in groups.items():
        found |= {name: pixels[places].numpy(), f"{name}_score": rows.scores.score[-1, places].astype(np.float32)}
        found[f"{name}_index"] = rows.positions[places]
    for name, side in (("pair_a", pairs.a), ("pair_b", pairs.b)):
        found[name] = pixels[side[:PAIRS]].numpy()
    return found | {"pair_distance": pairs.distance[:PAIRS].numpy().astype(np.float32)}


def settings_of(grid: GridConfig, m: int) -> dict[str, Any]:
    """The columns that all rows of a grid of m images share."""
    return {
        "dataset": grid.dataset, "model": grid.model_name, "seed": grid.seed, "m": m, "lr": grid.lr, "K": grid.K,
    }  # fmt: skip


def _grey(grid: GridConfig, inputs: Inputs) -> Iterator[torch.Tensor]:
    """The grid's training images and the test images on the canvas of the networks, pixels in [0, 1]."""
    for split, rows in (("train", inputs.index), ("test", slice(None))):
        images = load(grid.dataset, split, data_dir=grid.data_dir)
        images = images.padded(grid.canvas) if grid.canvas else images
        yield images.images[rows].float() / (images.levels - 1)


def _cost(grid: GridConfig) -> Cost:
    """Comparing images with each other is most of it."""
    m = grid.m or 60_000
    pixels = max(grid.canvas, 8) ** 2
    return Cost(0, 64.0 * m + 2.0 * m * pixels, float(m), 2.0 * m * m * 64 / 2)


def _presets() -> dict[str, list[GridConfig]]:
    return {name: [as_grid(config) for config in configs] for name, configs in SWEEPS.items()}


COMMAND = "python -m vae.memorization grids"
GRIDS = Experiment(COMMAND, _presets(), Memorization, GridConfig.check, analyse, _cost, kind, whole)
HELD_OUT = Experiment(COMMAND, _presets(), Bounds, GridConfig.check, write_held_out_bounds, _cost, kind, whole)


# ----------
# Who was memorized: scores, neighbours and near-duplicates of finished grids, and scores from one's own log p(x).

USAGE = """\
Who was memorized: scores, neighbours and near-duplicates of finished grids, and scores from one's own log p(x).

`python -m vae.memorization grids [smoke|quick|paper] [--flags]`: the grids that `vae.cv` has finished, same flags.
`python -m vae.memorization scores --logpx LONG.csv --out SCORES.csv`: columns run, index, inside (0/1), logpx.
`python -m vae.memorization import DIR`: result files of the public memorization study.
"""
# Not the docstring, which python -OO leaves out.

COMMANDS = ("grids", "scores", "import")


def main() -> None:
    """Do what the first word says."""
    run_main(_main)


def _main() -> None:
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        sys.stdout.write(USAGE)
        return
    if sys.argv[1].startswith("-"):
        raise UserError(f"the first word is one of {', '.join(COMMANDS)}, not '{sys.argv[1]}'")
    command, words = check_choice("command", sys.argv[1], COMMANDS), sys.argv[2:]
    if command == "grids":
        run_sweep(GRIDS, words)
        if not {"--count", "--dry-run"} & set(words):
            run_sweep(HELD_OUT, words)  # needs the runs of `vae.full` too, which may come later
    elif command == "scores":
        score_file(words)
    else:
        import_files(words)


if __name__ == "__main__":
    main()
