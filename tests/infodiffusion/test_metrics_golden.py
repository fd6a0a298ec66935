"""Golden values of every metric on fixed inputs: a change of version that moves one is seen here."""

import numpy as np
import pytest
import torch

from infolab.metrics import as_features, dci, fid, kid, latent_classification, mig, mmd, tad


@pytest.fixture(scope="module")
def codes_and_factors():
    """Written with sines instead of a random generator, whose stream may change with a version."""
    i = np.arange(400)
    factors = np.stack([i % 3, (i // 3) % 2, (i // 6) % 5], axis=1)
    wiggle = np.sin(np.outer(i + 1, [1.3, 2.1, 0.7, 1.9]) ** 1.1)
    codes = np.concatenate([factors - factors.mean(0), np.zeros((400, 1))], axis=1) + 0.8 * wiggle
    codes[:, 1] += 0.5 * codes[:, 0]
    return codes, factors


def test_metrics_of_codes(codes_and_factors):
    codes, factors = codes_and_factors
    binary = (factors > 0).astype(int)
    assert mig(codes, factors).value == pytest.approx(GOLDEN["mig"], abs=1e-9)
    assert tad(codes, binary).tad.value == pytest.approx(GOLDEN["tad"], abs=1e-9)
    found = latent_classification(codes, factors)
    assert found.auroc.value == pytest.approx(GOLDEN["auroc"], abs=2e-3)
    assert found.accuracy.value == pytest.approx(GOLDEN["accuracy"], abs=5e-3)
    # Trees are grown by scikit-learn's random numbers.
    forest = dci(codes, factors, jobs=1)
    assert forest.disentanglement.value == pytest.approx(GOLDEN["dci_disentanglement"], abs=0.03)
    assert forest.completeness.value == pytest.approx(GOLDEN["dci_completeness"], abs=0.03)


def test_distances_of_samples(codes_and_factors):
    codes, _ = codes_and_factors
    x, y = as_features(torch.from_numpy(codes[:200])), as_features(torch.from_numpy(codes[200:] * 1.2 + 0.1))
    assert fid(x, y, force=True).value == pytest.approx(GOLDEN["fid"], rel=1e-9)
    assert fid(x, y, force=True).se == pytest.approx(GOLDEN["fid_se"], rel=1e-6)
    assert kid(x, y).value == pytest.approx(GOLDEN["kid"], rel=1e-9)
    assert mmd(x, y).value == pytest.approx(GOLDEN["mmd"], rel=1e-9)
    assert mmd(x, y, "published", biased=True).value == pytest.approx(GOLDEN["mmd_published"], rel=1e-9)


GOLDEN = {
    "mig": 0.4427586069809892,
    "tad": 0.8701335918805931,
    "auroc": 0.8709212381895146,
    "accuracy": 0.6158333333333335,
    "dci_disentanglement": 0.4941317169296514,
    "dci_completeness": 0.47329458187343176,
    "fid": 0.28026436716373193,
    "fid_se": 0.09002900722778588,
    "kid": 0.33910998013199745,
    "mmd": 0.007755533661906844,
    "mmd_published": 0.012675815562543491,
}
