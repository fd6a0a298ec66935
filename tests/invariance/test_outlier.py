"""One value of 1e20 among 400: the right number, or a sentence."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from infolab.bound import data_terms
from infolab.errors import UserError
from infolab.memorization import ScoreSums
from infolab.metrics import as_features, auroc_matrix, dci, fid, kid, latent_classification, mig, mmd, tad
from infolab.mmd import gaussian_kernel, mmd2
from infolab.nll import NllConfig, nll_report
from infolab.schedules import VP
from vae.neighbours import nearest_distance

OUT = 1e20
N = 400


@pytest.fixture(scope="module")
def sides():
    """Two 1-D samples, one with the outlier."""
    source = np.random.default_rng(0)
    x, y = source.normal(size=(N, 1)), source.normal(size=(60, 1))
    x[7] = OUT
    return x, y


@pytest.fixture(scope="module")
def coded():
    """Codes with the outlier, the same with a value that is merely the largest, and their factors."""
    source = np.random.default_rng(1)
    factors = source.integers(2, size=(N, 2))
    codes = np.c_[factors + 0.4 * source.normal(size=(N, 2)), source.normal(size=N)]
    codes[7, 0], wild = codes[:, 0].max() + 1, codes.copy()
    wild[7, 0] = OUT
    return codes, wild, factors


def test_metrics_of_ranks_do_not_notice(coded):
    codes, wild, factors = coded
    np.testing.assert_array_equal(auroc_matrix(wild, factors), auroc_matrix(codes, factors))
    assert tad(wild, factors).tad == tad(codes, factors).tad
    assert dci(wild, factors, folds=2, jobs=1).measured() == dci(codes, factors, folds=2, jobs=1).measured()


@pytest.mark.parametrize("metric", [mig, latent_classification])
def test_metrics_in_units_of_the_spread_refuse(coded, metric):
    _, wild, factors = coded
    for sign in (1, -1):
        with pytest.raises(UserError, match=r"code 0 has values from .*remove the outliers"):
            metric(sign * wild, factors)


def test_distances_of_samples_are_those_of_the_definition(sides):
    x, y = sides
    features = [as_features(torch.from_numpy(part)) for part in sides]
    # In one dimension (m1 - m2)^2 + (s1 - s2)^2.
    expected = (x.mean() - y.mean()) ** 2 + (x.std(ddof=1) - y.std(ddof=1)) ** 2
    assert fid(*features, force=True).value == pytest.approx(expected, rel=1e-9)

    a, b = ([Fraction(float(value)) for value in part[:, 0]] for part in sides)
    cross = Fraction(sum((p * q + 1) ** 3 for p in a for q in b), len(a) * len(b))
    within = [
        Fraction(sum((p * q + 1) ** 3 for i, p in enumerate(c) for q in c[:i]) * 2, len(c) * (len(c) - 1))
        for c in (a, b)
    ]
    assert kid(*features).value == pytest.approx(float(sum(within) - 2 * cross), rel=1e-9)

    width = float(np.median([abs(p - q) for i, p in enumerate([*x[:, 0], *y[:, 0]]) for q in [*x[:, 0], *y[:, 0]][:i]]))
    k = lambda p, q: np.exp(-np.square(p - q.T) / (2 * width**2))  # noqa: E731
    pairs = [(k(c, c).sum() - len(c)) / (len(c) * (len(c) - 1)) for c in (x, y)]
    expected = sum(pairs) - 2 * k(x, y).mean()
    # The median of an even number of distances is the lower one here, numpy's is between two.
    assert mmd(*features).value == pytest.approx(expected, rel=1e-3)
    assert mmd2(*(part.values for part in features), gaussian_kernel(width)).value == pytest.approx(expected, rel=1e-9)


def test_terms_of_the_bound(sides):
    x, alpha = torch.from_numpy(sides[0]), VP().at(torch.tensor(0.3, dtype=torch.float64)).alpha
    rest = data_terms(torch.cat([x[:7], x[8:]]), 0.3, VP(), outer=0, draws=8, seed=0)["mi_nats"]
    found = data_terms(x, 0.3, VP(), outer=0, draws=8, seed=0)
    p = 1 / N
    apart = -p * math.log(p) - (1 - p) * math.log1p(-p)
    expected = (1 - p) * rest["value"] + apart
    assert abs(found["mi_nats"]["value"] - expected) < 5 * math.hypot(rest["se"], found["mi_nats"]["se"])
    assert found["kl_prior_nats"]["value"] == pytest.approx(float(alpha**2) * OUT**2 / 2 / N, rel=1e-9)


def test_a_likelihood_by_denoising_refuses(tmp_path, monkeypatch, sides):
    (tmp_path / "denoiser_of_outlier.py").write_text(
        "def normal(z, logsnr):\n    return logsnr[:, None].neg().sigmoid().sqrt() * z\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    np.save(tmp_path / "x.npy", sides[0])
    np.save(tmp_path / "plane.npy", np.c_[sides[0], np.arange(N) % 7 + np.random.default_rng(0).normal(size=N)])
    for name in ("x", "plane"):
        with pytest.raises(UserError, match="no density"):
            nll_report(NllConfig(denoiser="denoiser_of_outlier:normal", data=str(tmp_path / f"{name}.npy")))


def test_neighbours_and_scores(sides):
    x = torch.from_numpy(sides[0])
    expected = [float(np.delete(np.abs(sides[0] - value), i).min()) for i, value in enumerate(sides[0][:7])]
    others = [nearest_distance(x[i : i + 1], torch.cat([x[:i], x[i + 1 :]]))[0] for i in range(7)]
    assert others == pytest.approx(expected, rel=1e-12)
    sums = ScoreSums(2)
    for logpx, inside in ((-3.0, True), (-5.0, False)):
        sums.add(np.array([logpx, OUT if inside else -OUT]), np.array([inside, inside]))
    assert sums.scores().score.tolist() == [2.0, 2 * OUT]
