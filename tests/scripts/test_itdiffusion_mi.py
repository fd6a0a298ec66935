"""The figure and table of mutual information, on rows made for it."""

import numpy as np
import pandas as pd
import pytest
from synthetic_mi import mi_row, write_mi

from infolab import results as tables
from itdiffusion.tables import MutualInformation
from scripts import itdiffusion_mi, select


def test_smaller_runs_give_way_and_coverage_stands_apart(tmp_path):
    write_mi(tmp_path)
    frame = itdiffusion_mi.groups(tables.read(tmp_path, "itdiffusion/mi"))
    single = frame[~frame["covering"]]
    assert set(single["n"]) == {10_000, 1797}
    assert (frame.loc[frame["covering"], "n"] == 2000).all()
    assert frame["covering"].sum() == 6


def test_close_and_covered():
    def rows(*pairs):
        return pd.DataFrame([mi_row(truth_nats=truth, mi_nats=found, se_nats=0.02).__dict__ for truth, found in pairs])

    frame = rows((0.0, 0.049), (0.0, 0.051), (3.0, 3.14), (3.0, 2.84))
    assert itdiffusion_mi.close(frame).tolist() == [True, False, True, False]
    assert itdiffusion_mi.covered(rows((0.0, 0.039), (0.0, 0.04))).tolist() == [True, False]


def test_sheet(tmp_path):
    write_mi(tmp_path)
    cells = itdiffusion_mi.sheet(tmp_path).cells.set_index(["case", "n", "form"])
    assert cells.loc[("gaussian-1+1", "10,000", "orthogonal"), "close"] == "yes"
    assert cells.loc[("student-2+2", "2,000", "difference"), "seeds"] == "6"
    assert cells.loc[("digits-left-right", "1,797", "difference"), "truth (nats)"] == "not known"
    share = float(cells.loc[("student-2+2", "2,000", "difference"), "interval holds truth"].rstrip("%")) / 100
    frame = itdiffusion_mi.groups(tables.read(tmp_path, "itdiffusion/mi"))
    assert share == pytest.approx(itdiffusion_mi.covered(frame[frame["covering"]]).mean(), abs=0.005)


def test_nothing_to_draw(tmp_path):
    with pytest.raises(select.NoRowsError):
        itdiffusion_mi.figure(tmp_path)
    row = mi_row(case="digits-left-right", truth_nats=None)
    tables.write(tmp_path, MutualInformation, "only", [row], {})
    with pytest.raises(select.NoRowsError, match="known truth"):
        itdiffusion_mi.figure(tmp_path)
    assert np.isnan(itdiffusion_mi.groups(tables.read(tmp_path, "itdiffusion/mi"))["truth_nats"]).all()
