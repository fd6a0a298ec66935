"""One data set in memory: raw grey levels, labels, factors; epochs of it; grey levels to real vectors and back."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from infolab.errors import UserError
from infolab.estimate import nats_to_bpd
from infolab.noise import derive, generator

# ----------
# The order in which an epoch visits its images, and the one augmentation that training may ask for.


def epoch_permutation(n: int, seed: int, epoch: int) -> Tensor:
    """The order of the n examples in one epoch, int64 (n,), a function of (n, seed, epoch) only.

    A resumed run therefore visits the examples as an unbroken one does.

    >>> sorted(epoch_permutation(5, seed=0, epoch=3).tolist())
    [0, 1, 2, 3, 4]
    """
    return torch.randperm(n, generator=generator(seed, "data", "epoch", epoch))


def augment_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror each image left to right with probability 1/2, decided per image. For training batches only.

    Args:
        images: (n, c, h, w), any type, on any device.
        generator: the source of the n coin tosses.

    Raises:
        UserError: if `images` is not (n, c, h, w).
    """
    if images.ndim != 4:
        raise UserError(f"images of shape {tuple(images.shape)} cannot be mirrored: expected (n, c, h, w)")
    return mirrored(images, flip_draws(images.shape[0], generator).to(images.device))


def flip_draws(n: int, generator: torch.Generator) -> Tensor:
    """The coin tosses of `augment_flip` for n images, uniforms (n,) on the device of the generator."""
    return torch.rand(n, generator=generator, device=generator.device)


def mirrored(images: Tensor, draws: Tensor) -> Tensor:
    """The images (n, c, h, w), those whose draw (n,) is below 1/2 mirrored left to right."""
    return torch.where((draws < 0.5)[:, None, None, None], images.flip(-1), images)


# ----------
# Grey levels to real vectors and back: dequantisation, the logit transform and the scaling to [-1, 1].


