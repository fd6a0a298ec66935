import numpy as np
import pytest
from synthetic_vae import EPOCHS, MODEL, PROVENANCE, N, imported_rows, score_rows, write_vae

from infolab import results as tables
from infolab.quantiles import quantile
from scripts import figures, select
from scripts import vae_curves as curves
from scripts import vae_scores as scores
from vae.tables import ImportedLosses, Memorization


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vae")
    write_vae(folder)
    return folder


def test_a_set_without_rows_has_no_figures(results):
    for product in figures.all_products().values():
        if product.paper == "vae" and product.arguments["dataset"] == "celeba":
            with pytest.raises(select.NoRowsError):
                product.build(results)


def test_the_root_of_the_mutual_information_is_drawn(results):
    bottom = scores.mi(results, "digits").axes[2]
    held_out = next(line for line in bottom.lines if line.get_label() == "held out (mean score)")
    np.testing.assert_allclose(held_out.get_ydata(), 0.6**0.5)


def test_quantiles_and_their_bands_are_those_of_the_rows(results):
    frame, source = scores.grid_rows(results, "digits")
    assert source == "yours"
    assert set(frame["model"]) == {MODEL}
    found = scores.over_epochs(frame[frame["lr"] == 1e-3], 0.95)
    values = np.array([row.score for row in score_rows() if row.epoch == 60 and row.lr == 1e-3 and row.model == MODEL])
    expected = quantile(values, 0.95)
    assert found["x"].tolist() == list(EPOCHS)
    assert found.iloc[-1][["mean", "low", "high"]].tolist() == [expected.value, expected.low, expected.high]


def test_a_diffusion_model_stands_beside_the_vaes(results):
    fig = scores.densities(results, "digits")
    assert "denoiser-mlp[256-256]" in fig.get_suptitle()
    assert len(fig.axes[0].patches) == 3  # two learning rates, one diffusion model
    for patch in fig.axes[0].patches:
        values, edges, _ = patch.get_data()
        assert 0.95 <= (values * np.diff(edges)).sum() <= 1.0


def test_shares_of_highly_memorized_images():
    x = np.concatenate([np.full(50, 0.5), np.full(40, 1.5), np.full(3, 2.5)])
    chosen = np.concatenate([np.arange(50) < 10, np.zeros(43, bool)])
    found = scores.shares(x, chosen, np.array([0.0, 1.0, 2.0, 3.0]))
    assert found["n"].tolist() == [50, 40]
    assert found["share"].tolist() == [0.2, 0.0]
    # Clopper and Pearson's interval of 10 in 50
    assert found.loc[0, ["low", "high"]].tolist() == pytest.approx([0.1003, 0.3372], abs=1e-4)


def test_the_band_of_the_tail_is_exact(results):
    right = scores.densities(results, "digits").axes[1]
    corners = right.collections[0].get_paths()[0].vertices
    top = right.lines[0].get_xdata()[-1]
    band = np.unique(corners[corners[:, 0] == top, 1])
    # One of N images has the largest score: 0.0253 and 5.572 of N, by the binomial's tails.
    assert N * band == pytest.approx([0.0253, 5.572], rel=0.02)


def test_imported_losses_are_of_one_grid_with_the_spread_over_repeats(tmp_path):
    for name, rows in (("large", imported_rows(repeats=3)), ("small", imported_rows(repeats=1, shift=40, grid="b"))):
        tables.write(tmp_path, ImportedLosses, name, rows, PROVENANCE)
    fig = curves.imported(tmp_path, "mnist")
    line, band = fig.axes[0].lines[0], fig.axes[0].collections[0].get_paths()[0].vertices
    assert line.get_ydata()[-1] == pytest.approx(80 + 6 + 1 + 0.25)  # the mean over three repeats of the large grid
    ends = band[band[:, 0] == 10, 1]
    assert np.ptp(ends) / 2 == pytest.approx(4.302653 / 3**0.5)  # t of 2 degrees; repeats 0, 1, 2 have deviation 1
    assert "95% interval of the mean over 3 repeats" in fig.get_suptitle()


def test_imported_losses_of_one_repeat_have_a_spread_over_folds_and_no_interval(tmp_path):
    tables.write(tmp_path, ImportedLosses, "one", imported_rows(repeats=1), PROVENANCE)
    fig = curves.imported(tmp_path, "mnist")
    band = fig.axes[0].collections[0].get_paths()[0].vertices
    assert np.ptp(band[band[:, 0] == 10, 1]) / 2 == pytest.approx(0.5 / 2**0.5)  # the deviation of two folds
    assert "one repeat; band: standard deviation over its folds, not an interval" in " ".join(
        fig.get_suptitle().split()
    )


def test_the_neighbours_figure_says_how_ratio_and_score_go_together(results):
    fig = scores.neighbours(results, "digits")
    assert "rank correlation of ρ and score 1.00" in fig.axes[0].get_title()


def test_pictures_are_those_of_the_largest_learning_rate(results):
    assert "learning rate 0.001" in scores.memorized(results, "digits").get_suptitle()
    assert "2 within 0.01" in scores.duplicates(results, "digits").get_suptitle()


def test_the_tables_hold_every_estimator_and_grid(results):
    cells = curves.bounds_sheet(results, "digits").cells
    assert set(cells["MI"]) == set(curves.ESTIMATORS.values())
    assert set(cells["epoch"]) == {"20", "40", "60"}
    sheet = scores.scores_sheet(results, "digits").cells
    assert len(sheet) == 3
    assert sheet["log p(x) by"].tolist().count("i-mmse[32 x 2]") == 1


def test_a_smoke_run_is_no_grid(tmp_path):
    rows = [row for row in score_rows() if row.m < N]
    tables.write(tmp_path, Memorization, "smoke", rows, PROVENANCE)
    with pytest.raises(select.NoRowsError):
        scores.grid_rows(tmp_path, "digits")
