"""`make analysis`, `make report` and figures asked for by their files, with a python that says what it was asked."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OUTER_MAKE = {"MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES", "MAKEFILES", "PY", "PAPER", "RESULTS"}
STATE = "results/figures/.state/products.json"
# In place of python: `changed` says that something is to be drawn, `refused` that the paper is unknown.
STAND_IN = f"""echo "$@" >> calls
if [ -f refused ]; then exit 2; fi
case $2 in
scripts.report) echo page > results/report.html;;
scripts.figures) if [ -f changed ]; then rm changed; mkdir -p results/figures/.state; echo drawn > {STATE}; fi;;
esac
"""

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "scripts").mkdir()
    for name in ("Makefile", "scripts/report.py", "scripts/report.html.j2"):
        shutil.copy2(ROOT / name, tmp_path / name)
        os.utime(tmp_path / name, (1, 1))
    (tmp_path / "python").write_text(STAND_IN)
    (tmp_path / "changed").touch()
    return tmp_path


def make(tree, *words):
    """Run make; returns its exit code and what python was asked."""
    (tree / "calls").unlink(missing_ok=True)
    for age, path in ((10, tree / STATE), (20, tree / "results/report.html")):
        if path.exists():  # so that nothing depends on the clock's grain
            os.utime(path, (age, age))
    # The tests may themselves run under make, whose variables would reach this one.
    clean = {name: value for name, value in os.environ.items() if name not in OUTER_MAKE}
    done = subprocess.run(["make", "PY=sh python", *words], cwd=tree, capture_output=True, text=True, env=clean)
    return done.returncode, [line.removeprefix("-m scripts.") for line in (tree / "calls").read_text().splitlines()]


def test_analysis_asks_python_each_time(tree):
    assert make(tree, "analysis") == make(tree, "analysis") == (0, ["figures --results-dir results"])
    assert make(tree, "analysis", "PAPER=vae") == (0, ["figures --results-dir results --paper vae"])


def test_the_report_is_made_again_when_a_figure_or_its_script_has_changed(tree):
    both = (0, ["figures --results-dir results", "report --results-dir results"])
    assert make(tree, "report") == both
    assert make(tree, "report") == (0, both[1][:1])
    (tree / "changed").touch()
    assert make(tree, "report") == both
    os.utime(tree / "scripts/report.html.j2", (30, 30))
    assert make(tree, "report") == both


def test_a_refused_paper_ends_make_and_makes_no_report(tree):
    (tree / "refused").touch()
    assert make(tree, "report", "PAPER=none") == (2, ["figures --results-dir results --paper none"])
    assert not (tree / "results/report.html").exists()


@pytest.mark.parametrize("path", ["figures/diffusion/toy_bound_T.png", "tables/vae/vae_table_scores_fashion-mnist.md"])
def test_a_product_can_be_asked_for_by_its_file(tree, path):
    assert make(tree, f"results/{path}") == (0, [f"figures --results-dir results {Path(path).stem}"])
