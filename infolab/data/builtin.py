"""Data sets that need no files: scikit-learn's digits and photographs, and procedural sprites with known factors."""

import math

import numpy as np
import torch
from torch import Tensor

from infolab.data.images import ImageSet
from infolab.errors import UserError
from infolab.noise import generator

# ----------
# The two real data sets that scikit-learn carries: 8x8 digits, and 32x32 crops of its two photographs.

DIGITS_TEST = 360
CELL = 64
PATCH = 32
STRIDE = {"train": 4, "test": 8}


def digits(split: str) -> ImageSet:
    """scikit-learn's 1,797 scanned 8x8 digits, 17 grey levels (0 .. 16), 1,437 for training and 360 for testing.

    The split is stratified and has no randomness in it. Class c, with n_c scans, gives t_c of them to the test set (its
    share of 360, largest remainders rounded up), namely those at ranks floor((j + 1/2) n_c / t_c), j = 0 .. t_c - 1:
    evenly spaced in the recorded order, so that every group of writers is in both parts.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    labels = torch.from_numpy(np.asarray(bunch.target, dtype=np.int64))
    images = torch.from_numpy(np.asarray(bunch.images, dtype=np.uint8))[:, None]
    is_test = _stratified(labels, DIGITS_TEST)
    chosen = is_test if split == "test" else ~is_test
    return ImageSet("digits", split, images[chosen], levels=17, labels=labels[chosen])


def _stratified(labels: Tensor, total: int) -> Tensor:
    """A mask (n,) with `total` examples, in each class its share of them, evenly spaced."""
    counts = torch.bincount(labels)
    quota = counts * total
    share = quota // len(labels)
    remainder = quota - share * len(labels)
    rounded_up = torch.argsort(remainder, descending=True, stable=True)[: total - int(share.sum())]
    share[rounded_up] += 1
    mask = torch.zeros(len(labels), dtype=torch.bool)
    for label, taken in enumerate(share.tolist()):
        members = torch.nonzero(labels == label)[:, 0]
        ranks = (2 * torch.arange(taken) + 1) * len(members) // (2 * taken)
        mask[members[ranks]] = True
    return mask


def patches(split: str) -> ImageSet:
    """32x32 colour crops of scikit-learn's two photographs (427 x 640), training and test crops from disjoint regions.

    Each photograph is cut into 6 x 10 square cells of 64 pixels, from the middle rows; cell (r, c) belongs to the test
    set if (r + 2 c) mod 5 = 0. Crops lie within one cell, every 4 pixels for training (7,776 crops) and every 8 for
    testing (600), so no pixel is in both. The label is the photograph: 0 the temple, 1 the flower.
    """
    from sklearn.datasets import load_sample_images

    crops, labels = [], []
    for label, photograph in enumerate(load_sample_images().images):
        part = _crops(torch.from_numpy(photograph.copy()), split)
        crops.append(part)
        labels.append(torch.full((len(part),), label))
    return ImageSet("patches", split, torch.cat(crops), levels=256, labels=torch.cat(labels))


def _crops(photograph: Tensor, split: str) -> Tensor:
    """All crops (n, 3, 32, 32) of one photograph (h, w, 3) that belong to `split`."""
    rows, columns = photograph.shape[0] // CELL, photograph.shape[1] // CELL
    top = (photograph.shape[0] - rows * CELL) // 2
    found = []
    for r in range(rows):
        for c in range(columns):
            if ((r + 2 * c) % 5 == 0) == (split == "test"):
                y, x = top + r * CELL, c * CELL
                cell = photograph[y : y + CELL, x : x + CELL]
                windows = cell.unfold(0, PATCH, STRIDE[split]).unfold(1, PATCH, STRIDE[split])
                found.append(windows.reshape(-1, 3, PATCH, PATCH))
    return torch.cat(found)


# ----------
# Procedural images with known factors: one white shape on black, on the grid of dSprites, at 32x32, antialiased.

FACTOR_NAMES = ("shape", "scale", "orientation", "x", "y")
FACTOR_SIZES = (3, 6, 40, 32, 32)
SHAPES = ("square", "ellipse", "heart")
N = math.prod(FACTOR_SIZES)
SIZE = 32
RADIUS = 8.0  # pixels, of the largest sprite: its centre stays that far from the border, so none is cut off
N_SPLIT = {"train": 20_000, "test": 4_000}
SPLIT_SEED = 0
BLOCK = 2_000  # images drawn at once: bounds the memory of the distance fields


def sprites(split: str) -> ImageSet:
    """A fixed random subset of the 737,280 sprites: 20,000 for training, 4,000 others for testing; label = shape."""
    order = torch.randperm(N, generator=generator(SPLIT_SEED, "data", "sprites"))
    start = 0 if split == "train" else N_SPLIT["train"]
    factors = index_to_factors(order[start : start + N_SPLIT[split]])
    return ImageSet(
        "sprites",
        split,
        render(factors),
        levels=256,
        labels=factors[:, 0].clone(),
        factors=factors,
        factor_names=FACTOR_NAMES,
    )


def index_to_factors(indices: Tensor) -> Tensor:
    """Factors (n, 5) of the sprites numbered `indices` (n,) in 0 .. 737,279; the last factor (y) runs fastest.

    >>> index_to_factors(torch.tensor([0, 1, 32, 737_279])).tolist()
    [[0, 0, 0, 0, 0], [0, 0, 0, 0, 1], [0, 0, 0, 1, 0], [2, 5, 39, 31, 31]]
    """
    return torch.stack(torch.unravel_index(indices, FACTOR_SIZES), dim=-1)


def render(factors: Tensor) -> Tensor:
    """Draw sprites: uint8 (n, 1, 32, 32) from factor indices (n, 5) = (shape, scale, orientation, x, y).

    A pixel's level is 255 times the covered part of it, taken as clip(1/2 - s, 0, 1), s the signed distance (pixels)
    from its centre to the outline, negative inside. Sprites have circumradius r = 8 (0.5 + 0.1 scale) pixels, are
    turned by 2 pi orientation / 40, and centred at 8 + 16 (x, y) / 31 pixels. As in dSprites, the square looks the same
    after a quarter turn and the ellipse after a half turn.

    Raises:
        UserError: if a factor lies outside its grid (3, 6, 40, 32, 32).
    """
    sizes = torch.tensor(FACTOR_SIZES)
    if factors.ndim != 2 or factors.shape[1] != 5 or bool(((factors < 0) | (factors >= sizes)).any()):
        raise UserError(f"sprite factors must be indices (n, 5) on the grid {FACTOR_SIZES} of {FACTOR_NAMES}")
    images = torch.empty(len(factors), 1, SIZE, SIZE, dtype=torch.uint8)
    for shape, distance in enumerate((_square, _ellipse, _heart)):
        for rows in torch.nonzero(factors[:, 0] == shape)[:, 0].split(BLOCK):
            u, v = _own_frame(factors[rows])
            radius = (RADIUS * (0.5 + 0.1 * factors[rows, 1].float()))[:, None, None]
            coverage = (0.5 - distance(u, v, radius)).clamp(0, 1)
            images[rows, 0] = (255 * coverage).round().to(torch.uint8)
    return images


def _own_frame(factors: Tensor) -> tuple[Tensor, Tensor]:
    """Pixel centres (n, 32, 32) in each sprite's own frame, v pointing up, in pixels."""
    angle = (2 * math.pi / FACTOR_SIZES[2]) * factors[:, 2].float()
    centre = RADIUS + (SIZE - 2 * RADIUS) / (FACTOR_SIZES[3] - 1) * factors[:, 3:].float()
    pixel = torch.arange(SIZE) + 0.5
    right = pixel[None, None, :] - centre[:, 0, None, None]
    up = centre[:, 1, None, None] - pixel[None, :, None]
    cos, sin = torch.cos(angle)[:, None, None], torch.sin(angle)[:, None, None]
    return cos * right + sin * up, cos * up - sin * right


