"""Denoisers out of this lab's own image runs: the last checkpoint, with the averaged weights where there are any."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from common import atomic
from common.checkpoints import load_latest
from common.errors import UserError
from common.immse import GaussianReference, LogsnrRange
from itdiffusion.images_config import HEADS, ImagesConfig
from itdiffusion.images_model import GaussianHead, Head, ImageDenoiser, LevelsHead, NoiseHead
from itdiffusion.pretrained import PretrainedDenoiser, rebuild

ARCHITECTURES = "members.json"


def load_run(folder: Path, index: int) -> nn.Module:
    """Member `index` of the run in `folder` (runs/itdiffusion/<set>/<id>).

    Raises:
        UserError: no whole checkpoint, the folder of another kind of run, or no such member.
    """
    config = read_config(folder)
    if not 0 <= index < len(config.members):
        raise UserError(f"run '{folder}' has members @0 to @{len(config.members) - 1}, not @{index}")
    found = load_latest(folder)
    if found is None or not found[1]:
        raise UserError(f"'{folder}' holds no whole checkpoint: run its training again")
    tensors = found[1]
    state = _part(tensors, "model/", index) | _part(tensors, "ema/", index)
    member = config.members[index]
    denoiser = _empty(config, member, state) if member in HEADS else rebuild(_architecture(folder, index))
    denoiser.load_state_dict(state)
    return denoiser


def read_config(folder: Path) -> ImagesConfig:
    """The settings of an image run.

    Raises:
        UserError: there are none, or they are of another kind of run.
    """
    try:
        fields = json.loads((folder / "config.json").read_text())
        fields.pop("contents", None)  # digests of the data that it read, no setting
        known = {item.name for item in dataclasses.fields(ImagesConfig)}
        if not {"members", "network", "loc"} <= set(fields) <= known:
            raise ValueError("of another kind of run")
        return ImagesConfig(**{**fields, "members": tuple(fields["members"])})
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"'{folder}' is not the folder of an image run ({error}): give one of itdiffusion's") from error


def write_architectures(folder: Path, members: nn.ModuleDict) -> None:
    """Keep what the pre-trained members are made of beside their checkpoints, which then need no other file."""
    found = {key: item.architecture for key, item in members.items() if isinstance(item, PretrainedDenoiser)}
    atomic.write_text(folder / ARCHITECTURES, json.dumps(found, indent=1, default=str) + "\n")


def _architecture(folder: Path, index: int) -> dict[str, Any]:
    try:
        found = json.loads((folder / ARCHITECTURES).read_text())[f"m{index}"]
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"'{folder}' does not say what its member @{index} is made of: name its own source") from error
    return dict(found)


def _part(tensors: dict[str, Tensor], prefix: str, index: int) -> dict[str, Tensor]:
    start = f"{prefix}m{index}."
    return {name.removeprefix(start): item for name, item in tensors.items() if name.startswith(start)}


def _empty(config: ImagesConfig, member: str, state: dict[str, Tensor]) -> ImageDenoiser:
    """A denoiser of the right shapes, to be filled from `state`."""
    head: Head = NoiseHead()
    if member == "levels":
        head = LevelsHead(torch.zeros_like(state["head.log_mass"]))
    elif member == "gaussian":
        d = state["head.gaussians.mean"].shape[-1]
        head = GaussianHead(GaussianReference(torch.zeros(d), torch.ones(d), torch.zeros(d, d)))
    levels = int(state["grey_levels"])
    return ImageDenoiser(config.unet(), head, 0, LogsnrRange(0.0, 1.0), f"unet[{config.network},{member}]", levels)
