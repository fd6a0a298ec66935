"""Near-duplicates and nearest neighbours against brute force, and the scan at the size of MNIST."""

import os
import resource
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from launching import REPOSITORY

from infolab.errors import UserError
from vae import neighbours
from vae.neighbours import half_resolution, near_duplicates, nearest_distance, neighbour_distances


def pictures(n, side=32, seed=0):
    """Smooth grey images with a little noise, uint8 (n, side, side)."""
    g = torch.Generator().manual_seed(seed)
    smooth = torch.nn.functional.interpolate(torch.randn(n, 1, 6, 6, generator=g), size=side, mode="bilinear")[:, 0]
    return (smooth * 45 + 128 + 2 * torch.randn(n, side, side, generator=g)).clamp(0, 255).to(torch.uint8)


def plant(images, count, seed=1):
    """Overwrite `count` images by copies of others with noise of -2 .. 2 grey levels; the pairs."""
    g = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(images), generator=g)[: 2 * count]
    a, b = chosen[:count], chosen[count:]
    noise = torch.randint(-2, 3, (count, *images.shape[1:]), generator=g)
    images[b] = (images[a].int() + noise).clamp(0, 255).to(torch.uint8)
    return {tuple(sorted(pair)) for pair in zip(a.tolist(), b.tolist(), strict=True)}


def listed(found):
    return list(zip(found.a.tolist(), found.b.tolist(), strict=True))


def brute(images, levels):
    flat = images.flatten(1).double() / (levels - 1)
    distance = torch.cdist(flat, flat, compute_mode="donot_use_mm_for_euclid_dist") / flat.shape[1] ** 0.5
    a, b = torch.triu_indices(len(images), len(images), 1)
    return a, b, distance[a, b]


@pytest.mark.parametrize("block", [64, 100, 1024])
def test_the_scan_finds_what_comparing_all_pairs_finds(monkeypatch, block):
    monkeypatch.setattr(neighbours, "BLOCK", block)
    images = pictures(300, side=12)
    planted = plant(images, 20)
    a, b, distance = brute(images, 256)
    for within, closest in ((0.01, 1), (0.1, 1), (0.0, 40), (0.0, 1)):
        found = near_duplicates(images, 256, within, closest)
        count = max(closest, int((distance <= within).sum()))
        order = distance.argsort(stable=True)[:count]
        assert len(found) == count
        assert (found.a < found.b).all()
        np.testing.assert_allclose(found.distance, distance[order], rtol=1e-12)
        if within == 0.01:
            assert set(listed(found)) == planted
    assert set(listed(found)) <= set(zip(a.tolist(), b.tolist(), strict=True))


def test_equal_images_and_few_pixels():
    images = torch.zeros(5, 1, 2, 2, dtype=torch.uint8)
    images[4] = 16
    found = near_duplicates(images, 17, 0.0, closest=50)
    assert len(found) == 10
    assert found.distance.tolist() == [0.0] * 6 + [1.0] * 4
    with pytest.raises(UserError, match="no pairs"):
        near_duplicates(images[:1], 17, 0.0)


def test_too_many_pairs_are_refused(monkeypatch):
    monkeypatch.setattr(neighbours, "MOST", 100)
    with pytest.raises(UserError, match="more than 100 pairs"):
        near_duplicates(torch.zeros(50, 3, dtype=torch.uint8), 2, 0.0)


def test_no_planted_copy_is_missed():
    images = pictures(6000)
    planted = plant(images, 20)
    assert set(listed(near_duplicates(images, 256, 0.01))) == planted


@pytest.mark.slow
def test_sixty_thousand_images_in_two_gigabytes():
    """20 copies among 60,000 x 1,024; the images of this test are made in blocks, so that the scan's memory is seen."""
    where = {**os.environ, "PYTHONPATH": f"{REPOSITORY}{os.pathsep}{REPOSITORY / 'tests'}"}
    done = subprocess.run([sys.executable, __file__], cwd=REPOSITORY, env=where, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    seconds, gigabytes, found = map(float, done.stdout.split())
    assert found == 20
    assert gigabytes < 2
    assert seconds < 600


def test_each_image_has_its_own_nearest_neighbour(monkeypatch):
    monkeypatch.setattr("vae.neighbours.BLOCK", 7)
    g = torch.Generator().manual_seed(0)
    x, y = torch.rand(50, 9, generator=g), torch.rand(30, 9, generator=g)
    y[3] = x[11]
    expected = torch.cdist(x.double(), y.double(), compute_mode="donot_use_mm_for_euclid_dist").min(1).values
    found = nearest_distance(x, y)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert found[11] == 0


def test_near_neighbours_do_not_cancel():
    x = torch.full((1, 400), 1000.0)
    y = torch.stack([x[0] + 0.001, x[0] + 1])
    assert nearest_distance(x, y)[0] == pytest.approx(float((x - y[0]).double().norm()), rel=1e-9)


def test_a_copy_is_found_among_nearly_equal_images_and_beside_an_outlier():
    """|x|^2 - 2 x.y + |y|^2 in float32 is off by 1e-7 |x|^2, which hides distances up to 3e-4 |x|."""
    g = torch.Generator().manual_seed(0)
    x = 1000 * torch.rand(40, 50, generator=g)
    close = torch.cat([x + 1e-2 * torch.randn(40, 50, generator=g) for _ in range(5)])
    assert nearest_distance(x, torch.cat([close, x])).tolist() == [0.0] * 40
    outlier = torch.full((1, 50), 1e15)
    assert nearest_distance(x, torch.cat([outlier, close, x])).tolist() == [0.0] * 40


def test_half_resolution_is_the_mean_of_four_pixels():
    images = torch.arange(16.0).view(1, 1, 4, 4)
    assert half_resolution(images).tolist() == [[2.5, 4.5, 10.5, 12.5]]
    assert half_resolution(torch.zeros(2, 3, 5, 5)).shape == (2, 12)


def test_an_image_is_compared_with_samples_of_a_network_that_was_trained_on_it():
    images, folds = torch.zeros(6, 2), np.array([0, 1, 2, 0, 1, 2])
    samples = {fold: torch.full((4, 2), float(fold + 1)) for fold in range(3)}
    heldout, sampled = neighbour_distances(images, folds, torch.full((4, 2), 0.5), samples)
    np.testing.assert_allclose(heldout, 0.5 * 2**0.5)
    # fold 0 is compared with the network that holds out fold 1, whose samples are at (2, 2); and so on.
    np.testing.assert_allclose(sampled, np.array([2.0, 3.0, 1.0] * 2) * 2**0.5)


if __name__ == "__main__":
    torch.set_num_threads(1)
    many = torch.cat([pictures(5000, seed=10 + part) for part in range(12)])
    wanted = plant(many, 20)
    started = time.monotonic()
    pairs = set(listed(near_duplicates(many, 256, 0.01, closest=20)))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    sys.stdout.write(f"{time.monotonic() - started:.1f} {peak:.2f} {len(pairs & wanted)}\n")
