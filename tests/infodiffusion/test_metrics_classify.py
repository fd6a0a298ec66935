"""Latent classification against scikit-learn, and the error that it states against the spread over data sets."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from infolab.metrics import latent_classification
from infolab.metrics.measured import folds_of


def test_latent_classification_is_the_published_protocol():
    source = np.random.default_rng(5)
    y = (source.random((400, 2)) < [0.5, 0.3]).astype(int)
    codes = 5 * source.normal(size=(400, 4)) + 3
    codes[:, 0] += 6 * y[:, 0]
    found = latent_classification(codes, y)
    aurocs, accuracies = [], []
    for train, test in folds_of(400, 5, seed=0):
        mean, std = codes[train].mean(0), codes[train].std(0)
        for k in range(2):
            model = LogisticRegression().fit((codes[train] - mean) / std, y[train, k])
            scores = model.predict_proba((codes[test] - mean) / std)[:, 1]
            aurocs.append(roc_auc_score(y[test, k], scores))
            accuracies.append(model.score((codes[test] - mean) / std, y[test, k]))
    assert found.auroc.value == pytest.approx(np.mean(aurocs), abs=1e-3)
    assert found.accuracy.value == pytest.approx(np.mean(accuracies), abs=5e-3)
    assert found.per_factor[0, 0] > 0.75
    assert abs(found.per_factor[1, 0] - 0.5) < 0.12
    source = np.random.default_rng(0)
    factors = np.stack([source.integers(size, size=600) for size in (3, 4, 5)], axis=1)
    x, labels = (factors - factors.mean(0)) / factors.std(0), factors[:, 2]
    many = latent_classification(x, labels)
    splits = folds_of(600, 5, seed=0)
    models = [LogisticRegression(max_iter=1000).fit(x[a], labels[a]) for a, _ in splits]
    expected = [
        roc_auc_score(labels[b], model.predict_proba(x[b]), multi_class="ovr")
        for model, (_, b) in zip(models, splits, strict=True)
    ]
    assert many.auroc.value == pytest.approx(np.mean(expected), abs=1e-2)
    assert many.auroc.name == "auroc[logistic,folds=5,n=600]"


@pytest.mark.parametrize(("n", "d"), [(200, 32), (1000, 4)])
def test_the_error_of_held_out_folds_covers_the_spread_over_data_sets(n, d):
    """sd / sqrt(5) alone would be 0.7 of it at n = 200, d = 32; the error may be large by half, not small."""
    source, found = np.random.default_rng(1), []
    for _ in range(60):
        x = source.normal(size=(n, d))
        y = (x[:, 0] + source.normal(size=n) > 0).astype(int)
        found.append(latent_classification(x, y))
    for name in ("auroc", "accuracy"):
        values = [getattr(one, name).value for one in found]
        stated = np.sqrt(np.mean([getattr(one, name).se ** 2 for one in found]))
        assert 0.8 < stated / np.std(values, ddof=1) < 2.0  # the spread of 60 is known to 9%, the error's to 5%
