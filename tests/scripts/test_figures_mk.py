import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from synthetic_results import write_images, write_toy, write_toy_clouds

from scripts.figures import all_products

ROOT = Path(__file__).resolve().parents[2]
MAKEFILE = "include scripts/figures.mk\nnames:\n\t@echo $(FIGURES_ALL)\n"

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


@pytest.fixture
def tree(tmp_path):
    """A copy of scripts/ and of what it imports, whose `python` draws nothing but says what it was asked to draw."""
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "Makefile").write_text(MAKEFILE)
    # A stand-in for python: touches the targets as the real one does, in milliseconds, and counts its starts.
    results = Path("results")
    places = [f"{name} {one.target(results)} {one.skip_note(results)}\n" for name, one in all_products().items()]
    (tmp_path / "places").write_text("".join(places))
    (tmp_path / "draw.sh").write_text(
        'echo "$@" >> calls; [ "$2" = scripts.figures ] || { echo x > results/report.html; exit 0; }; shift 4\n'
        'for wanted; do grep "^$wanted " places | { read -r name target note; mkdir -p "$(dirname $target)"\n'
        "  case $name in\n"
        '  *mnist*|cifar10*) echo "skipped $name: no rows; run it" | tee $note;;\n'
        "  *) echo x > $target;;\n"
        "  esac; }; done\n"
    )
    write_toy(tmp_path / "results")
    write_toy_clouds(tmp_path / "results")
    write_images(tmp_path / "results")
    age(tmp_path)
    return tmp_path


OUTER_MAKE = {"MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES", "MAKEFILES", "PY", "PAPER", "RESULTS"}


def age(tree):
    """Put all files an hour back, so that the tests do not depend on the clock's grain."""
    past = time.time() - 3600
    for path in tree.rglob("*"):
        if path.is_file():
            os.utime(path, (past, past))


def run_make(tree, *words, python="sh draw.sh"):
    """Run make; returns the finished process."""
    # The tests may themselves run under make, whose variables would reach this one.
    clean = {name: value for name, value in os.environ.items() if name not in OUTER_MAKE}
    return subprocess.run(["make", f"PY={python}", *words], cwd=tree, capture_output=True, text=True, env=clean)


def make(tree, *words, python="sh draw.sh"):
    """Run make; returns what it printed and the names that it had drawn."""
    calls = tree / "calls"
    calls.unlink(missing_ok=True)
    done = run_make(tree, *words, python=python)
    assert done.returncode == 0, done.stderr
    lines = calls.read_text().splitlines() if calls.exists() else []
    drawn = [line.split()[4:] for line in lines if "scripts.figures" in line]
    return done.stdout, drawn


def test_make_knows_every_product(tree):
    out, _ = make(tree, "names")
    assert {name.split("/")[1] for name in out.split()} == set(all_products())


def test_everything_is_drawn_by_one_process_and_then_nothing(tree):
    _, drawn = make(tree, "analysis")
    assert len(drawn) == 1
    assert set(drawn[0]) == set(all_products())
    out, drawn = make(tree, "analysis")
    assert drawn == []
    assert "nothing has changed" in out
    assert "mnist_bound_T" in out


def test_parallel_make_draws_the_same(tree):
    _, drawn = make(tree, "-j4", "analysis")
    assert [set(names) for names in drawn] == [set(all_products())]


def test_only_what_changed_is_redrawn(tree):
    make(tree, "analysis")
    os.utime(tree / "results/diffusion/image_bound/digits.csv")
    _, (drawn,) = make(tree, "analysis")
    assert not [name for name in drawn if name.startswith("toy") or name == "estimators"]
    assert {"digits_bpd_T", "digits_bound_T", "digits_terms_T", "digits_table_T"} <= set(drawn)
    assert "digits_samples_T" not in drawn


def test_new_pictures_redraw_only_their_own_figure(tree):
    make(tree, "analysis")
    os.utime(tree / "results/diffusion/images/clouds.npz")
    assert make(tree, "analysis")[1] == [["toy_samples_T"]]


def test_a_script_redraws_its_figures(tree):
    make(tree, "analysis")
    os.utime(tree / "scripts/calibration.py")
    assert make(tree, "analysis")[1] == [["estimators"]]


def test_deleted_rows_and_figures_count_as_changes(tree):
    make(tree, "analysis")
    (tree / "results/figures/diffusion/toy_bound_m.png").unlink()
    assert make(tree, "analysis")[1] == [["toy_bound_m"]]
    (tree / "results/diffusion/toy_bound/toy.csv").unlink()
    _, (drawn,) = make(tree, "analysis")
    assert "toy_bound_T" in drawn
    assert "digits_bpd_T" not in drawn


def test_reference_rows_are_inputs_too(tree):
    make(tree, "analysis")
    write_toy(tree / "results" / "reference")
    _, (drawn,) = make(tree, "analysis")
    assert "toy_terms_T" in drawn


def test_paper_restricts(tree):
    _, (drawn,) = make(tree, "analysis", "PAPER=calibration")
    assert drawn == ["estimators"]
    done = run_make(tree, "analysis", "PAPER=none")
    assert done.returncode == 2
    assert (
        "no figures of 'none': choose one of calibration diffusion infodiffusion itdiffusion scoregen vae"
        in done.stderr
    )
    assert done.stdout == ""
    assert run_make(tree, "report", "PAPER=none").returncode == 2
    assert not (tree / "results/report.html").exists()


def test_report_is_a_file_that_follows_its_figures(tree):
    make(tree, "report")
    assert (tree / "results/report.html").exists()
    make(tree, "report")
    assert not (tree / "calls").exists()
    os.utime(tree / "results/diffusion/image_bound/digits.csv")
    make(tree, "report")
    assert "scripts.report" in (tree / "calls").read_text()


def test_one_figure_can_be_asked_for_by_its_file(tree):
    _, drawn = make(tree, "results/figures/diffusion/toy_bound_T.png")
    assert drawn == [["toy_bound_T"]]


def test_real_python_draws_skips_and_leaves_no_error(tree):
    (tree / "infolab").symlink_to(ROOT / "infolab")
    target = "results/figures/calibration/estimators.png"
    out, _ = make(tree, "analysis", "PAPER=calibration", python=sys.executable)
    assert "skipped estimators: no rows in calibration/estimators; run make calibrate" in out
    assert not (tree / target).exists()
    out, _ = make(tree, "analysis", "PAPER=calibration", python="false")
    assert "skipped estimators: no rows" in out
