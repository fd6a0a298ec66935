"""Metrics of codes: on codes made from the factors, whose scores are known, and beside scikit-learn."""

import math

import numpy as np
import pytest
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.metrics import mutual_info_score, roc_auc_score

from infolab.errors import UserError
from infolab.metrics import auroc_matrix, binarise, dci, information, latent_classification, mig, tad
from infolab.metrics.codes import completeness, disentanglement, equal_width, information_matrix, shared_information
from infolab.metrics.measured import folds_of

N, SIZES = 600, (3, 4, 5)


@pytest.fixture(scope="module")
def factors():
    source = np.random.default_rng(0)
    return np.stack([source.integers(size, size=N) for size in SIZES], axis=1)


def standard(factors):
    return (factors - factors.mean(0)) / factors.std(0)


def known_codes(factors, spread=0.4):
    """From disentangled to random: a permutation with signs, one noisy, a slight mixture, a rotation, noise."""
    source = np.random.default_rng(1)
    z = standard(factors)
    rotation, _ = np.linalg.qr(source.normal(size=(3, 3)))
    noise = source.normal(size=z.shape)
    return {
        "permuted": z[:, [2, 0, 1]] * [1, -1, 1],
        "noisy": z + spread * noise,
        "rotated": z @ rotation + spread * noise,
        "random": noise,
    }


def test_auroc_is_scikit_learns_with_ties_and_both_extremes():
    source = np.random.default_rng(2)
    codes = np.concatenate([source.normal(size=(300, 3)), source.integers(4, size=(300, 2))], axis=1)
    codes[:, 2] = 1.0  # a constant code: 1/2
    attributes = source.random((300, 4)) < [0.5, 0.1, 0.9, 0.02]
    attributes[0] = [True, True, True, True]
    found = auroc_matrix(codes, attributes)
    for j in range(5):
        for k in range(4):
            assert found[j, k] == pytest.approx(roc_auc_score(attributes[:, k], codes[:, j]), abs=1e-13)
    perfect = auroc_matrix(np.arange(10.0), np.arange(10) > 3)
    assert perfect.tolist() == [[1.0]]
    assert auroc_matrix(-np.arange(10.0), np.arange(10) > 3).tolist() == [[0.0]]
    assert np.isnan(auroc_matrix(np.arange(10.0), np.ones(10))).all()


@pytest.mark.parametrize("attributes", [np.full(10, 2), np.zeros(9), np.zeros((10, 1, 1))])
def test_attributes_that_do_not_fit_are_refused(attributes):
    with pytest.raises(UserError, match="attributes"):
        auroc_matrix(np.arange(10.0), attributes)


def test_tad_is_the_sum_over_kept_attributes_as_published():
    source = np.random.default_rng(3)
    n = 1_000
    attributes = (source.random((n, 5)) < 0.5).astype(int)
    attributes[:, 4] = attributes[:, 0] ^ (source.random(n) < 0.02)  # tells nearly all of attribute 0, and back
    codes = source.normal(size=(n, 6))
    codes[:, 0] += 3 * attributes[:, 0]
    codes[:, 1] -= 2 * attributes[:, 1]  # read by its negative
    codes[:, 2] += 2 * attributes[:, 1]
    codes[:, 3] += 4 * attributes[:, 2]
    found = tad(codes, attributes, folds=1)
    assert found.kept.tolist() == [1, 2]
    either = [
        sorted((max(a, 1 - a) for a in (roc_auc_score(attributes[:, k], codes[:, j]) for j in range(6))), reverse=True)
        for k in range(5)
    ]
    np.testing.assert_allclose(found.best, [one[0] for one in either], atol=1e-12)
    np.testing.assert_allclose(found.gap, [one[0] - one[1] for one in either], atol=1e-12)
    five = tad(codes, attributes)
    assert five.captured.value == 2
    assert (five.captured.sd, five.captured.se) == (0, None)
    assert five.tad.value == pytest.approx(found.gap[[1, 2]].sum(), abs=0.03)
    assert 0 < five.tad.sd < five.tad.se < 0.05
    assert tad(codes * [2, 3, 4, 5, 6, 7] + 1, attributes).tad.value == pytest.approx(five.tad.value)
    nothing = tad(codes[:, ::-1], attributes, least=1.1)
    assert (nothing.captured.value, nothing.tad.value, nothing.tad.se) == (0, 0, None)  # 0 is no error of theirs


def test_the_jackknife_of_tad_is_its_spread_over_data_sets():
    def one(seed):
        source = np.random.default_rng(seed)
        y = (source.random((400, 2)) < 0.5).astype(int)
        codes = source.normal(size=(400, 4))
        codes[:, :2] += 2 * y
        return tad(codes, y).tad

    found = [one(seed) for seed in range(60)]
    spread = np.std([item.value for item in found], ddof=1)
    reported = math.sqrt(np.mean([item.se**2 for item in found]))
    assert 0.7 < reported / spread < 1.4


