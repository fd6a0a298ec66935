import re
import sys

import numpy as np
from synthetic_results import write_toy

from infolab import results as tables
from scripts import provenance, report, summaries
from scripts.figures import all_products


def test_report_holds_numbers_figures_provenance_and_nothing_from_outside(full_results):
    results, reasons = full_results
    page = report.render(results)
    drawn = [name for name, product in all_products().items() if product.folder == "figures" and not reasons[name]]
    frame = tables.read(results, "diffusion/toy_bound")
    rows = frame[(frame["T"] == 2.0) & (frame["variant"] == "exact") & (frame["step_rule"] == "fixed_number")]
    values = rows["bound_nats"].to_numpy()
    assert f"<td>{summaries.number(values.mean(), values.std(ddof=1) / np.sqrt(len(values)))}</td>" in page
    assert page.count("data:image/png;base64,") == len(drawn) >= 10
    assert "0123456789" in page
    assert "numpy 2.0" in page
    assert "no rows of mnist" in page
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
    (group,) = provenance.runs(tmp_path, "diffusion")
    assert (group["runs"], group["seeds"], group["minutes"], group["whose"]) == ("2", "0", "2.0", "yours")


def test_command_writes_the_page(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["report", "--results-dir", str(tmp_path)])
    report.main()
    assert "report.html" in capsys.readouterr().out
    assert "No rows yet." in (tmp_path / "report.html").read_text()
