"""The networks' inputs: black and white pixels, logits of dequantised pixels, or levels in [-1, 1].

Evaluation sees one draw per image, a function of (seed, split, position in the data set). Training sees the same black
and white pixels (or, with --redraw, new ones in every epoch), and new dequantisation noise in every step.
"""

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from infolab.data import ImageSet, flip_draws, load, mirrored
from infolab.data.images import LogitTransform, ScaleTransform, check_levels, dequantization_noise, dequantize
from infolab.device import staged
from infolab.errors import UserError
from infolab.noise import derive, generator
from vae.config import VAEConfig

KINDS = {"bernoulli-mlp": "binary", "bernoulli-dc": "binary", "mix-logistics-dc": "scaled"}
"""What a model sees; the Gaussian ones see logits."""
BLOCK = 4096  # images drawn at once: bounds the memory of the noise


@dataclass(frozen=True, eq=False)
class Inputs:
    """Images of one split as the networks see them.

    Attributes:
        kind: binary, logit or scaled.
        pixels: uint8 (n, c, h, w), drawn bits (binary) or grey levels.
        levels: Q of `pixels` (2 for bits).
        labels: int64 (n,), -1 where the set has none.
        index: int64 (n,), position of each image in the data set's split.
        seed: seed of all draws.
        split: train or test.
        flip: mirror training images at random.
        grey: grey levels of the whole split, from which bits are drawn anew in every epoch, and Q; None: bits stay.
    """

    kind: str
    pixels: Tensor
    levels: int
    labels: Tensor
    index: Tensor
    seed: int
    split: str
    flip: bool = False
    grey: tuple[Tensor, int] | None = None
    _kept: dict[str, Any] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def shape(self) -> tuple[int, ...]:
        """(c, h, w) of one image."""
        return tuple(self.pixels.shape[1:])

    def evaluation(self, first: int, last: int) -> Tensor:
        """Images first .. last - 1 as the networks see them in evaluation, float32 (n, c, h, w): one draw per image."""
        pixels = self.pixels[first:last]
        if self.kind == "binary":
            return pixels.float()
        if self.kind == "scaled":
            return ScaleTransform(self.levels).forward(pixels)
        rows = self.index[first:last].tolist()
        seed, shape = derive(self.seed, "evaluation", self.split), self.shape
        if rows == list(range(rows[0], rows[0] + len(rows))):  # a stretch of the set: one draw
            u = dequantization_noise((len(rows), *shape), seed, rows[0])
        else:
            u = torch.cat([dequantization_noise((1, *shape), seed, row) for row in rows])
        return LogitTransform(self.levels).forward(dequantize(pixels, u.to(pixels.device), self.levels))[0]

    def training(self, rows: Tensor, epoch: int, step: int) -> Tensor:
        """The images at `rows` (k, b) as training sees them, float32 (k, b, c, h, w), a function of (seed, step)."""
        flat = rows.flatten()
        x = (self.bits(epoch) if self.grey is not None else self.pixels)[flat]
        source = generator(self.seed, "training", step)
        u = [torch.rand(x.shape, generator=source)] if self.kind == "logit" else []
        flips = [flip_draws(len(x), source)] if self.flip else []
        drawn = staged(x.device, *u, *flips)
        if self.kind == "logit":
            x = LogitTransform(self.levels).forward(dequantize(x, drawn[0], self.levels))[0]
        elif self.kind == "scaled":
            x = ScaleTransform(self.levels).forward(x)
        if self.flip:
            x = mirrored(x, drawn[-1])
        return x.float().reshape(*rows.shape, *self.shape)

    def bits(self, epoch: int) -> Tensor:
        """The black and white pixels of one epoch under --redraw, uint8 (n, c, h, w)."""
        assert self.grey is not None
        if self._kept.get("epoch") != epoch:
            levels, top = self.grey
            self._kept["bits"] = binarize(levels, top, derive(self.seed, "redraw", epoch))[self.index]
            self._kept["epoch"] = epoch
        return self._kept["bits"]

    def take(self, rows: Tensor) -> "Inputs":
        """The images at `rows`, with the same draws."""
        return dataclasses.replace(
            self, pixels=self.pixels[rows], labels=self.labels[rows], index=self.index[rows], _kept={}
        )


def load_inputs(config: VAEConfig, device: torch.device) -> tuple[Inputs, Inputs]:
    """The training images (m of them, or all) and the test images of `config`, on `device`.

    Raises:
        UserError: unknown data set, files that are missing or damaged, or images that do not fit the model.
    """
    train, test = (_inputs(config, split, device) for split in ("train", "test"))
    if config.m:
        if not 2 <= config.m <= len(train):
            raise UserError(f"--m must lie in 2 .. {len(train)} (or be 0 for all), not {config.m}")
        chosen = torch.randperm(len(train), generator=generator(config.seed, "data", "subset"))[: config.m]
        train = train.take(chosen.sort().values)
    return train, test


def binarize(pixels: Tensor, levels: int, seed: int) -> Tensor:
    """Black and white pixels: 1 with probability k / (Q - 1) for grey level k, uint8 of the images' shape.

    Image i's draw is a function of (seed, i) and its size, however many images there are (van den Burg and Williams
    2021 draw it anew at every reading, which moves log p(x) of one image by several nats).

    Args:
        pixels: uint8 (n, c, h, w), a whole split.
        levels: Q.
        seed: seed of the draw.
    """
    bits = torch.empty_like(pixels)
    for first in range(0, len(pixels), BLOCK):
        block = pixels[first : first + BLOCK]
        u = dequantization_noise(tuple(block.shape), seed, first).to(pixels.device)
        bits[first : first + BLOCK] = (u * (levels - 1) < block).to(torch.uint8)
    return bits


def _inputs(config: VAEConfig, split: str, device: torch.device) -> Inputs:
    images = load(config.dataset, split, data_dir=config.data_dir, download=config.download)
    if config.canvas:
        images = images.padded(config.canvas)
    kind = KINDS.get(config.model, "logit")
    _check_fits(config, images)
    check_levels(images.images, images.levels)
    pixels, labels, index = images.images, images.labels, torch.arange(len(images))
    labels = torch.full((len(images),), -1) if labels is None else labels
    levels, grey = images.levels, None
    if kind == "binary":
        if config.redraw and split == "train":
            grey = (pixels.to(device), levels)
        pixels = binarize(pixels, levels, derive(config.seed, "binarize", split))
        levels = 2
    return Inputs(
        kind, pixels.to(device), levels, labels, index, config.seed, split, config.flip and split == "train", grey
    )


def _check_fits(config: VAEConfig, images: ImageSet) -> None:
    channels, height, width = images.shape
    if config.model.endswith("-dc") and (height, width) != (32, 32):
        raise UserError(f"--model {config.model} takes 32 x 32 images, {images.name}'s are {height} x {width}")
    if config.model == "mix-logistics-dc" and channels != 3:
        raise UserError(f"--model mix-logistics-dc takes three colours, {images.name} has {channels}")
