"""Denoisers out of this lab's own image runs: the last checkpoint, with the averaged weights where there are any."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from infolab import atomic
from infolab.denoise import Denoiser
from infolab.errors import UserError
from infolab.files import DamagedFileError, load_json, reading
from infolab.immse import GaussianReference, LogsnrRange
from infolab.pretrained import PretrainedDenoiser, rebuild
from infolab.storage import load_latest
from itdiffusion.images_model import HEADS, GaussianHead, Head, ImageDenoiser, ImagesConfig, LevelsHead, NoiseHead

ARCHITECTURES = "members.json"


def load_run(folder: Path, index: int) -> Denoiser:
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
    with reading(folder, "the folder of an image run, whose settings and weights fit", "run its training again"):
        denoiser: Denoiser = _empty(config, member, state) if member in HEADS else rebuild(_architecture(folder, index))
        denoiser.load_state_dict(state)
        return denoiser


def read_config(folder: Path) -> ImagesConfig:
    """The settings of an image run.

    Raises:
        UserError: there are none, or they are of another kind of run.
    """
    path, what, remedy = folder / "config.json", "the config.json of an image run", "give a folder of itdiffusion's"
    fields = load_json(path, dict, what, remedy)
    fields.pop("contents", None)  # digests of the files that it read
    with reading(path, what, remedy):
        known = {item.name for item in dataclasses.fields(ImagesConfig)}
        if not {"members", "network", "loc"} <= set(fields) <= known:
            raise DamagedFileError("of another kind of run")
        return ImagesConfig(**{**fields, "members": tuple(fields["members"])})


def write_architectures(folder: Path, members: nn.ModuleDict) -> None:
    """Keep what the pre-trained members are made of beside their checkpoints, which then need no other file."""
    found = {key: item.architecture for key, item in members.items() if isinstance(item, PretrainedDenoiser)}
    atomic.write_text(folder / ARCHITECTURES, json.dumps(found, indent=1, default=str) + "\n")


def _architecture(folder: Path, index: int) -> dict[str, Any]:
    path, what, remedy = folder / ARCHITECTURES, "a file of what members are made of", "name the member's own source"
    found = load_json(path, dict, what, remedy)
    with reading(path, what, remedy):
        return dict(found[f"m{index}"])


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
