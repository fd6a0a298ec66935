"""Checkpoints of a training: plain tensors and a JSON state in one file, whole or not at all, checked when read."""

from pathlib import Path
from typing import Any

import torch

from common.tensor_files import DamagedTensorsError, read_state, read_tensors, write_tensors

KEEP = 2
"""Checkpoints kept of a run that goes on: the last, and the one before it should the last be damaged."""


def save_checkpoint(folder: Path, step: int, tensors: dict[str, torch.Tensor], state: dict[str, Any]) -> Path:
    """Write `tensors` and the JSON-able `state` as the checkpoint of `step`, then drop the older ones.

    Two are kept while the run goes on; of a run whose state says `complete` the last alone. Everything is on disk under
    a temporary name before the rename, so a kill or a full disk leaves the older ones whole.
    """
    path = folder / f"checkpoint-{step:09d}.safetensors"
    write_tensors(path, tensors, state, step=str(step))
    for old in _paths(folder)[1 if state.get("complete") else KEEP :]:
        old.unlink()
    return path


def load_latest(folder: Path) -> tuple[int, dict[str, torch.Tensor], dict[str, Any], list[str]] | None:
    """Read the newest whole checkpoint in `folder`: (step, tensors, state, names of damaged files set aside).

    A damaged file is renamed to `<name>.corrupt` and the one before it is used. None where there is none.

    Raises:
        OSError: a file is there and cannot be read.
    """
    damaged: list[str] = []
    for path in _paths(folder):
        try:
            tensors, state, labels = read_tensors(path)
            step = int(labels["step"])
        except (DamagedTensorsError, KeyError, ValueError):
            path.rename(path.with_suffix(".safetensors.corrupt"))
            damaged.append(path.name)
            continue
        return step, tensors, state, damaged
    return (0, {}, {}, damaged) if damaged else None


def is_complete(folder: Path) -> bool:
    """True when the newest checkpoint in `folder` says so in its state (`complete`); reads headers only."""
    try:
        return bool(read_state(_paths(folder)[0])["complete"])
    except (IndexError, KeyError, TypeError, OSError, DamagedTensorsError):
        return False


def _paths(folder: Path) -> list[Path]:
    """All checkpoints, the newest first."""
    return sorted(folder.glob("checkpoint-*.safetensors"), reverse=True)
