"""The two real data sets that scikit-learn carries: 8x8 digits, and 32x32 crops of its two photographs."""

import numpy as np
import torch
from torch import Tensor

from common.data.imageset import ImageSet

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
