"""The per-pixel histogram baseline against a brute-force count."""

import math

import pytest
import torch

from infolab.baselines import per_pixel_histogram_bpd, pixel_log_mass
from infolab.errors import UserError


def random_images(n: int, levels: int, seed: int) -> torch.Tensor:
    return torch.randint(0, levels, (n, 1, 2, 3), generator=torch.Generator().manual_seed(seed)).to(torch.uint8)


@pytest.mark.parametrize("smoothing", [0.5, 1.0])
def test_agrees_with_counting_by_hand(smoothing):
    train, test = random_images(40, 5, 0), random_images(9, 5, 1)
    bits = []
    for image in test:
        total = 0.0
        for r in range(2):
            for c in range(3):
                seen = sum(int(t[0, r, c] == image[0, r, c]) for t in train)
                total -= math.log2((seen + smoothing) / (40 + 5 * smoothing))
        bits.append(total / 6)
    mean = sum(bits) / 9
    se = math.sqrt(sum((b - mean) ** 2 for b in bits) / 8 / 9)
    assert per_pixel_histogram_bpd(train, test, 5, smoothing) == pytest.approx((mean, se), rel=1e-12)


def test_masses_of_every_pixel_sum_to_one():
    log_mass = pixel_log_mass(random_images(30, 17, 2), 17)
    torch.testing.assert_close(log_mass.exp().sum(1), torch.ones(6, dtype=torch.float64))


def test_blocks_do_not_change_the_counts(monkeypatch):
    train, test = random_images(50, 17, 3), random_images(20, 17, 4)
    whole = per_pixel_histogram_bpd(train, test, 17)
    monkeypatch.setattr("infolab.baselines.BLOCK", 7)
    assert per_pixel_histogram_bpd(train, test, 17) == pytest.approx(whole, rel=1e-14)


def test_nothing_learned_costs_log2_of_the_levels():
    constant = torch.arange(17, dtype=torch.uint8)[:, None].expand(17, 4)
    bpd, se = per_pixel_histogram_bpd(constant, constant, 17)
    assert bpd == pytest.approx(math.log2(17), rel=1e-14)
    assert se == pytest.approx(0, abs=1e-14)


@pytest.mark.parametrize(
    ("levels", "smoothing", "test", "words"),
    [
        (17, 0.0, random_images(3, 17, 0), "smoothing"),
        (4, 1.0, random_images(3, 17, 0), "levels"),
        (17, 1.0, torch.zeros(3, 1, 4, 4, dtype=torch.uint8), "shape"),
    ],
)
def test_bad_settings_are_refused(levels, smoothing, test, words):
    with pytest.raises(UserError, match=words):
        per_pixel_histogram_bpd(random_images(20, 17, 0), test, levels, smoothing)
