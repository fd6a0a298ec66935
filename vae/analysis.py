"""What is computed of a finished grid: memorization scores, neighbours, near-duplicates, and the bound with them."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from common.data import load
from common.results import write, write_arrays
from common.results.tables.vae import Bounds, Duplicates, Memorization, Neighbours
from common.runs import Run
from common.sweep import Cost, Experiment
from vae.config import kind
from vae.cv import SWEEPS
from vae.duplicates import Pairs, near_duplicates
from vae.grids import GridConfig, as_grid, folds_of, last_networks, mean_errors, networks, whole
from vae.held_out import write_held_out_bounds
from vae.images import Inputs, load_inputs
from vae.neighbours import half_resolution, neighbour_distances, sample_means
from vae.score_rows import ScoreRows
from vae.scores import ScoreSums

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
