"""Mutual information on small samples of laws with known answers; invariances; labels; what is refused."""

import math

import numpy as np
import pytest

from infolab.errors import UserError
from infolab.mi import Settings, mutual_information
from infolab.mi.categorical import is_label
from infolab.mi.estimate import arrange
from infolab.mi.few import least_pairs

FAST = Settings(steps=60, batch=128, width=24, points=12)


def gaussian_pair(n, rho, d=1, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, d))
    return x, rho * x + math.sqrt(1 - rho * rho) * rng.standard_normal((n, d))


def within(found, truth, slack=0.0):
    return abs(found.estimate.value - truth) < 3 * found.estimate.se + slack


@pytest.mark.parametrize("d", [1, 2])
def test_gaussian_pairs_and_their_monotone_images(d):
    x, y = gaussian_pair(3000, 0.8, d)
    truth = -d / 2 * math.log(1 - 0.64)
    plain = mutual_information(x, y, FAST)
    image = mutual_information(x**3, np.arcsinh(10 * y), FAST)
    assert within(plain, truth, 0.01)
    assert within(image, truth, 0.02)
    assert abs(plain.estimate.value - image.estimate.value) < 0.05
    assert plain.estimate.se == pytest.approx(0.8 * math.sqrt(d / 3000), rel=0.3)  # sd of log p(x|y)/p(x): rho sqrt(d)


def test_independent_pairs_read_zero():
    rng = np.random.default_rng(0)
    found = mutual_information(rng.standard_normal((2000, 2)), rng.standard_t(3, (2000, 2)), FAST)
    assert abs(found.estimate.value) < max(2 * found.estimate.se, 5e-3)


def test_orthogonal_form_less_its_floor():
    x, y = gaussian_pair(2000, 0.6)
    settings = Settings(steps=60, batch=128, width=24, points=48, form="orthogonal")
    found = mutual_information(x, y, settings)
    assert found.parts_nats["floor"] >= 0
    assert within(found, -0.5 * math.log(1 - 0.36), 0.02)


def test_sides_can_be_exchanged():
    x, y = gaussian_pair(500, 0.7, 2)
    y = y[:, :1] ** 3
    one, other = mutual_information(x, y, FAST), mutual_information(y, x, FAST)
    assert one.estimate.value == other.estimate.value
    assert one.method == "difference, y noised"
    assert other.method == "difference, x noised"


def test_same_seed_same_digits_and_the_seed_counts():
    x, y = gaussian_pair(500, 0.7, 2)
    few = Settings(steps=20, batch=64, width=16, points=4)
    values = [mutual_information(x, y, settings).estimate.value for settings in (few, few)]
    assert values[0] == values[1]
    assert mutual_information(x, y, Settings(**{**few.__dict__, "seed": 1})).estimate.value != values[0]


def test_a_label_is_noised_in_closed_form():
    rng = np.random.default_rng(0)
    label = rng.integers(0, 3, 3000)
    y = rng.standard_normal((3000, 2)) + 1.5 * np.eye(3)[label][:, :2]
    found = mutual_information(label, y, Settings(steps=200, batch=256))
    # Truth by sampling the same law: E log p(y | label) - log mean_k p(y | k).
    means = 1.5 * np.eye(3)[:, :2]
    logs = -0.5 * np.square(y[:, None] - means).sum(-1)
    truth = (logs[np.arange(3000), label] - np.log(np.exp(logs).mean(1))).mean()
    assert found.method == "closed form of a label, x noised"
    assert abs(found.estimate.value - truth) < 0.02
    names = np.array(["cat", "dog", "emu"])[label]
    assert mutual_information(y, names, Settings(steps=200, batch=256)).estimate.value == found.estimate.value


def test_two_labels():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 4, 2000)
    y = np.where(rng.random(2000) < 0.2, rng.integers(0, 4, 2000), x)
    joint = 0.8 * np.eye(4) / 4 + 0.2 / 16
    truth = float((joint * np.log(joint * 16)).sum())
    found = mutual_information(x, y, Settings(steps=150, batch=256))
    assert within(found, truth, 0.01)


def test_mixed_and_constant_coordinates():
    rng = np.random.default_rng(0)
    x, y = gaussian_pair(1500, 0.8)
    grey = np.clip(np.round(4 * x + 8), 0, 16)  # 17 levels in one of three columns
    wide = np.column_stack([grey, np.full(1500, 3.0), rng.standard_normal(1500)])
    other = np.column_stack([y, rng.integers(0, 2, 1500)])
    found = mutual_information(wide, other, FAST)
    truth = -0.5 * math.log(1 - 0.64)
    assert 0.85 * truth < found.estimate.value < truth + 3 * found.estimate.se  # the levels lose little
    nothing = mutual_information(np.ones(1500), y, FAST)
    assert (nothing.estimate.value, nothing.estimate.se, nothing.method) == (0.0, 0.0, "a constant side, x noised")