def test_shared_information_is_that_of_scikit_learn_over_the_entropy():
    source = np.random.default_rng(4)
    y = source.random((500, 3)) < [0.5, 0.2, 0.7]
    y[:, 2] ^= y[:, 0] & (source.random(500) < 0.7)
    found = shared_information(y)
    for i in range(3):
        entropy = mutual_info_score(y[:, i], y[:, i])
        expected = [mutual_info_score(y[:, i], y[:, j]) / entropy for j in range(3)]
        np.testing.assert_allclose(found[i], expected, atol=1e-12)


def test_binarise_cuts_at_the_median_and_always_in_two():
    found = binarise(np.array([[0, 1], [1, 1], [2, 0], [3, 1]]))
    assert found.tolist() == [[0, 1], [0, 1], [1, 0], [1, 1]]


def test_mig_of_known_codes(factors):
    codes = known_codes(factors)
    found = {name: mig(one, factors) for name, one in codes.items()}
    # A permutation leaves only what the other codes tell by chance: (20 - 1)(v - 1) / 2n at most.
    assert found["permuted"].value == pytest.approx(1, abs=0.05)
    assert found["permuted"].value > found["noisy"].value + 0.1 > found["rotated"].value + 0.2
    assert found["random"].value < 0.03
    assert found["noisy"].name == "mig[bins=20,n=600]"
    exact = np.repeat(np.arange(3), 8)  # independent of the other column by construction
    other = np.tile(np.arange(8), 3)
    assert mig(np.stack([exact, other], 1), exact).value == pytest.approx(1, abs=1e-12)
    assert mig(np.stack([exact, exact], 1), exact).value == pytest.approx(0, abs=1e-12)


def test_information_in_bins_is_scikit_learns(factors):
    codes = known_codes(factors)["rotated"]
    binned = equal_width(codes, 20)
    assert binned.min() == 0
    assert binned.max() == 19
    found = information_matrix(binned, factors, 20)
    expected = [[mutual_info_score(binned[:, j], factors[:, k]) for k in range(3)] for j in range(3)]
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_the_error_of_mig_is_its_spread():
    def one(seed):
        source = np.random.default_rng(seed)
        y = source.integers(4, size=(500, 2))
        return mig(y + 0.7 * source.normal(size=(500, 2)), y)

    found = [one(seed) for seed in range(60)]
    spread = np.std([item.value for item in found], ddof=1)
    assert 0.7 < math.sqrt(np.mean([item.se**2 for item in found])) / spread < 1.4


def test_scores_of_importances():
    assert disentanglement(np.eye(4)[:, [2, 0, 3, 1]]) == 1
    assert completeness(np.eye(4)) == 1
    assert disentanglement(np.ones((5, 3))) == pytest.approx(0, abs=1e-12)
    # One code tells both factors alone: complete, not disentangled; a code without importance has no weight.
    both = np.array([[1.0, 1.0], [0.0, 0.0]])
    assert disentanglement(both) == pytest.approx(0)
    assert completeness(both) == 1
    R = np.array([[0.9, 0.2], [0.1, 0.8]])
    H = [-(a * math.log(a) + (1 - a) * math.log(1 - a)) for a in (0.9 / 1.1, 0.1 / 0.9)]
    expected = 1.1 / 2 * (1 - H[0] / math.log(2)) + 0.9 / 2 * (1 - H[1] / math.log(2))
    assert disentanglement(R) == pytest.approx(expected)


@pytest.mark.parametrize("variant", ["forest", "boosted"])
def test_both_variants_of_dci_rank_known_codes_from_disentangled_to_random(variant):
    few = np.random.default_rng(0).integers(2, size=(150, 3))  # boosting grows 100 trees a class
    found = {name: dci(codes, few, variant, folds=1, jobs=1) for name, codes in known_codes(few, 0.8).items()}
    score = {name: item.disentanglement.value for name, item in found.items()}
    assert score["permuted"] > 0.99
    assert score["permuted"] > score["noisy"] + 0.03 > score["rotated"] + 0.1
    assert score["rotated"] > score["random"] + 0.05
    assert score["random"] < 0.1
    assert found["permuted"].completeness.value > 0.99
    assert found["permuted"].informativeness.value == 1
    assert found["random"].informativeness.value < 0.6
    importance = found["permuted"].importance
    np.testing.assert_allclose(importance.sum(0), 1)
    assert importance.argmax(0).tolist() == [1, 2, 0]
    assert found["noisy"].disentanglement.name == f"dci_disentanglement[{variant},n=150]"
    assert found["noisy"].disentanglement.se is None


def test_folds_of_dci_give_errors_and_the_seed_fixes_all(factors):
    codes = known_codes(factors)["noisy"]
    one, same, other = (dci(codes, factors, seed=seed, folds=3, jobs=1) for seed in (0, 0, 1))
    for item in one.measured():
        assert 0 < item.sd < 0.2
    # Refits of trees on overlapping folds give no standard error; held-out folds do.
    assert [item.se is None for item in one.measured()] == [True, True, False]
    assert one.disentanglement == same.disentanglement
    assert one.disentanglement.value != other.disentanglement.value
    assert abs(one.disentanglement.value - other.disentanglement.value) < 5 * one.disentanglement.sd


