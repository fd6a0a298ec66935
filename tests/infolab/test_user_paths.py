"""Paths mean what they meant where they were typed."""

import subprocess
import sys

import numpy as np
import pytest
from launching import REPOSITORY, environment
from PIL import Image

from infolab.config import as_typed, user_path
from infolab.data.places import default_data_dir


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    place = tmp_path / "my folder"
    place.mkdir()
    monkeypatch.setenv("INVOKED_FROM", str(place))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return place


def test_relative_paths_are_of_the_folder_where_they_were_typed(elsewhere, tmp_path):
    (elsewhere / "imgs").mkdir()
    (elsewhere / "x.npy").touch()
    (elsewhere / "mnist").mkdir()
    words = "--images imgs --data=x.npy --out s.npz --results-dir out --lr imgs --data-dir /a --dataset imgs"
    assert as_typed(words.split()) == [
        "--images", f"{elsewhere}/imgs", f"--data={elsewhere}/x.npy", "--out", f"{elsewhere}/s.npz",
        "--results-dir", f"{elsewhere}/out", "--lr", "imgs", "--data-dir", "/a", "--dataset", "imgs",
    ]  # fmt: skip
    # What may be a name stays one: of a registered set, or of something that is not there.
    assert as_typed(["--images", "mnist", "--real", "nowhere", "smoke"]) == [
        "--images", "mnist", "--real", "nowhere", "smoke",
    ]  # fmt: skip


def test_members_of_runs_and_fine_tuned_ones(elsewhere):
    (elsewhere / "run").mkdir()
    assert as_typed(["--members", "run@1", "tuned:run", "tuned:iddpm", "noise", "--checkpoint", "run@0"]) == [
        "--members", f"{elsewhere}/run@1", f"tuned:{elsewhere}/run", "tuned:iddpm", "noise",
        "--checkpoint", f"{elsewhere}/run@0",
    ]  # fmt: skip


def test_the_same_folder_by_a_link_is_this_folder(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("INVOKED_FROM", str(tmp_path / "link"))
    assert str(user_path("a")) == "a"


def test_the_home_folder(elsewhere, tmp_path):
    home = tmp_path / "home"
    assert as_typed(["--data-dir=~/x", "--results-dir", "~/r", "--checkpoint", "~/c", "--name", "~/n"]) == [
        f"--data-dir={home}/x", "--results-dir", f"{home}/r", "--checkpoint", f"{home}/c", "--name", "~/n",
    ]  # fmt: skip


def test_the_data_folder_of_the_environment(elsewhere, monkeypatch):
    monkeypatch.setenv("DATA_DIR", "mine")
    assert default_data_dir() == elsewhere / "mine"


def test_without_a_launcher_nothing_changes(monkeypatch):
    monkeypatch.delenv("INVOKED_FROM", raising=False)
    assert str(user_path("a/b")) == "a/b"
    assert as_typed(["--data", "README.md", "--out", "s.npz"]) == ["--data", "README.md", "--out", "s.npz"]


def launched(place, words, **variables):
    return subprocess.run(["sh", *words], cwd=place, env=environment(**variables), capture_output=True, text=True)


def test_gen_fid_reads_the_folder_beside_its_user_and_writes_there(tmp_path):
    place = tmp_path / "a user's @ folder"
    (place / "imgs").mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (40, 8, 8), dtype=np.uint8)
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(place / "imgs" / f"{number}.png")
    words = [REPOSITORY / "infodiffusion/gen_fid.sh", "--images", "imgs", "--out", "s.npz", "--features", "nowhere"]
    done = launched(place, [str(word) for word in words], PYTHONSAFEPATH="1")
    assert done.returncode == 2
    assert "nowhere" in done.stderr, "the images were found, the network is not there"
    assert "No module named" not in done.stderr


def test_results_go_where_the_user_says(tmp_path):
    words = [str(REPOSITORY / "diffusion/run_toy.sh"), "smoke", "--results-dir", "my results", "--runs-dir", "my runs"]
    done = launched(tmp_path, words, JOBS="1", PYTHONSAFEPATH="1")
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "my results/diffusion/toy_bound").glob("*.csv"))
    assert list((tmp_path / "my runs/diffusion/toy").iterdir())


@pytest.mark.parametrize("module", ["infodiffusion.metrics", "vae.memorization"])
def test_help_without_docstrings(module):
    done = subprocess.run(
        [sys.executable, "-OO", "-m", module, "--help"], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert "python -m" in done.stdout
    assert "None" not in done.stdout.splitlines()


def test_make_says_that_it_splits_words_at_blanks():
    done = subprocess.run(["make", "-n", "help", "RESULTS=my results"], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 2
    assert "must be paths without blanks" in done.stderr
