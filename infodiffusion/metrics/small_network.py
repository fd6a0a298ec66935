"""A small feature network trained on the data set itself, for where there are no Inception weights."""

import hashlib
import itertools
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common import atomic
from common.errors import UserError
from common.files import DamagedFileError, reading
from common.networks.initialise import initialise_
from common.seeds import generator
from infodiffusion.metrics.distortions import LEVELS, spoiled
from infodiffusion.metrics.features import NONE
from infodiffusion.metrics.measured import Array
from infodiffusion.metrics.sensitivity import Sensitivity, measure

FEATURES = 64
KIND, SUFFIX = "small-feature-network", ".safetensors"
VERSION = 2
"""Of networks and their files; networks of version 1, whose files have no version, do not measure noise and blur."""
ROTATIONS = 4
LEAST_LEVEL = 0.5
"""Unit of the two levels at least: clean images differ so little in them that a trace of noise would outweigh all."""
STANDARDISED = 2_048
"""Training images, the first ones, over which features have mean 0 and variance 1."""


class SmallNetwork(nn.Module):
    """Three convolutions of stride 2, means over a 4 x 4 grid, and 64 features below one classifier a factor.

    Two more features are how much noise and blur it takes an image for (`distortions.spoiled`), read from the grid and
    from the mean size of what the first convolution gives: what tells the factors apart need not change with either.

    Its distances order samples of one data set; they are no Inception distances, and networks of another name or seed
    have another scale.

    Args:
        name: `small-<data set>-<digest of its training>`, part of every metric's name.
        channels: of the images, 1 or 3.
        classes: number of classes of each factor.
        seed: of the initial weights.
        version: 1: a network of older files, without the two features of noise and blur.

    Attributes:
        sensitivity: what it sees (`calibrate`); None where nobody measured it.
    """

    resize = NONE
    sensitivity: Sensitivity | None = None

    def __init__(self, name: str, channels: int, classes: tuple[int, ...], seed: int = 0, version: int = VERSION):
        super().__init__()
        self.name, self.channels, self.classes, self.version = name, channels, classes, version
        widths = (channels, 32, 64, 128)
        self.body = nn.Sequential()
        for inside, outside in itertools.pairwise(widths):
            self.body.append(nn.Conv2d(inside, outside, 3, stride=2, padding=1))
            self.body.append(nn.GroupNorm(8, outside))
            self.body.append(nn.SiLU())
        # Positions matter to a sample's look: features are read from a 4 x 4 grid, not from a mean over the image.
        self.features = nn.Linear(16 * widths[-1], FEATURES)
        self.heads = nn.ModuleList([nn.Linear(FEATURES, count) for count in classes])
        if version > 1:
            inside = 16 * widths[-1] + widths[1]
            self.levels = nn.Sequential(nn.Linear(inside, FEATURES), nn.SiLU(), nn.Linear(FEATURES, LEVELS))
        initialise_(self, seed)
        self.centre: Tensor
        self.scale: Tensor
        count = FEATURES + (LEVELS if version > 1 else 0)
        self.register_buffer("centre", torch.zeros(count))
        self.register_buffer("scale", torch.ones(count))

    @property
    def device(self) -> torch.device:
        """Where the network lies."""
        return self.centre.device

    def forward(self, images: Tensor) -> Tensor:
        """Features (n, 66) of uint8 images (n, c, h, w), standardised over the training images.

        Raises:
            UserError: another number of channels.
        """
        return (torch.cat(self.hidden(images), 1) - self.centre) / self.scale

    def hidden(self, images: Tensor) -> tuple[Tensor, ...]:
        """Features as they are trained: the 64 of the factors, and the two levels (version 1: none)."""
        if images.shape[1] != self.channels:
            raise UserError(f"{self.name} takes images of {self.channels} channels, not of {images.shape[1]}")
        first = self.body[0](images.float() / 127.5 - 1)
        grid = F.adaptive_avg_pool2d(self.body[1:](first), 4).flatten(1)
        factors = self.features(grid)
        if self.version == 1:
            return (factors,)
        return factors, self.levels(torch.cat([grid, first.abs().mean((2, 3))], 1))

    def loss(self, images: Tensor, factors: Tensor, levels: Tensor) -> Tensor:
        """Cross entropy in nats, mean over factors (n, f), and the mean squared error of the levels (n, 2)."""
        hidden, found = self.hidden(images)
        seen = F.silu(hidden)
        losses = [F.cross_entropy(head(seen), y) for head, y in zip(self.heads, factors.T, strict=True)]
        return torch.stack(losses).mean() + F.mse_loss(found, levels)

    def calibrate(self, images: Array, modes: Tensor | None, seed: int = 0) -> "SmallNetwork":
        """Measure on held-out images what it sees (`sensitivity.measure`), keep that, and return the network.

        Args:
            images, modes, seed: as `sensitivity.measure` takes them.
        """
        self.sensitivity = measure(self, torch.as_tensor(images), modes, seed)
        return self

    def save(self, path: Path) -> None:
        """Write weights and what they belong to, as safetensors."""
        from safetensors.torch import save

        about: dict[str, Any] = {
            "kind": KIND,
            "name": self.name,
            "channels": self.channels,
            "classes": list(self.classes),
        }
        about["version"] = self.version
        if self.sensitivity is not None:
            about["sensitivity"] = self.sensitivity.as_json()
        atomic.write_bytes(path, save(self.state_dict(), {"about": json.dumps(about)}))


