"""Figures of the models with a code, from results that the lab's own writers wrote."""

import pytest
from synthetic_info import METRICS, MODELS, write_info

from scripts import infodiffusion as drawn
from scripts import select


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("info")
    write_info(folder)
    return folder


def test_scores_show_the_mean_of_each_model(results):
    fig = drawn.scores(results, "sprites")
    (axes,) = fig.axes
    heights = {}
    for container in axes.containers:
        heights.setdefault(container.get_label(), []).append(float(container.lines[0].get_ydata()[0]))
    assert set(heights) == {"diff", "infovae", "untrained"}
    for family, values in heights.items():
        expected = next(value for model, value in MODELS.items() if model.startswith(family)) + 0.01
        assert values == pytest.approx([expected] * 2)
    assert "3 seeds" in fig.get_suptitle()


def test_table_has_every_metric_with_its_error(results):
    cells = drawn.sheet(results, "sprites").cells
    assert len(cells) == len(MODELS) * len(METRICS)
    assert (cells["seeds"] == "3").all()
    assert "0.810 ± 0.006" in set(cells["value"])


@pytest.mark.parametrize("build", [drawn.samples, drawn.strips, drawn.traversals, drawn.redraws, drawn.scatter])
def test_pictures_show_every_model(results, build):
    fig = build(results, "sprites")
    text = " ".join(axes.get_title() for axes in fig.axes)
    assert all(family in text for family in ("diff", "infovae", "untrained"))


def test_what_networks_see_is_a_line_a_data_set(results):
    fig = drawn.sensitivity(results)
    assert len(fig.axes) == 4
    lines = {line.get_label(): line for line in fig.axes[0].get_lines()}
    for dataset, factor in (("digits", 1), ("folder", 2)):
        assert lines[dataset].get_xdata().tolist() == [20, 40]
        assert lines[dataset].get_ydata() == pytest.approx([40 * factor, 80 * factor])
    assert "digits 100, folder 100" in fig.get_suptitle()


def test_nothing_is_said_where_nothing_is(results, tmp_path):
    for build in (drawn.scores, drawn.sheet, drawn.samples):
        with pytest.raises(select.NoRowsError):
            build(results, "celeba")
    with pytest.raises(select.NoRowsError):
        drawn.sensitivity(tmp_path)
