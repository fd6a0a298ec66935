"""Data sets in memory as raw grey levels: a registry by name, and how epochs and few-shot subsets are drawn."""

from infolab.data.images import ImageSet, augment_flip, epoch_permutation, flip_draws, mirrored
from infolab.data.registry import NAMES, fetch, load

__all__ = ["NAMES", "ImageSet", "augment_flip", "epoch_permutation", "fetch", "flip_draws", "load", "mirrored"]
