"""Inception features (2,048 pooled numbers) by torch-fidelity's network, weights from a path and never downloaded."""

import hashlib
import importlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from common.errors import UserError, choose
from common.files import reading
from infodiffusion.metrics.features import Extractor
from infodiffusion.metrics.small_network import load_small

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
    choose("resize", resize, RESIZES)
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
        self.resize = choose("resize", resize, RESIZES)
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