def _box(u: Tensor, v: Tensor, half: Tensor) -> Tensor:
    """Signed distance to a square of half side `half`."""
    du, dv = u.abs() - half, v.abs() - half
    return torch.hypot(du.clamp(min=0), dv.clamp(min=0)) + torch.maximum(du, dv).clamp(max=0)


def _square(u: Tensor, v: Tensor, radius: Tensor) -> Tensor:
    """Square with its corners at `radius`."""
    return _box(u, v, radius / math.sqrt(2))


def _ellipse(u: Tensor, v: Tensor, radius: Tensor) -> Tensor:
    """Ellipse with half axes `radius` and `radius` / 2: f / |grad f|, f = |(u, 2 v)| - radius, exact to first order."""
    norm = torch.hypot(u, 2 * v)
    slope = torch.hypot(u, 4 * v) / norm.clamp(min=1e-6)
    return (norm - radius) / slope.clamp(min=1.0)


def _heart(u: Tensor, v: Tensor, radius: Tensor) -> Tensor:
    """Heart: a square on its corner and a disc over each of its two upper sides, within a circle of `radius`.

    With half side a, the discs have radius a and centres (+-a, a) / sqrt 2; the tip lies at (0, -sqrt 2 a).
    The sprite's point is sqrt 2 a below the frame's origin, which is moved so that both ends are equally far.
    """
    half = radius / 2
    # Farthest up: a / sqrt 2 + a; farthest down: sqrt 2 a. The shift makes them equal.
    v = v + half * (1 + 1 / math.sqrt(2) - math.sqrt(2)) / 2
    across, along = (u + v) / math.sqrt(2), (v - u) / math.sqrt(2)
    discs = torch.hypot(u.abs() - half / math.sqrt(2), v - half / math.sqrt(2)) - half
    return torch.minimum(_box(across, along, half), discs)
