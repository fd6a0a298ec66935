"""The error of a mean score against the spread over grids of networks that move all their images at once."""

import numpy as np
import pytest

from vae.score_errors import shared_se

N, K = 300, 10


def partition(source, n=N, folds=K):
    """The images outside of each network of one repeat."""
    return np.array_split(source.permutation(n), folds)


@pytest.mark.parametrize("repeats", [1, 2])
def test_networks_that_move_their_images_together_are_counted(repeats):
    """A network's effect has standard deviation 0.5, an image's own 1: an error over images alone is far too small."""
    source, means, stated, plain = np.random.default_rng(0), [], [], []
    for _ in range(400):
        outside = [places for _ in range(repeats) for places in partition(source)]
        values = source.normal(size=N)
        for places in outside:
            values[places] += 0.5 * source.normal() / repeats
        means.append(values.mean())
        stated.append(shared_se(values, outside) ** 2)
        plain.append(values.var(ddof=1) / N)
    spread = np.std(means, ddof=1)
    assert np.sqrt(np.mean(plain)) < 0.6 * spread
    # The spread of 400 is known to 3.5%, the mean variance of 9 degrees of freedom to 2.4%.
    assert np.sqrt(np.mean(stated)) == pytest.approx(spread, rel=0.15)


def test_without_shared_networks_it_is_the_error_over_images():
    values = np.random.default_rng(1).normal(size=50)
    over_images = values.std(ddof=1) / 50**0.5
    alone = [np.array([place]) for place in range(50)]
    assert shared_se(values, alone) == pytest.approx(over_images, rel=1e-12)
    assert shared_se(values, [np.arange(50)]) == over_images  # one network: its share cannot be told
    assert shared_se(values, [np.arange(20), np.arange(40)]) == over_images  # no partition
    assert shared_se(values, []) == over_images
    with pytest.raises(ValueError, match="two scores"):
        shared_se(values[:1], [])
