"""Pairs of image clusters: k-means on pixels, the farthest and the nearest centres, as many images for either pair."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from common.data import ImageSet, load
from common.errors import UserError
from common.seeds import derive, generator
from scoregen.clusters_config import PAIRS, ClustersConfig


@dataclass(frozen=True)
class ClusterPair:
    """One pair of clusters and its images.

    Attributes:
        name: which clusters, by number, and the class most of their images have.
        distance: Euclidean distance of the centres, pixels in [0, 1].
        train: training images, half from each cluster.
        test: held-out images that are nearest to one of the two centres.
    """

    name: str
    distance: float
    train: ImageSet
    test: ImageSet


def load_pair(config: ClustersConfig) -> ClusterPair:
    """The images of `config.pair`, chosen by the seed; a data set's clusters are the same in every run.

    Raises:
        UserError: missing files, images that do not fit the network, or clusters without enough images.
    """
    train, test = (load(config.dataset, split, data_dir=config.data_dir) for split in ("train", "test"))
    size = config.unet()
    expected = (size.in_channels, size.image_size, size.image_size)
    if train.shape != expected:
        raise UserError(
            f"--network {config.network} takes images of shape {expected}, {config.dataset}'s are {train.shape}: "
            "choose the network of that data set"
        )
    centres = cluster_centres(train, config.clusters, config.cluster_images)
    label, label_test = nearest_centre(train, centres), nearest_centre(test, centres)
    pairs = extreme_pairs(centres)
    sizes = torch.bincount(label, minlength=len(centres))
    each = min(config.n // 2, *(int(sizes[one]) for pair in pairs.values() for one in pair))
    chosen = pairs[config.pair]
    held_out = torch.isin(label_test, torch.tensor(chosen)).nonzero()[:, 0]
    if each < 1 or len(held_out) < 2:
        raise UserError(f"the {config.pair} clusters have too few images: lower --clusters")
    source = generator(config.seed, "clusters", config.pair)
    parts = [members[torch.randperm(len(members), generator=source)[:each]] for members in _members(label, chosen)]
    shuffled = held_out[torch.randperm(len(held_out), generator=source)]
    a, b = chosen
    return ClusterPair(
        name=" and ".join(_name(train, label, one) for one in chosen),
        distance=float((centres[a] - centres[b]).norm()),
        train=train.take(torch.cat(parts)),
        test=test.take(shuffled),
    )


def cluster_centres(images: ImageSet, k: int, most: int) -> Tensor:
    """Centres (k, d) of k-means on pixels in [0, 1], by a seed of its own, ordered by the size of their clusters."""
    from sklearn.cluster import KMeans  # takes a second to load

    chosen = images.images if not most or most >= len(images) else images.subset(most, 0).images
    pixels = _pixels(chosen, images.levels)
    fit = KMeans(k, n_init=1, max_iter=100, random_state=derive(0, "k-means") % 2**32).fit(pixels.numpy())
    order = np.argsort(-np.bincount(fit.labels_, minlength=k), kind="stable")
    return torch.from_numpy(fit.cluster_centers_[order]).float()


def nearest_centre(images: ImageSet, centres: Tensor) -> Tensor:
    """Number of the nearest centre of each image (n,)."""
    parts = images.images.split(4096)
    return torch.cat([torch.cdist(_pixels(part, images.levels), centres).argmin(1) for part in parts])


def extreme_pairs(centres: Tensor) -> dict[str, tuple[int, int]]:
    """The pairs of centres (k, d) of greatest and least distance."""
    distance = torch.cdist(centres.double(), centres.double(), compute_mode="donot_use_mm_for_euclid_dist")
    first, second = torch.triu_indices(len(centres), len(centres), offset=1)
    pairs = distance[first, second]
    places = (int(pairs.argmax()), int(pairs.argmin()))
    return {name: (int(first[at]), int(second[at])) for name, at in zip(PAIRS, places, strict=True)}


def _pixels(images: Tensor, levels: int) -> Tensor:
    return images.flatten(1).float() / (levels - 1)


def _members(label: Tensor, chosen: tuple[int, int]) -> list[Tensor]:
    return [(label == one).nonzero()[:, 0] for one in chosen]


def _name(images: ImageSet, label: Tensor, cluster: int) -> str:
    if images.labels is None:
        return f"{cluster}"
    counts = torch.bincount(images.labels[label == cluster])
    return f"{cluster} ({int(counts.max()) / int(counts.sum()):.0%} class {int(counts.argmax())})"
