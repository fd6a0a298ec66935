"""The generalization bound with the memorization scores' mean as its mutual-information term."""

from typing import Any

import torch

from common.data import load
from common.results import read, write
from common.results.tables.vae import Bounds, Curves
from common.runs import Run
from vae.bounds import bound_row
from vae.grids import GridConfig, mean_errors
from vae.images import load_inputs


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
