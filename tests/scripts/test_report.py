import re
import sys

import numpy as np
from synthetic_results import write_images, write_toy

from infolab import results as tables
from scripts import figures, report
from scripts.products import number


def test_report_holds_numbers_figures_provenance_and_nothing_from_outside(tmp_path):
    write_toy(tmp_path)
    write_images(tmp_path)
    figures.update(tmp_path, ["toy_bound_T", "digits_bpd_T", "mnist_samples_T"])
    page = report.render(tmp_path)
    frame = tables.read(tmp_path, "diffusion/toy_bound")
    rows = frame[(frame["T"] == 2.0) & (frame["variant"] == "exact") & (frame["step_rule"] == "fixed_number")]
    values = rows["bound_nats"].to_numpy()
    assert f"<td>{number(values.mean(), values.std(ddof=1) / np.sqrt(len(values)))}</td>" in page
    assert page.count("data:image/png;base64,") == 2
    assert "toy_bound_T: Bound (left axis) and test KL (right axis) against T" in page
    assert "0123456789" in page
    assert "numpy 2.0" in page
    assert "mnist_samples_T: no arrays of mnist in diffusion/images; run sh diffusion/run_mnist.sh" in page
    assert "toy_bound_m, toy_terms_T" in page.split("run make analysis")[0]
    assert 'src="http' not in page
    assert "href" not in re.sub('base64,[^"]*', "", page)  # four letters stand in megabytes of base64 by chance


def test_report_marks_reference_rows(tmp_path):
    write_toy(tmp_path / "reference")
    page = report.render(tmp_path)
    assert '<tr class="reference">' in page
    assert "reference data (this repository" in page.replace("&#39;", "'")
    assert '<tr class="yours">' not in page


def test_text_from_files_is_escaped(tmp_path):
    rows = write_toy(tmp_path)
    meta = rows.with_suffix(".json")
    meta.write_text(meta.read_text().replace("0123456789abcdef", "<script>x"))
    assert "<script>x" not in report.render(tmp_path)


def test_runs_are_grouped_with_their_seeds(tmp_path):
    write_toy(tmp_path)
    write_toy(tmp_path, run_id="second")
    (group,) = report.runs(tmp_path, "diffusion")
    assert (group["runs"], group["seeds"], group["minutes"], group["whose"]) == ("2", "0", "2.0", "yours")


def test_command_writes_the_page(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["report", "--results-dir", str(tmp_path)])
    report.main()
    assert "report.html" in capsys.readouterr().out
    assert "No rows yet." in (tmp_path / "report.html").read_text()
