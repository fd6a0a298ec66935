"""One data set in memory: raw grey levels, labels and known factors, and the ways to take a part of it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from common.errors import UserError
from common.seeds import generator
from common.transforms import check_levels


@dataclass(frozen=True, eq=False)
class ImageSet:
    """A split of a data set as it was recorded: nothing scaled, dequantised, shuffled or augmented.

    Attributes:
        name: the registered name.
        split: "train" or "test".
        images: uint8 (n, c, h, w), grey levels 0 .. levels - 1.
        levels: Q, the number of grey levels (256; digits 17).
        labels: int64 (n,), or None where the set has none.
        factors: int64 (n, f), the index of each generating factor, or None.
        factor_names: the f names of the columns of `factors`.

    Tensors are contiguous however the images were read, decoded or from a cache: a network rounds differently in
    another layout.
    """

    name: str
    split: str
    images: Tensor
    levels: int
    labels: Tensor | None = None
    factors: Tensor | None = None
    factor_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("images", "labels", "factors"):
            tensor = getattr(self, name)
            if tensor is not None:
                object.__setattr__(self, name, tensor.contiguous())

    def __len__(self) -> int:
        return self.images.shape[0]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(c, h, w) of one image."""
        _, c, h, w = self.images.shape
        return c, h, w

    @property
    def d(self) -> int:
        """d = c h w, the number of dimensions of one image."""
        return self.images[0].numel()

    def to(self, device: torch.device | str) -> ImageSet:
        """The same set with images, labels and factors on `device`.

        Raises:
            UserError: a grey level is `levels` or more.
        """
        check_levels(self.images, self.levels)
        labels, factors = (None if part is None else part.to(device) for part in (self.labels, self.factors))
        return dataclasses.replace(self, images=self.images.to(device), labels=labels, factors=factors)

    def take(self, indices: Tensor) -> ImageSet:
        """The images at `indices` (int64 (m,), on the CPU or where the images are), with their labels and factors."""
        return ImageSet(
            name=self.name,
            split=self.split,
            images=self.images[indices],
            levels=self.levels,
            labels=None if self.labels is None else self.labels[indices],
            factors=None if self.factors is None else self.factors[indices],
            factor_names=self.factor_names,
        )

    def subset(self, m: int, seed: int) -> ImageSet:
        """The few-shot training set of m images: the first m of a permutation that `seed` fixes.

        Sets of the same seed are nested: the m = 16 images are among the m = 100 ones.

        Raises:
            UserError: for the test split, and for m outside 1 .. n.
        """
        if self.split != "train":
            raise UserError(f"few-shot subsets are of the train split, not of '{self.split}': load split='train'")
        if not 1 <= m <= len(self):
            raise UserError(
                f"m = {m} training images asked of {self.name}, which has {len(self)}: choose 1 .. {len(self)}"
            )
        return self.take(torch.randperm(len(self), generator=generator(seed, "data", "subset"))[:m])

    def padded(self, size: int) -> ImageSet:
        """The same images centred on a size x size canvas of level 0 (28 x 28 digits become 32 x 32, as in the papers).

        Raises:
            UserError: if `size` is smaller than the images.
        """
        _, h, w = self.shape
        if size < max(h, w):
            raise UserError(
                f"size = {size} is smaller than {self.name}'s {h} x {w} images: images are padded, never shrunk; "
                f"choose size >= {max(h, w)}"
            )
        top, left = (size - h) // 2, (size - w) // 2
        images = pad(self.images, (left, size - w - left, top, size - h - top))
        return ImageSet(self.name, self.split, images, self.levels, self.labels, self.factors, self.factor_names)
