import numpy as np
import pandas as pd
import pytest
from synthetic_mi import mi_row, write_mi
from synthetic_shapes import EXACT, MODELS, PROVENANCE, SETS, nll_rows, write_shapes

from infolab import results as tables
from itdiffusion.tables import MutualInformation, Nll
from scripts import itdiffusion_laws as study
from scripts import select


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapes")
    write_shapes(folder)
    return folder


def test_the_nll_figure_has_a_panel_a_set_and_the_exact_value(results):
    fig = study.nll(results)
    assert [axes.get_title() for axes in fig.axes] == list(SETS)
    labels = fig.axes[0].get_legend_handles_labels()[1]
    assert labels == [*MODELS, "exact NLL of the same points"]
    exact = next(line for line in fig.axes[0].lines if line.get_label() == labels[-1])
    assert list(exact.get_ydata()) == pytest.approx([EXACT, EXACT])
    assert "95% interval of the mean over 2 seeds" in fig.get_suptitle()


def test_the_contours_put_x_across_and_y_up(results):
    frame = tables.read(results, study.GRID)
    fig = study.contours(results)
    panels = [axes for axes in fig.axes if axes.get_xlim() == (-3, 3)]
    assert len(panels) == len(SETS) * frame["epoch"].nunique()
    assert [axes.get_title() for axes in panels[:2]] == ["epoch 20", "epoch 40"]


def test_the_table_holds_the_excess_of_each_network(results):
    cells = study.sheet(results).cells
    assert list(cells["data"]) == [name for name in SETS for _ in MODELS]
    rows = [row for row in nll_rows() if row.dataset == "moons" and row.model == MODELS[1] and row.epoch == 40]
    mean = np.mean([row.excess_nats for row in rows if row.estimator == "continuous"])
    assert cells.iloc[3]["excess, I-MMSE"].startswith(f"{mean:.3f}")
    assert cells.iloc[3]["exact NLL"] == "1.200"


def test_rows_of_a_smaller_run_are_left_out(results):
    frame = tables.read(results, study.NLL)
    small = frame.assign(n=20, epoch=900)
    kept = study.of_study(pd.concat([frame, small]))
    assert set(kept["n"]) == {800}
    with pytest.raises(select.NoRowsError):
        study.of_study(frame.assign(dataset="cifar10"))


def test_the_reference_is_drawn_where_the_user_has_nothing(tmp_path):
    write_shapes(tmp_path / "reference")
    for build in (study.nll, study.mse, study.contours, study.samples):
        assert "reference data" in build(tmp_path).get_suptitle()
    tables.write(tmp_path, Nll, "own", nll_rows(seeds=(5,)), PROVENANCE)
    assert "reference data" not in study.nll(tmp_path).get_suptitle()
    assert "reference data" in study.samples(tmp_path).get_suptitle()


def test_smaller_runs_give_way_and_coverage_stands_apart(tmp_path):
    write_mi(tmp_path)
    frame = study.mi_rows(tables.read(tmp_path, "itdiffusion/mi"))
    single = frame[~frame["covering"]]
    assert set(single["n"]) == {10_000, 1797}
    assert (frame.loc[frame["covering"], "n"] == 2000).all()
    assert frame["covering"].sum() == 6


def test_close_and_covered():
    def rows(*pairs):
        return pd.DataFrame([mi_row(truth_nats=truth, mi_nats=found, se_nats=0.02).__dict__ for truth, found in pairs])

    frame = rows((0.0, 0.049), (0.0, 0.051), (3.0, 3.14), (3.0, 2.84))
    assert study.close(frame).tolist() == [True, False, True, False]
    assert study.covered(rows((0.0, 0.039), (0.0, 0.04))).tolist() == [True, False]


def test_mi_sheet(tmp_path):
    write_mi(tmp_path)
    cells = study.mi_sheet(tmp_path).cells.set_index(["case", "n", "form"])
    assert cells.loc[("gaussian-1+1", "10,000", "orthogonal"), "close"] == "yes"
    assert cells.loc[("student-2+2", "2,000", "difference"), "seeds"] == "6"
    assert cells.loc[("digits-left-right", "1,797", "difference"), "truth (nats)"] == "not known"
    share = float(cells.loc[("student-2+2", "2,000", "difference"), "interval holds truth"].rstrip("%")) / 100
    frame = study.mi_rows(tables.read(tmp_path, "itdiffusion/mi"))
    assert share == pytest.approx(study.covered(frame[frame["covering"]]).mean(), abs=0.005)


def test_no_mi_to_draw(tmp_path):
    with pytest.raises(select.NoRowsError):
        study.mi_truth(tmp_path)
    row = mi_row(case="digits-left-right", truth_nats=None)
    tables.write(tmp_path, MutualInformation, "only", [row], {})
    with pytest.raises(select.NoRowsError, match="known truth"):
        study.mi_truth(tmp_path)
    assert np.isnan(study.mi_rows(tables.read(tmp_path, "itdiffusion/mi"))["truth_nats"]).all()
