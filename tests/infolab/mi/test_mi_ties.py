"""Ties and lumps are spread without loss: the order stays, and what comes out is Gaussian once it is mapped."""

import numpy as np
import pytest
from scipy.stats import kstest, norm

from infolab.mi.sides import has_lumps, normal_map, rank_scores, spread_ties
from itdiffusion.mi_table import LAWS


def zeros(rng, n, share, width=0.0):
    return np.where(rng.random(n) < share, width * rng.standard_normal(n), rng.exponential(size=n))


def test_spread_ties_can_be_undone():
    rng = np.random.default_rng(0)
    levels = np.array([0.0, 1.0, 4.0, 9.0])
    x = np.column_stack([levels[rng.integers(0, 4, 1000)], rng.standard_normal(1000), np.full(1000, 2.0)])
    spread = spread_ties(x, rng)
    assert len(np.unique(spread[:, 0])) == 1000
    assert (np.diff(x[np.argsort(spread[:, 0]), 0]) >= 0).all()
    assert (spread[:, 1:] == x[:, 1:]).all()


def test_a_few_ties_are_spread_in_their_place():
    rng = np.random.default_rng(0)
    x = np.sort(rng.standard_normal(1000))
    x[10], x[-1] = x[11], x[-2]
    spread = spread_ties(x[:, None], rng)[:, 0]
    tied = np.array([10, 11, 998, 999])
    others = np.setdiff1d(np.arange(1000), tied)
    assert len(np.unique(spread)) == 1000
    assert (spread[others] == x[others]).all()
    assert ((x[9] < spread[10:12]) & (spread[10:12] < x[12])).all()
    assert np.abs(spread[tied] - x[tied]).max() < x[998] - x[997]


def test_copies_of_an_example_are_no_ties():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(300), 3)
    x = np.column_stack([rng.standard_normal(300), zeros(rng, 300, 0.4)])[groups]
    spread = spread_ties(x, rng, groups)
    assert (spread[:, 0] == x[:, 0]).all()
    assert (spread[::3] == spread[1::3]).all()
    assert len(np.unique(spread[:, 1])) == 300


@pytest.mark.parametrize("share", [0.02, 0.1, 0.3, 0.9])
@pytest.mark.parametrize("width", [0.0, 1e-9])
def test_atoms_and_lumps_come_out_gaussian(share, width):
    # Of the smooth map alone a lump of some per cent is left at one place, in a cell between two knots.
    rng = np.random.default_rng(1)
    x = spread_ties(zeros(rng, 2000, share, width)[:, None], rng)[:, 0]
    assert not has_lumps(x)
    mapped = normal_map(x[::2])(x[1::2])[0]
    assert kstest(mapped, norm.cdf).statistic < 1.95 * np.sqrt(2 / 1000)  # two samples of 1,000, at 1 in 1,000


def test_laws_of_the_table_have_no_lumps():
    for law in LAWS.values():
        sides = law.sample(10_000, np.random.default_rng(0))
        columns = [column for side in sides for column in side.T if len(np.unique(column)) > 64]
        assert not any(has_lumps(column) for column in columns)


def test_ranks():
    scores = rank_scores(np.array([[3.0, 1.0], [1.0, 1.0], [2.0, 5.0]]))
    assert scores[:, 0].argsort().tolist() == [1, 2, 0]
    assert scores[0, 1] == scores[1, 1] < scores[2, 1]
    assert np.allclose(scores[:, 0].sum(), 0)
