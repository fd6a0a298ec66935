"""`make new-paper`: what it makes in a copy of the repository is linted, runs, is tested, drawn and listed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from infolab.errors import UserError
from scripts.new_paper import scaffold

ROOT = Path(__file__).resolve().parents[2]
NAME = "abcdefghij012345"  # the longest: lines must not grow too long with it


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The repository without results, as a new one of git's (the documentation's tests ask git for files)."""
    folder = tmp_path_factory.mktemp("lab")
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file() and not name.startswith("results/reference/"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    return folder


@pytest.fixture(scope="module")
def made(copy):
    assert run(copy, sys.executable, "-m", "scripts.new_paper", NAME).startswith(f"made {NAME}/")
    return copy


def run(folder, *words):
    """Standard output of a command in the copy, whose own packages it imports."""
    environment = {**os.environ, "PY": sys.executable, "OMP_NUM_THREADS": "1", "JOBS": "1", "PYTHONPATH": ""}
    done = subprocess.run([*map(str, words)], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def contents(folder):
    return {
        path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file() and ".git" not in path.parts
    }


def test_the_new_files_and_the_lists_are_formatted_and_keep_the_rules(made):
    run(made, sys.executable, "-m", "ruff", "check", ".")
    run(made, sys.executable, "-m", "ruff", "format", "--check", ".")
    run(made, sys.executable, "-m", "scripts.tables", "--check")
    contracts = (made / "pyproject.toml").read_text().partition("[tool.importlinter]")[2]
    assert contracts.count(f'"{NAME}"') == 3  # root packages, independence, what infolab may not import
    assert contracts.count(f'"{NAME}.tables"') == 1


def test_the_smoke_run_is_drawn(made):
    run(made, "sh", f"{NAME}/run_study.sh", "smoke")
    assert f"{NAME}_nll_steps.png" in run(made, sys.executable, "-m", "scripts.figures", "--paper", NAME)
    pixels = imread(made / f"results/figures/{NAME}/{NAME}_nll_steps.png")
    assert len(np.unique(pixels[..., :3].reshape(-1, 3), axis=0)) > 10


def test_its_tests_and_those_of_the_lists_pass(made):
    drawn = f"tests/scripts/test_figures.py::test_each_kind_of_product_is_drawn_and_not_blank[scripts.{NAME} nll_steps]"
    pages = "tests/test_documentation.py::test_every_paper_has_its_pages_and_the_index_names_every_page"
    run(made, sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"tests/{NAME}", pages, drawn)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("", "NAME=: expected"),
        ("Score", "NAME=Score: expected"),
        ("2score", "NAME=2score: expected"),
        ("my_paper", "NAME=my_paper: expected"),
        ("../x", "NAME=../x: expected"),
        ("class", "NAME=class: expected"),
        ("a" * 17, "expected 2 to 16"),
        ("vae", "vae' is there already"),
        ("style", "scripts/style.py' is there already"),
        ("json", "hide the Python package"),
        ("torch", "hide the Python package"),
    ],
)
def test_a_name_that_cannot_be_is_one_sentence_and_nothing_is_written(copy, name, text):
    before = contents(copy)
    with pytest.raises(UserError) as error:
        scaffold(name, copy)
    assert text in str(error.value)
    assert "\n" not in str(error.value)
    assert contents(copy) == before


def test_a_list_that_has_changed_is_named_and_nothing_is_written(copy, tmp_path):
    other = tmp_path / "lab"
    shutil.copytree(copy, other)
    (other / "scripts/figures.py").write_text("MODULES = ()\n")
    before = contents(other)
    with pytest.raises(UserError, match=r"'scripts/figures.py' has no list"):
        scaffold("another", other)
    assert contents(other) == before
