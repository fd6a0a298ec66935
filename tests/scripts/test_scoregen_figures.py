import numpy as np
import pytest
from synthetic_scores import BEST, PROVENANCE, SLOPE, kl_row, sample_rows, write_scores

from infolab import results as tables
from scoregen.tables import ScoreKl
from scripts import scoregen_clusters as clusters
from scripts import scoregen_parts as parts
from scripts import scoregen_sweeps as sweeps
from scripts import select, slopes


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scores")
    write_scores(folder)
    return folder


def test_a_planted_slope_is_recovered(results):
    for sweep in sweeps.SWEEPS:
        for network in sweeps.MODELS:
            best, _ = sweeps.of_samples(results, sweep, network)
            slope = slopes.fit_slope(best["n"].to_numpy(float), best["kl_nats"].to_numpy(float))
            assert slope.value == pytest.approx(SLOPE, abs=0.02)
            assert slope.low < SLOPE < slope.high
            assert (best["time"] == 1000).all()
    assert any(f"{SLOPE:.2f}" in cell for cell in sweeps.slope_sheet(results).cells["slope of the least KL"])


def test_the_least_kl_of_the_u_is_marked(results):
    fig = sweeps.kl_epochs(results)
    assert all(any(f"at {BEST:,}" in text.get_text() for text in axes.texts) for axes in fig.axes)
    table = sweeps.minima(results).cells
    assert (table["before the end"] == "3 of 3").all()


def test_the_divergence_of_the_other_scaling_is_said(results):
    assert "without the factor 1/√m: 3 of 3 seeds diverge, by epoch 5" in sweeps.batches(
        results
    ).get_suptitle().replace("\n", " ")


def test_sgd_is_shown_at_the_batch_size_that_was_chosen(results):
    rows, _ = sweeps.dynamics(results, "sgd")
    assert set(rows["batch"]) == {500}


def test_widths_that_never_get_there_are_crosses(results):
    never = sweeps.capacity(results).axes[1].collections[1]
    assert never.get_label() == "never within 10,000"
    assert len(never.get_offsets()) == 3
    assert "never, never, never" in sweeps.capacity_sheet(results).cells["first epoch below"].tolist()


def test_the_difference_of_the_pairs_is_paired_by_seed(results):
    by_set, source = clusters.rows_by_set(results)
    assert source == "yours"
    mean, error, seeds = clusters.difference(by_set["digits"])
    assert (mean, error, seeds) == (pytest.approx(5.0), pytest.approx(0.0, abs=1e-9), 3)


def test_the_bounds_constants_are_recovered():
    tau, n = (item.ravel() for item in np.meshgrid(np.geomspace(0.1, 1e3, 25), [32.0, 256.0, 2048.0]))
    constants = np.array([1e-9, 1e-7, 2.0, 30.0])
    kl = parts.bound_terms(tau, n, n) @ constants
    fitted = parts.fit_bound(tau, n, n, kl)
    assert parts.bound_terms(tau, n, n) @ fitted == pytest.approx(kl, rel=1e-3)


def test_two_sample_sizes_make_no_slope(tmp_path):
    rows = [row for row in sample_rows() if row.n in (32, 64)]
    tables.write(tmp_path, ScoreKl, "few", rows, PROVENANCE)
    with pytest.raises(select.NoRowsError, match="no sample-size sweep"):
        sweeps.samples(tmp_path)


def test_a_study_of_more_epochs_is_preferred(tmp_path):
    studies = [(8, epoch) for epoch in (10, 20)] + [(4, epoch) for epoch in (10, 20, 4000)]
    rows = [kl_row(0.1 * width, epoch=epoch, width=width, seed=seed) for width, epoch in studies for seed in (0, 1)]
    tables.write(tmp_path, ScoreKl, "two", rows, PROVENANCE)
    frame, _ = parts.kl_rows(tmp_path, "dynamics")
    assert set(parts.largest(frame, parts.RUN, "seed")["width"]) == {4}


def _own_beside_reference(folder, own):
    """A folder with these rows of one's own and the full reference."""
    write_scores(folder / "reference")
    tables.write(folder, ScoreKl, "own", own, PROVENANCE)
    return folder


def test_own_rows_and_the_reference_are_never_mixed(tmp_path):
    own = [kl_row(7.0 / epoch, epoch=epoch, seed=0, width=8, optimizer="sgd", lr=0.25) for epoch in (1, 2, 3)]
    results = _own_beside_reference(tmp_path, own)
    fig = sweeps.kl_epochs(results)
    assert [axes.get_title() for axes in fig.axes] == ["SGD 0.25, full batch, width 8"]
    assert "reference" not in fig.get_suptitle()
    table = sweeps.minima(results)
    assert table.cells["setting"].tolist() == ["SGD 0.25, full batch, width 8"]
    assert "reference" not in table.note
    with pytest.raises(select.NoRowsError, match="no rows of dynamics, optimizer adam"):
        sweeps.dynamics(results, "adam")
    batches = sweeps.batches(results).get_suptitle()
    assert "diverge" not in batches  # the diverging seeds are the reference's
    assert "reference" not in batches


def test_without_own_rows_the_reference_is_shown_and_named(tmp_path):
    results = _own_beside_reference(tmp_path, [row for row in sample_rows() if row.network == "swish"])
    for drawn in (sweeps.kl_epochs(results), sweeps.batches(results)):
        assert "reference data" in drawn.get_suptitle()
    assert "diverge" in sweeps.batches(results).get_suptitle()
    assert "reference data" in sweeps.minima(results).note


@pytest.mark.parametrize("network", sweeps.MODELS)
def test_slopes_of_one_model_leave_the_reference_out(tmp_path, network):
    own = [row for row in sample_rows() if row.network == network and row.sweep == "samples_m=n"]
    results = _own_beside_reference(tmp_path, own)
    fig = sweeps.samples(results)
    assert [axes.get_title() for axes in fig.axes] == ["m = n"]
    table = sweeps.slope_sheet(results)
    assert table.cells[["model", "sweep"]].to_numpy().tolist() == [[sweeps.MODELS[network], "m = n"]]
    assert "reference" not in table.note + fig.get_suptitle()


def test_a_smoke_run_is_told_which_sample_sizes_it_has(tmp_path):
    own = [row for row in sample_rows() if row.n in (32, 64) and row.network == "swish"]
    results = _own_beside_reference(tmp_path, own)
    for build in (sweeps.samples, sweeps.slope_sheet):
        with pytest.raises(select.NoRowsError, match=r"the 3 values of n that a slope needs \(there: 32, 64; "):
            build(results)


@pytest.mark.parametrize("best", [1, 12, 20])
def test_the_label_of_the_least_kl_stays_within_its_panel(tmp_path, best):
    kinds = ({"optimizer": "adam"}, {"optimizer": "sgd", "lr": 0.5, "batch": 500})
    rows = [kl_row(8.0 + abs(epoch - best), epoch=epoch, **kind) for kind in kinds for epoch in range(1, 21)]
    tables.write(tmp_path, ScoreKl, "short", rows, PROVENANCE)
    fig = sweeps.kl_epochs(tmp_path)
    fig.draw_without_rendering()
    for axes in fig.axes:
        label, panel = axes.texts[0].get_window_extent(), axes.get_window_extent()
        assert panel.x0 <= label.x0
        assert label.x1 <= panel.x1
