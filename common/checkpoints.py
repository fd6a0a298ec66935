"""Checkpoints: plain tensors and a JSON header in one safetensors file, whole or not at all, checked when read."""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from common import atomic

KEEP = 2
"""Checkpoints kept per run: the last, and the one before it should the last be damaged."""


def save_checkpoint(folder: Path, step: int, tensors: dict[str, torch.Tensor], state: dict[str, Any]) -> Path:
    """Write `tensors` and the JSON-able `state` as the checkpoint of `step`, then drop all but the last two.

    Everything is on disk under a temporary name before the rename, so a kill or a full disk leaves the
    older ones whole.
    """
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    text = json.dumps(state)
    header = {"step": str(step), "state": text, "digest": _digest(step, plain, text)}
    path = folder / f"checkpoint-{step:09d}.safetensors"
    atomic.write_bytes(path, save(plain, metadata=header))
    for old in sorted(folder.glob("checkpoint-*.safetensors"))[:-KEEP]:
        old.unlink()
    return path


def load_latest(folder: Path) -> tuple[int, dict[str, torch.Tensor], dict[str, Any], list[str]] | None:
    """Read the newest whole checkpoint in `folder`: (step, tensors, state, names of damaged files set aside).

    A damaged file is renamed to `<name>.corrupt` and the one before it is used. None where there is none.
    """
    damaged: list[str] = []
    for path in sorted(folder.glob("checkpoint-*.safetensors"), reverse=True):
        try:
            step, tensors, state = _read(path)
        except (SafetensorError, ValueError, KeyError, TypeError, OSError):
            path.rename(path.with_suffix(".safetensors.corrupt"))
            damaged.append(path.name)
            continue
        return step, tensors, state, damaged
    return (0, {}, {}, damaged) if damaged else None


def is_complete(folder: Path) -> bool:
    """True when the newest checkpoint in `folder` says so in its state (`complete`); reads headers only."""
    paths = sorted(folder.glob("checkpoint-*.safetensors"))
    try:
        with safe_open(paths[-1], framework="pt") as file:
            return bool(json.loads(file.metadata()["state"])["complete"])
    except (IndexError, SafetensorError, ValueError, KeyError, TypeError, OSError):
        return False


def _read(path: Path) -> tuple[int, dict[str, torch.Tensor], dict[str, Any]]:
    with safe_open(path, framework="pt") as file:
        header = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    step = int(header["step"])
    if header["digest"] != _digest(step, tensors, header["state"]):
        raise ValueError("digest does not match")
    return step, tensors, json.loads(header["state"])


def _digest(step: int, tensors: dict[str, torch.Tensor], text: str) -> str:
    # safetensors notices a truncated file but not a flipped bit.
    digest = hashlib.blake2b(f"{step}/{text}".encode(), digest_size=16)
    for name in sorted(tensors):
        digest.update(f"{name}/{tensors[name].dtype}/{tuple(tensors[name].shape)}".encode())
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
