"""Figures and tables of the image study: what their cells say, and what is filled."""

import numpy as np
import pytest
from synthetic_nll import SETS, write_nll

from infolab import results as tables
from scripts import itdiffusion_images as study
from scripts.select import NoRowsError


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nll")
    write_nll(folder)
    return folder


def test_table_1_sets_published_numbers_in_columns_of_their_own(results):
    sheet = study.mass_sheet(results, "cifar10")
    cells = sheet.cells.set_index("model")
    assert cells.loc["IDDPM", "IT discrete"] == "3.000 ± 0.020"
    assert cells.loc["IDDPM, tuned 10 epochs", "IT discrete"] == "2.500 ± 0.020"
    assert cells.loc["IDDPM, tuned 10 epochs", "variational"] == "2.700 ± 0.020"
    assert cells.loc["IDDPM, tuned 10 epochs", "published IT discrete"] == "3.15"
    assert cells.loc["IDDPM", "published variational"] == "2.94"
    assert cells.loc["ensemble of 2", "IT dequantised"] == "1.900 ± 0.020"
    assert cells.loc["ensemble of 2", "published IT discrete"] == "2.90"
    assert cells.loc["DDPM (not measured here)", "published IT dequantised"] == "3.51"
    assert cells.loc["DDPM (not measured here)", "IT discrete"] == ""
    assert cells.loc["noise head, 20 epochs", "published IT discrete"] == ""
    assert cells.loc["baseline: uniform", "exact"] == "4.1 ± 0"
    assert "not measured here" in sheet.note


def test_no_published_numbers_beside_other_data(results):
    for build in (study.mass_sheet, study.density_sheet):
        sheet = build(results, "digits")
        assert not [column for column in sheet.cells.columns if "published" in column]
        assert "published" not in sheet.note


def test_table_2_is_of_the_density(results):
    cells = study.density_sheet(results, "cifar10").cells.set_index("model")
    assert cells.loc["IDDPM", "IT continuous"] == "-2.000 ± 0.020"
    assert cells.loc["IDDPM", "published IT"] == "-4.09"
    assert cells.loc["ensemble of 2", "IT continuous"] == "-3.100 ± 0.020"


def test_spread_of_draws_is_that_of_the_points(results):
    cells = study.spread_sheet(results, "digits").cells
    row = cells.iloc[0]
    assert row["points"] == "300"
    # Int 0.8 d s(a) da / 2 in bits per dimension, from loc - 4 scale to loc + 4 scale.
    truth = 0.4 * (np.log1p(np.exp(9.0)) - np.log1p(np.exp(-3.0))) / np.log(2)
    assert abs(float(row["integral, all points"]) - truth) < 4 * float(row["standard error, all points"])
    ratio = float(row["sd of 10 draws of 100"]) / float(row["standard error, all points"])
    assert 0.5 < ratio < 3.0  # sqrt(3) for independent draws


@pytest.mark.parametrize("dataset", SETS)
def test_filled_area_of_a_density_is_the_gap_to_the_gaussian(results, dataset):
    fig = study.density(results, dataset, mass=False)
    (filled,) = fig.axes[0].collections
    heights = filled.get_paths()[0].vertices[:, 1]
    d = SETS[dataset][0]
    assert heights.max() == pytest.approx(d, rel=0.01)
    labels = [text.get_text() for text in fig.legends[0].get_texts()]
    assert "Gaussian" in labels
    assert len(labels) == 3 + (dataset == "cifar10")


def test_a_smoke_run_never_stands_beside_a_larger_one(results):
    with pytest.raises(NoRowsError):
        study.of_dataset(tables.read(results, study.NLL), "mnist")
