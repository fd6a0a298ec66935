"""Noise is a function of (seed, example, point), normal, and spread evenly along the curve."""

from itertools import pairwise

import pytest
import torch

from infolab.errors import UserError
from infolab.noise import BLOCK, KINDS, blocks, curve_noise, sobol


@pytest.mark.bits
@pytest.mark.parametrize("kind", KINDS)
def test_any_part_of_the_noise_can_be_had_alone(kind):
    whole = curve_noise(kind, (200, 3), 0, torch.arange(8), 8, seed=5)
    part = curve_noise(kind, (30, 3), 70, torch.tensor([2, 6]), 8, seed=5)
    expected = whole[70:100] if kind == "shared" else whole[70:100][:, [2, 6]]
    assert torch.equal(part, expected)
    assert not torch.equal(curve_noise(kind, (30, 3), 70, torch.tensor([2, 6]), 8, seed=6), part)


@pytest.mark.parametrize("kind", KINDS)
def test_every_entry_is_standard_normal(kind):
    eps = curve_noise(kind, (20_000, 2), 0, torch.arange(4), 4, seed=1).double()
    error = 20_000**-0.5
    for j in range(eps.shape[1]):
        assert eps[:, j].mean(0).abs().max() < 4 * error
        assert (eps[:, j].square().mean(0) - 1).abs().max() < 4 * 2**0.5 * error
        assert (eps[:, j] ** 4).mean(0).sub(3).abs().max() < 4 * 96**0.5 * error
        assert (eps[:, j, 0] * eps[:, j, 1]).mean().abs() < 4 * error
    assert torch.isfinite(eps).all()


def test_quasi_noise_averages_better_along_the_curve():
    spreads = {}
    for kind in ("quasi", "independent"):
        eps = curve_noise(kind, (2000, 2), 0, torch.arange(64), 64, seed=2).double()
        spreads[kind] = float(eps.square().sum(-1).mean(1).std())
    assert spreads["quasi"] < spreads["independent"] / 3


def test_blocks_begin_where_streams_do():
    parts = list(blocks(200, 70, first=30))
    assert parts[0].start == 0
    assert parts[-1].stop == 200
    assert all(before.stop == after.start for before, after in pairwise(parts))
    assert all((30 + part.start) % BLOCK == 0 for part in parts[1:])
    assert max(part.stop - part.start for part in parts) <= BLOCK


def test_an_unknown_kind_is_refused():
    with pytest.raises(UserError, match="unknown noise 'pink'"):
        curve_noise("pink", (2, 2), 0, torch.arange(2), 2, seed=0)


def test_more_dimensions_than_sobols_sequence_has():
    limit = torch.quasirandom.SobolEngine.MAXDIM
    d, total = limit + 500, 64
    points = sobol(d, total, seed=5)
    assert points.shape == (total, d)
    assert torch.equal(points[:, :limit], sobol(limit, total, seed=5))
    # In each coordinate one point of 64 lies in each of 64 equal parts, beyond the limit as below it.
    for column in (0, limit - 1, limit, d - 1):
        assert sorted((points[:, column] * total).long().tolist()) == list(range(total))
    assert not torch.equal(points[:, 0], points[:, limit])
    eps = curve_noise("quasi", (2, d), 0, torch.arange(total), total, 0)
    assert eps.shape == (2, total, d)
    # Standard normal over 2 x 64 x 500 values: the mean square has standard error sqrt(2 / 64,000) = 0.006.
    assert abs(float(eps[..., limit:].square().mean()) - 1) < 0.03