def dequantization_noise(shape: tuple[int, ...], seed: int, first: int = 0) -> Tensor:
    """Uniform noise u in (0, 1), float32 of `shape` (n, ...), for evaluation images first .. first + n - 1.

    Image i's noise is a function of (seed, i) and its size, never of the batch that it comes in, so a data set
    evaluated in any pieces has one draw per image. Values are the midpoints (j + 1/2) 2^-15: with 256 levels k + u is
    then exact in float32 and never rounds up to the next level. The grid changes a mean over u by less than 1e-9.
    """
    n, d = shape[0], math.prod(shape[1:])
    blocks = -(-d // 16)  # a counter of Philox gives four words of 64 bits: sixteen values
    philox = np.random.Philox(key=derive(seed, "data", "dequantization"))
    philox.advance(first * blocks)
    words = philox.random_raw(4 * blocks * n).astype("<u8", copy=False)
    values = words.view("<u2").reshape(n, 16 * blocks)[:, :d] >> 1
    u = (values.astype(np.float32) + np.float32(0.5)) * np.float32(2.0**-15)
    return torch.from_numpy(u).reshape(shape)


def dequantize(k: Tensor, u: Tensor, levels: int) -> Tensor:
    """x = (k + u) / Q in [0, 1].

    Args:
        k: grey levels 0 .. Q - 1, uint8 (n, ...).
        u: uniform noise in [0, 1), floating point, of the same shape.
        levels: Q.

    Raises:
        UserError: if the shapes differ or a level is Q or more.
    """
    if k.shape != u.shape:
        raise UserError(
            f"noise of shape {tuple(u.shape)} for images of shape {tuple(k.shape)}: draw it in the same shape"
        )
    check_levels(k, levels)
    return (k.to(u.dtype) + u) / levels


class LogitTransform:
    """y = logit(A + (1 - 2A) x) for images x in [0, 1] of Q grey levels; A = 0.05 as in the papers.

    Source: Dinh, Sohl-Dickstein and Bengio 2017 (Real NVP), section 4.1; used by Huang, Lim and Courville 2021.

    >>> LogitTransform(256).inverse(LogitTransform(256).forward(torch.tensor([[0.25]]))[0])
    tensor([[0.2500]])
    """

    def __init__(self, levels: int, A: float = 0.05) -> None:
        if not 2 <= levels <= 256:
            raise UserError(f"levels = {levels}: expected the number of grey levels of a uint8 image, 2 .. 256")
        if not 0 < A < 0.5:
            raise UserError(f"A = {A}: expected 0 < A < 0.5 (at 0 a black pixel has an infinite logit)")
        self.levels = levels
        self.A = A

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(y, logdet) of x (n, ...) in [0, 1]; y has its shape, logdet (n,) is in nats.

        logdet = log |dy/dx| = sum_i [log(1 - 2A) - log q_i - log(1 - q_i)], q = A + (1 - 2A) x.
        """
        q = self.A + (1 - 2 * self.A) * x
        log_q, log_1q = torch.log(q), torch.log1p(-q)
        logdet = (math.log1p(-2 * self.A) - log_q - log_1q).flatten(1).sum(1)
        return log_q - log_1q, logdet

    def inverse(self, y: Tensor) -> Tensor:
        """x = (sigmoid(y) - A) / (1 - 2A), of y's shape; outside [0, 1] where y is no image of a pixel."""
        return (torch.sigmoid(y) - self.A) / (1 - 2 * self.A)

    def to_pixels(self, y: Tensor) -> Tensor:
        """The grey levels floor(Q x), clamped to 0 .. Q - 1, uint8 of y's shape."""
        return (self.inverse(y) * self.levels).floor().clamp(0, self.levels - 1).to(torch.uint8)

    def bpd(self, log_p_y: Tensor, logdet: Tensor, d: int) -> Tensor:
        """Bits per dimension of the grey levels: -(log p_y + logdet) / (d ln 2) + log2 Q, for each image.

        By Jensen's inequality its mean over u is an upper bound of the bits of the level's probability mass.

        Args:
            log_p_y: log density of y, nats, (n,).
            logdet: as `forward` returns it, nats, (n,).
            d: the number of dimensions of one image.
        """
        return (d * math.log(self.levels) - log_p_y - logdet) * nats_to_bpd(1.0, d)


class ScaleTransform:
    """x = 2 k / (Q - 1) - 1 in [-1, 1], a grid of step D = 2 / (Q - 1) (`bin_width`; 1/127.5 for 256 levels)."""

    def __init__(self, levels: int) -> None:
        if not 2 <= levels <= 256:
            raise UserError(f"levels = {levels}: expected the number of grey levels of a uint8 image, 2 .. 256")
        self.levels = levels
        self.bin_width = 2 / (levels - 1)

    def forward(self, k: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """x of the grey levels k, uint8 of any shape.

        Raises:
            UserError: if a level is Q or more.
        """
        check_levels(k, self.levels)
        return k.to(dtype) * self.bin_width - 1

    def dequantize(self, x: Tensor, u: Tensor) -> Tensor:
        """x + D (u - 1/2): spread each grid point over its bin with uniform noise u in [0, 1) of the same shape."""
        return x + self.bin_width * (u - 0.5)

    def to_pixels(self, x: Tensor) -> Tensor:
        """The nearest grey level, clamped to 0 .. Q - 1, uint8 of x's shape."""
        return ((x + 1) / self.bin_width).round().clamp(0, self.levels - 1).to(torch.uint8)

    def density_to_mass_nats(self, nll_nats: Tensor | float, d: int) -> Tensor | float:
        """-log P of the grey levels from -log p of dequantised x: nll - d log D (+6.9944 bpd for 256 levels)."""
        return nll_nats - d * math.log(self.bin_width)


def check_levels(k: Tensor, levels: int) -> None:
    """Refuse grey levels that a set of `levels` levels cannot have: a wrong Q would shift every likelihood.

    On the CPU only, where nobody waits for the answer: `ImageSet.to` asks before images leave it.

    Raises:
        UserError: a level below 0, or Q or above.
    """
    if k.device.type == "cpu" and k.numel() and (int(k.max()) >= levels or int(k.min()) < 0):
        raise UserError(
            f"grey levels {int(k.min())} .. {int(k.max())} in a set of {levels} levels: expected 0 .. {levels - 1}"
        )


# ----------
# One data set in memory: raw grey levels, labels and known factors, and the ways to take a part of it.


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
