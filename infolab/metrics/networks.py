"""Feature networks: a small one trained on the data set itself, and Inception's pooled features."""

import hashlib
import importlib
import io
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from infolab import atomic
from infolab.errors import UserError, check_choice
from infolab.files import DamagedFileError, reading
from infolab.metrics.features import NONE, Extractor
from infolab.metrics.measured import Array
from infolab.metrics.sensitivity import LEVELS, Sensitivity, measure, spoiled
from infolab.noise import generator, initialise_

# ----------
# A small feature network trained on the data set itself, for where there are no Inception weights.

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


# ----------
# Inception features (2,048 pooled numbers) by torch-fidelity's network, weights from a path and never downloaded.

RESIZES = ("tf-bilinear", "clean")
SIDE = 299
PUBLISHED_SHA256 = "6726825d"
"""First digits of the SHA-256 of the weights that FID is defined by (in their file's name, and checked here)."""

LAYERS = (
    *("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "MaxPool_1", "Conv2d_3b_1x1", "Conv2d_4a_3x3", "MaxPool_2"),
    *("Mixed_5b", "Mixed_5c", "Mixed_5d", "Mixed_6a", "Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"),
    *("Mixed_7a", "Mixed_7b", "Mixed_7c", "AvgPool"),
)


def load_extractor(path: Path, resize: str = "tf-bilinear", device: torch.device | str = "cpu") -> Extractor:
    """The extractor in a file: a small network (`train_extractor`), else Inception weights for torch-fidelity.

    Args:
        path: a `.safetensors` of a small network, or `weights-inception-2015-12-05-6726825d.pth`.
        resize: of Inception's input: `tf-bilinear`, torch-fidelity's own, or `clean`, that of clean-fid.
        device: where its network is put.

    Raises:
        UserError: no such file, weights that do not fit, torch-fidelity missing, an unknown resize.
    """
    check_choice("resize", resize, RESIZES)
    if not path.is_file():
        raise UserError(
            f"there is no file '{path}': give Inception weights (weights-inception-2015-12-05-6726825d.pth), a network "
            "made by python -m infodiffusion.metrics features, or --features none"
        )
    small = load_small(path)
    return small.to(device) if small is not None else Inception(path, resize, device)


class Inception:
    """The FID network of 2015 (Heusel et al. 2017), as torch-fidelity has it.

    Attributes:
        name: `inception-2015` if the file is the published one, else `inception-` and digits of its SHA-256.
        resize: `tf-bilinear`: TensorFlow 1's bilinear resize of whole levels, inside the network. `clean`: each channel
            as float by PIL's antialiased bicubic, clipped to 0 .. 255, not rounded (Parmar et al. 2022).

    Args:
        path: its weights.
        resize: one of the two.
        device: where the network is put.

    Raises:
        UserError: torch-fidelity is not installed, or the file does not hold these weights.
    """

    def __init__(self, path: Path, resize: str = "tf-bilinear", device: torch.device | str = "cpu"):
        self.resize = check_choice("resize", resize, RESIZES)
        content = path.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        self.name = "inception-2015" if digest.startswith(PUBLISHED_SHA256) else f"inception-{digest[:8]}"
        self.device = torch.device(device)
        self.network = _build(content, path).to(self.device)

    def __call__(self, images: Tensor) -> Tensor:
        """Features (n, 2048) of uint8 images (n, 1 or 3, h, w); grey images are shown in three equal channels."""
        images = images.expand(-1, 3, -1, -1)
        if self.resize == "tf-bilinear":
            return self.network(images)[0]
        x = ((resize_clean(images.cpu()) - 128) / 128).to(self.device)
        for layer in LAYERS:
            x = getattr(self.network, layer)(x)
        return x.flatten(1)


def resize_clean(images: Tensor, side: int = SIDE) -> Tensor:
    """uint8 images (n, c, h, w) to float32 (n, c, side, side) in 0 .. 255, as clean-fid resizes them."""
    from PIL import Image

    resized = [
        np.asarray(Image.fromarray(channel).resize((side, side), Image.Resampling.BICUBIC))
        for channel in images.flatten(0, 1).float().numpy()
    ]
    return torch.from_numpy(np.stack(resized)).clamp(0, 255).reshape(*images.shape[:2], side, side)


def _build(content: bytes, path: Path) -> Any:
    try:
        fidelity = importlib.import_module("torch_fidelity.feature_extractor_inceptionv3")
    except ImportError:
        raise UserError(
            "Inception features need torch-fidelity: pip install torch-fidelity, or take a network trained on the data "
            "(python -m infodiffusion.metrics features), or --features none"
        ) from None
    what = "a file of the Inception weights that torch-fidelity takes"
    with reading(path, what, "give weights-inception-2015-12-05-6726825d.pth"):
        # torch-fidelity unpickles whatever it is given; it gets plain tensors only.
        state = torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
        plain = io.BytesIO()
        torch.save(dict(state), plain)
        plain.seek(0)
        return fidelity.FeatureExtractorInceptionV3(
            "inception-v3-compat", ["2048"], feature_extractor_weights_path=plain
        )
