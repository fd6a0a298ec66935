"""The plain references of TAD and DCI give the same numbers as the metrics."""

import numpy as np
import pytest

from benchmarks import reference_infodiffusion_metrics as plain
from benchmarks.infodiffusion_metrics import ROWS, attributes_and_codes, dci_row, known_codes, tad_row
from infolab.metrics.codes import dci, disentanglement, tad
from infolab.metrics.measured import folds_of


def test_tad_is_the_references_on_every_training_fold():
    codes, attributes = attributes_and_codes(500, 6, 8)
    expected = [plain.tad(codes[train], attributes[train]) for train, _ in folds_of(500, 5, seed=0)]
    found = tad(codes, attributes)
    assert found.tad.value == pytest.approx(np.mean([value for value, _ in expected]), abs=1e-12)
    assert found.captured.value == np.mean([count for _, count in expected])
    assert found.captured.value > 2
    assert found.tad.sd == pytest.approx(np.std([value for value, _ in expected]), abs=1e-12)


def test_boosted_dci_is_the_references():
    factors, codes = known_codes(120, 5)
    factors, x = factors[:, :1], codes["rotated"].astype(np.float32)
    found = dci(x, factors, "boosted", folds=1, jobs=1)
    train, _ = folds_of(120, 1, seed=0)[0]
    expected = plain.importances(x[train], factors[train])
    # Trees break ties between equally good splits at random.
    np.testing.assert_allclose(found.importance, expected, atol=0.02)
    R = np.random.default_rng(0).random((4, 3))
    R[2] = 0
    assert plain.disentanglement(R) == pytest.approx(disentanglement(R))


def test_the_rows_measure_both_sides():
    rows = (tad_row(n=100, d=3, k=4), dci_row(n=60, d=6))
    assert set(ROWS) == {"infodiffusion.tad", "infodiffusion.dci_fast"}
    for row in rows:
        assert row.ours(0) > 0
    assert rows[0].reference(0) > 0
    assert (rows[0].wanted, rows[1].wanted) == (20, 5)
