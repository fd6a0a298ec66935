"""Data sets in memory as raw grey levels: a registry by name, and how epochs and few-shot subsets are drawn."""

from common.data.batches import augment_flip, epoch_permutation, flip_draws, mirrored
from common.data.imageset import ImageSet
from common.data.registry import NAMES, fetch, load

__all__ = ["NAMES", "ImageSet", "augment_flip", "epoch_permutation", "fetch", "flip_draws", "load", "mirrored"]