def train_extractor(
    images: Array, factors: Tensor | None, name: str, seed: int = 0, steps: int = 400, batch: int = 128
) -> SmallNetwork:
    """Train a `SmallNetwork` to tell the factors or labels of a data set, and noise and blur, by Adam.

    Args:
        images: uint8 (n, c, h, w), of the training split.
        factors: int64 (n, f) or labels (n,); None: it learns to tell by how many quarter turns an image was rotated.
        name: of the network, `small-<data set>`; what `network_name` puts behind it tells other trainings apart.
        seed: of weights and batches.
        steps: optimiser steps.
        batch: images a step.

    Raises:
        UserError: images that are not uint8, or factors that do not fit.
    """
    images = torch.as_tensor(images).contiguous()
    if images.ndim != 4 or images.dtype != torch.uint8:
        raise UserError(f"images of shape {tuple(images.shape)} and type {images.dtype}: expected uint8 (n, c, h, w)")
    if factors is not None:
        factors = factors[:, None] if factors.ndim == 1 else factors
        if len(factors) != len(images):
            raise UserError(f"{len(images)} images and {len(factors)} rows of factors: expected as many")
    classes = (ROTATIONS,) if factors is None else tuple(int(count) + 1 for count in factors.amax(0))
    called = network_name(images, factors, name, seed, steps, batch)
    network = SmallNetwork(called, images.shape[1], classes, seed)
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(steps):
        source = generator(seed, "small-network", step)
        rows = torch.randint(len(images), (batch,), generator=source)
        if factors is None:
            turns = torch.randint(ROTATIONS, (batch,), generator=source)
            shown = torch.stack([torch.rot90(images[i], int(k), (1, 2)) for i, k in zip(rows, turns, strict=True)])
            asked = turns[:, None]
        else:
            shown, asked = images[rows], factors[rows].long()
        shown, levels = spoiled(shown, source)
        optimizer.zero_grad(set_to_none=True)
        network.loss(shown, asked, levels).backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        seen = torch.cat(network.hidden(images[:STANDARDISED]), 1)
        network.centre.copy_(seen.mean(0))
        scale = seen.std(0).clamp(min=1e-6)
        scale[FEATURES:].clamp_(min=LEAST_LEVEL)
        network.scale.copy_(scale)
    return network.eval().requires_grad_(False)


def network_name(
    images: Array, factors: Tensor | None, name: str, seed: int = 0, steps: int = 400, batch: int = 128
) -> str:
    """`name`, `-seed<seed>` unless that is 0, and 8 digits of the SHA-256 of all that the training depends on.

    Args:
        images, factors, name, seed, steps, batch: as `train_extractor` takes them.
    """
    seen = hashlib.sha256(f"{VERSION} {tuple(images.shape)} {seed} {steps} {batch}".encode())
    seen.update(torch.as_tensor(images).contiguous().numpy().data)
    if factors is not None:
        targets = factors[:, None] if factors.ndim == 1 else factors
        seen.update(f"{tuple(targets.shape)}".encode() + targets.long().contiguous().numpy().tobytes())
    return f"{name}-seed{seed}-{seen.hexdigest()[:8]}" if seed else f"{name}-{seen.hexdigest()[:8]}"


def load_small(path: Path) -> SmallNetwork | None:
    """The network that `save` wrote to `path`; None where its name has another ending.

    Raises:
        UserError: the file holds something else, or is damaged.
    """
    from safetensors import safe_open

    if path.suffix != SUFFIX:
        return None
    with reading(path, "a small feature network", "make it with python -m infodiffusion.metrics features"):
        with safe_open(path, "pt") as file:
            about = json.loads(file.metadata()["about"])
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        version = about.get("version", 1)
        if version not in (1, VERSION):
            raise DamagedFileError(f"it is of version {version}, this code reads 1 to {VERSION}")
        sizes = state["body.0.weight"].shape[1], [len(state[f"heads.{i}.bias"]) for i in range(len(about["classes"]))]
        if about["kind"] != KIND or (about["channels"], about["classes"]) != sizes:  # before memory is taken for it
            raise DamagedFileError("its weights are not of the network that its header describes")
        network = SmallNetwork(str(about["name"]), about["channels"], tuple(about["classes"]), version=version)
        network.load_state_dict(state)
        if "sensitivity" in about:
            network.sensitivity = Sensitivity.from_json(about["sensitivity"])
        return network.eval().requires_grad_(False)