def test_one_factor_has_no_disentanglement_and_one_code_no_completeness(factors):
    codes = known_codes(factors)["noisy"]
    label, single = dci(codes, factors[:, :1], folds=1, jobs=1), dci(codes[:, :1], factors, folds=1, jobs=1)
    assert math.isnan(label.disentanglement.value)
    assert math.isnan(single.completeness.value)
    assert [item.name.split("[")[0] for item in label.measured()] == ["dci_completeness", "dci_informativeness"]
    with pytest.raises(UserError, match="at least 2 factors"):
        disentanglement(np.ones((3, 1)))
    with pytest.raises(UserError, match="at least 2 code dimensions"):
        completeness(np.ones((1, 3)))


def test_boosted_importances_are_the_published_classifiers_own(factors):
    codes, y = known_codes(factors)["rotated"][:120], factors[:120, :1]
    train, test = folds_of(120, 1, seed=0)[0]
    found = dci(codes, y, "boosted", folds=1, jobs=1)
    model = GradientBoostingClassifier(random_state=0).fit(codes[train].astype(np.float32), y[train, 0])
    np.testing.assert_allclose(found.importance[:, 0], model.feature_importances_, atol=0.02)
    assert len(test) == 24


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: dci(np.zeros((10, 2)), np.arange(10), "other"), "variant"),
        (lambda: dci(np.zeros((10, 2)), np.arange(9)), r"expected \(10, factors\)"),
        (lambda: mig(np.zeros((10, 2)), np.zeros(10)), "constant"),
        (lambda: mig(np.zeros((10, 1)), np.arange(10)), "at least 2"),
        (lambda: mig(np.full((10, 2), np.nan), np.arange(10)), "not finite"),
        (lambda: tad(np.zeros((10, 1)), np.arange(10) > 4), "at least 2 code"),
        (lambda: tad(np.zeros((10, 2)), np.arange(10)), "0 or 1"),
        (lambda: tad(np.arange(20).reshape(10, 2), np.ones((10, 3))), "every attribute is constant"),
        (lambda: tad(np.arange(200).reshape(100, 2), np.arange(100) == 7), "one class only in a training fold"),
        (lambda: dci(np.arange(200).reshape(100, 2), np.arange(100) == 7), "one class of a factor"),
        (lambda: latent_classification(np.zeros((15_000, 2)), np.arange(12_000) % 2), "15000 codes"),
        (lambda: information(np.zeros((200, 2)), np.zeros((400, 2))), "must be pairs"),
        (lambda: latent_classification(np.zeros((10, 2)), np.arange(10) > 4, folds=1), "folds"),
        (lambda: latent_classification(np.zeros((5000, 2)), np.arange(5000)), "different values"),
        (lambda: dci(np.zeros((100, 2)), np.linspace(0, 1, 100)), "expected classes, at most 50"),
    ],
)
def test_what_cannot_be_measured_is_refused(call, message):
    with pytest.raises(UserError, match=message):
        call()


@pytest.mark.parametrize(("unit", "origin"), [(1e-7, 0), (1e-6, 0), (1e9, 0), (1, 1e8)])
def test_trees_see_codes_of_any_unit_and_origin(factors, unit, origin):
    codes = known_codes(factors)["noisy"]
    given, moved = (dci(item, factors, folds=2, jobs=1) for item in (codes, codes * unit + origin))
    assert given.disentanglement.value > 0.5
    assert given.measured() == moved.measured()
    np.testing.assert_array_equal(given.importance, moved.importance)


def test_boosted_trees_see_the_codes_of_a_collapsed_vae():
    few = np.random.default_rng(0).integers(2, size=(100, 2))
    codes = known_codes(np.c_[few, few[:, :1]], 0.8)["noisy"]
    given, moved = (dci(item, few, "boosted", folds=1, jobs=1).measured() for item in (codes, codes * 1e-7 + 1e-3))
    assert given == moved
    assert given[0].value > 0.3


def test_labels_beyond_the_whole_numbers_of_float64_stay_different(factors):
    codes, large = known_codes(factors)["noisy"], factors + 2**53
    assert mig(codes, large) == mig(codes, factors)
    found, expected = (latent_classification(codes, labels).measured() for labels in (large, factors))
    assert found == expected
    found, expected = (dci(codes, labels, folds=1, jobs=1).measured() for labels in (large, factors))
    assert found == expected
    np.testing.assert_array_equal(binarise(large), binarise(factors))
    signed = np.array([-(2**62), 2**62, 2**62 + 1])[factors[:, :1] % 3]
    assert mig(codes, signed) == mig(codes, factors[:, :1])


def test_codes_beyond_the_whole_numbers_of_float64_stay_different(factors):
    assert mig(factors + 2**60, factors) == mig(factors, factors)
    np.testing.assert_array_equal(auroc_matrix(factors + 2**60, factors > 1), auroc_matrix(factors, factors > 1))


def test_a_constant_code_is_none_wherever_it_lies(factors):
    codes = known_codes(factors)["noisy"]
    found = [latent_classification(np.c_[codes, np.full(N, c)], factors).auroc.value for c in (0.0, 0.1, 1e6 + 0.1)]
    assert found == [latent_classification(codes, factors).auroc.value] * 3
