"""Figures and tables of the choice of T and of the penalties: which rows they show, and what their cells say."""

import dataclasses

import numpy as np
import pytest
from synthetic_results import PROVENANCE, choice_rows, penalty_rows, write_choice

from diffusion.tables import ToyChoice, ToyPenalty
from infolab import results as tables
from scripts import diffusion_choice as choice
from scripts import diffusion_penalty as penalty
from scripts import select
from scripts.products import number


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("choice")
    write_choice(folder)
    return folder


def test_the_table_names_the_chosen_T_and_the_test_kl_there(results):
    rows, _ = choice.choice(results)
    cells = choice.choice_sheet(results).cells.set_index("rule")
    assert list(cells.columns) == [
        "T",
        "test KL (nats), no penalty",
        "test KL (nats), penalty 0.1",
        "bound (nats), no penalty",
        "bound (nats), penalty 0.1",
    ]
    chosen = np.array([0.8, 0.81, 0.82])
    expected = number(chosen.mean(), chosen.std(ddof=1) / np.sqrt(3))
    assert cells.loc["by gradient", "T"] == expected
    kl = 0.3 + (chosen - 0.6) ** 2
    assert cells.loc["by gradient", "test KL (nats), no penalty"] == number(kl.mean(), kl.std(ddof=1) / np.sqrt(3))
    assert cells.loc["grid, least test KL (oracle)", "T"] == "0.6"
    assert cells.loc["grid, least test KL (oracle)", "test KL (nats), no penalty"] == "0.3 ± 0"
    assert float(cells.loc["grid, least bound", "T"]) == choice.best_T(rows, "bound_nats")


def test_the_study_with_the_most_epochs_is_shown(results, tmp_path):
    write_choice(tmp_path)
    longer = [dataclasses.replace(row, epoch=2 * row.epoch, m=50) for row in choice_rows(seeds=(7,))]
    tables.write(tmp_path, ToyChoice, "longer", longer, PROVENANCE)
    assert set(choice.choice(tmp_path)[0].seed) == {7}
    no_grid = [row for row in choice_rows() if row.rule != "grid"]
    tables.write(tmp_path / "other", ToyChoice, "none", no_grid, PROVENANCE)
    with pytest.raises(select.NoRowsError, match="no grid over T in diffusion/toy_choice"):
        choice.choice(tmp_path / "other")


def test_lines_stand_at_the_mean_T_of_each_rule(results):
    left, right = choice.choice_T(results).axes
    for axes in (left, right):
        upright = [line.get_xdata()[0] for line in axes.get_lines() if len(set(line.get_xdata())) == 1]
        assert upright == pytest.approx([0.81, 0.80])
    assert right.get_ylim()[0] == left.get_ylim()[0] == 0


def test_the_path_ends_where_T_was_trained_to(results):
    (axes,) = choice.path_T(results).axes
    ends = sorted(float(line.get_ydata()[-1]) for line in axes.get_lines())
    assert ends == pytest.approx([0.79, 0.80, 0.80, 0.81, 0.81, 0.82])


def test_weights_stand_at_even_places_under_their_names(results):
    fig = penalty.against_weight(results, penalty.TOY)
    assert len(fig.axes) == 6  # KL, L and bound at each of two T
    bottom = [axes for axes in fig.axes if axes.get_xlabel()]
    for axes in bottom:
        assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0", "0.01", "0.1", "1"]
        assert list(axes.get_lines()[0].get_xdata()) == [0, 1, 2, 3]
    norms = fig.axes[2].get_lines()[0].get_ydata()
    np.testing.assert_allclose(norms, [3 / (1 + 10 * weight) for weight in (0, 0.01, 0.1, 1)])


def test_penalties_of_the_longest_training_alone(results, tmp_path):
    short = [dataclasses.replace(row, epoch=5) for row in penalty_rows(ToyPenalty, seeds=(9,))]
    tables.write(tmp_path, ToyPenalty, "short", short, PROVENANCE)
    groups, _ = penalty.studies(tmp_path, penalty.TOY)
    assert {int(group["epoch"].iloc[0]) for group in groups} == {5}
    write_choice(tmp_path)
    groups, source = penalty.studies(tmp_path, penalty.TOY)
    assert (source, [float(group["T"].iloc[0]) for group in groups]) == ("yours", [0.6, 1.0])
    assert all(set(group["seed"]) == {0, 1} for group in groups)
    images, _ = penalty.studies(tmp_path, penalty.IMAGE)
    assert [int(group["epoch"].iloc[0]) for group in images] == [2000, 40]  # each training set has its own


def test_penalty_table(results):
    cells = penalty.penalty_sheet(results, penalty.TOY).cells
    assert list(zip(cells["T"], cells["w"], strict=True))[:2] == [("0.6", "0"), ("0.6", "0.01")]
    assert len(cells) == 8
    assert set(cells["seeds"]) == {"2"}
    assert cells["L"].iloc[0] == "3 ± 0"