def test_which_side_is_noised():
    rng = np.random.default_rng(0)
    wide, narrow, label = rng.random((400, 3)), rng.random((400, 1)), rng.integers(0, 2, (400, 1)).astype(float)
    assert arrange(wide, narrow)[2] == ("y", "x")
    assert arrange(narrow, label)[2] == ("y", "x")
    assert arrange(label, wide)[2] == ("x", "y")
    assert is_label(label)
    assert not is_label(narrow)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (lambda x: np.where(x < -0.5, 0.0, np.exp(x)), lambda y: np.where(y < -1.3, 0.0, np.exp(y))),
        (lambda x: np.maximum(x, 0), lambda y: np.maximum(y, 0)),
        (lambda x: np.column_stack([np.maximum(x, 0), x]), lambda y: np.maximum(y, -1)),
    ],
)
def test_atoms_of_independent_sides_are_not_information(first, second):
    for seed in (1, 2):
        x, y = gaussian_pair(2000, 0.0, seed=seed)
        found = mutual_information(first(x[:, 0]), second(y[:, 0]), FAST)
        assert abs(found.estimate.value) < 0.03  # 0.4 to 2.6 where an atom is taken for a normal law


def test_clipping_loses_information():
    for seed in (0, 1):
        x, y = gaussian_pair(2000, 0.6, seed=seed)
        found = mutual_information(np.maximum(x, 0), np.maximum(y, 0), FAST)
        assert 0.05 < found.estimate.value < -0.5 * math.log(1 - 0.36)


@pytest.mark.parametrize("nats", [9.0, 12.0])
def test_pairs_that_nearly_determine_each_other(nats):
    x, y = gaussian_pair(2000, math.sqrt(-math.expm1(-2 * nats)))
    found = mutual_information(x, y, FAST)
    assert found.estimate.value == pytest.approx(nats, abs=3 * found.estimate.se + 0.05 * nats)


def test_labels_beyond_double_precision_and_rare_ones():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2, 1000)
    y = np.where(rng.random(1000) < 0.1, 1 - x, x)
    settings = Settings(steps=100, batch=256)
    plain = mutual_information(x, y, settings).estimate
    large = mutual_information(x + 2**53, y.astype(np.uint64) + 2**63, settings).estimate
    truth = math.log(2) + 0.9 * math.log(0.9) + 0.1 * math.log(0.1)
    assert large.value == plain.value == pytest.approx(truth, abs=3 * plain.se + 0.02)
    # A level and a column that vary in one half only.
    y[:1], wide = 7, np.column_stack([rng.standard_normal(1000), np.zeros(1000)])
    wide[0, 1] = 1
    assert abs(mutual_information(rng.integers(0, 2, 1000), y, settings).estimate.value) < 0.05
    assert abs(mutual_information(rng.integers(0, 2, 1000), wide, settings).estimate.value) < 0.05


def test_a_column_that_varies_in_the_last_rows_only():
    x, y = gaussian_pair(1000, 0.8, 2)
    wide = np.column_stack([x, np.arange(1000) >= 900, np.zeros(1000)])
    wide[-1, 3] = 1.0
    found = mutual_information(wide, y, FAST)
    assert within(found, -math.log(1 - 0.64), 0.05)


def test_where_nothing_is_found_the_error_says_what_may_be_missed():
    x, y = gaussian_pair(1000, 0.05, seed=3)
    found = mutual_information(x, y, FAST).estimate
    assert found.se >= math.sqrt(1 / 2) / 500
    assert abs(found.value + 0.5 * math.log(1 - 0.0025)) < 1.96 * found.se


@pytest.mark.slow
@pytest.mark.parametrize(("d", "rho"), [(1, 0.0), (1, 0.6), (2, 0.6)])
def test_the_interval_covers_just_above_the_fewest_pairs(d, rho):
    # Of 20 at 95% fewer than 16 in 1 of 400 draws.
    truth, n = -d / 2 * math.log(1 - rho * rho), least_pairs(2 * d)
    found = []
    for seed in range(20):
        settings = Settings(steps=300, batch=256, width=64, points=24, seed=seed)
        found.append(mutual_information(*gaussian_pair(n, rho, d, seed), settings).estimate)
    assert sum(abs(one.value - truth) < 1.96 * one.se for one in found) >= 16
    assert np.median([one.se for one in found]) < 0.15


def test_a_time_budget_decides_the_steps():
    x, y = gaussian_pair(500, 0.5)
    found = mutual_information(x, y, Settings(steps=0, minutes=0.02, batch=32, width=8, points=4))
    assert found.steps >= 50
    assert found.seconds < 30


@pytest.mark.parametrize(
    ("x", "y", "said"),
    [
        (np.zeros((50, 2)), np.zeros((49, 2)), "must be pairs"),
        (np.zeros((10, 2)), np.zeros((10, 2)), "at least 40"),
        (np.full((50, 2), np.nan), np.zeros((50, 2)), "not finite"),
        (np.array([object()] * 50), np.zeros((50, 2)), "expected numbers"),
    ],
)
def test_bad_arrays(x, y, said):
    with pytest.raises(UserError, match=said):
        mutual_information(x, y)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"form": "product"}, "unknown form"),
        ({"steps": -1}, "--steps"),
        ({"steps": 0}, "both 0"),
        ({"lr": 0.0}, "--lr"),
        ({"points": 1}, "--points"),
    ],
)
def test_bad_settings(change, said):
    with pytest.raises(UserError, match=said):
        mutual_information(np.zeros(50), np.zeros(50), Settings(**change))
