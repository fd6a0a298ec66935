"""The Gaussian part of few pairs: without bias, with an error that covers, and said."""

import math

import numpy as np
import pytest

from infolab.errors import RunFailedError, UserError
from infolab.mi import FEW, Settings, mutual_information
from infolab.mi.few import gaussian_part, least_pairs

RUNS = 300


def pairs(rng, n, dx, dy, rho=0.0):
    x, y = rng.standard_normal((n, dx)), rng.standard_normal((n, dy))
    k = min(dx, dy)
    y[:, :k] = rho * x[:, :k] + math.sqrt(1 - rho * rho) * y[:, :k]
    return x, y


@pytest.mark.parametrize(
    ("n", "dx", "dy", "rho"),
    [
        (40, 1, 1, 0.0), (40, 1, 1, 0.8), (100, 1, 1, 0.15), (100, 1, 1, 0.3), (100, 5, 5, 0.5), (200, 3, 40, 0.0),
        (100, 200, 1, 0.0),
    ],
)  # fmt: skip
def test_gaussian_pairs(n, dx, dy, rho):
    rng = np.random.default_rng(0)
    found = [gaussian_part(*pairs(rng, n, dx, dy, rho)) for _ in range(RUNS)]
    truth = -min(dx, dy) / 2 * math.log(1 - rho * rho)
    values, errors = np.array([[one.value, one.se] for one in found]).T
    # Normal scores of ranks lose a little of a strong dependence: a third of a standard error at n = 40.
    assert values.mean() == pytest.approx(truth, abs=3 * values.std() / math.sqrt(RUNS) + values.std() / 3)
    assert 0.9 * values.std() < errors.mean() < 2.3 * values.std()
    covered = (np.abs(values - truth) < 1.96 * errors).mean()
    assert covered > 0.95 - 3.3 * math.sqrt(0.95 * 0.05 / RUNS)


@pytest.mark.parametrize("n", [40, 100, 200])
def test_few_independent_pairs_read_zero(n):
    found = [
        mutual_information(*pairs(np.random.default_rng(seed), n, 1, 1), Settings(steps=50, seed=seed))
        for seed in range(40)
    ]
    values = np.array([one.estimate.value for one in found])
    covered = sum(abs(one.estimate.value) < 1.96 * one.estimate.se for one in found)
    assert covered >= 33  # of 40 at 95%: fewer in 1 of 500 draws
    assert np.abs(values).max() < 8 / n  # -1/(2n) + chi^2/(2n) lies within
    assert all(one.method.startswith(FEW) for one in found)
    assert all("only the Gaussian part" in one.warnings[0] and one.steps == 0 for one in found)


@pytest.mark.parametrize(("n", "dx", "dy"), [(400, 10, 150), (1000, 5, 400), (200, 300, 2)])
def test_many_dimensions_and_few_pairs(n, dx, dy):
    found = mutual_information(*pairs(np.random.default_rng(1), n, dx, dy), Settings(steps=50))
    assert abs(found.estimate.value) < 3 * found.estimate.se < 0.25
    assert "principal components" in found.warnings[1]


def test_a_clipped_side_of_few_pairs():
    found = []
    for seed in range(40):
        x, y = (np.maximum(side, 0) for side in pairs(np.random.default_rng(seed), 200, 1, 1))
        estimate = mutual_information(x, y, Settings(seed=seed)).estimate
        found.append(estimate.value / estimate.se)
    assert np.abs(found).max() < 4
    assert abs(np.mean(found)) < 3 / math.sqrt(40)


def test_what_is_determined_is_said():
    x, y = pairs(np.random.default_rng(0), 100, 3, 1)
    with pytest.raises(RunFailedError, match="one side determines the other"):
        mutual_information(x, np.column_stack([y, x[:, 0]]))


def test_few_labels_are_refused():
    x, _ = pairs(np.random.default_rng(0), 200, 1, 1)
    with pytest.raises(UserError, match="200 pairs are too few for a class label"):
        mutual_information(np.sign(x), x)


def test_blocks_need_networks():
    x, y = pairs(np.random.default_rng(0), 100, 1, 1)
    with pytest.raises(UserError, match=f"too few for --blocks: at least {least_pairs(2)}"):
        mutual_information(x, y, Settings(blocks=10))
