"""The launchers of vae/: the grid first, then what is computed of it."""

from launching import program, recorded, recording_python, shell


def test_the_grid_is_trained_by_all_jobs_and_then_analysed_by_one(tmp_path):
    python = recording_python(tmp_path / "python", 0)
    done = shell("vae/run_memorization.sh", "paper", "--lr", "0.01", cwd=tmp_path, PY=python, JOBS=2)
    assert done.returncode == 0, done.stderr
    *trained, analysed = recorded(python)
    tasks = [["-m", "vae.cv", "paper", "--lr", "0.01", "--threads", "1", "--task", f"{i}/2"] for i in range(2)]
    assert sorted(trained) == tasks
    assert analysed == ["-m", "vae.memorization", "grids", "paper", "--lr", "0.01"]


def test_threads_of_ones_own_mean_one_process(tmp_path):
    python = recording_python(tmp_path / "python", 0)
    done = shell("vae/run_memorization.sh", "smoke", "--threads", "3", cwd=tmp_path, PY=python)
    assert done.returncode == 0, done.stderr
    assert recorded(python) == [
        ["-m", "vae.cv", "smoke", "--threads", "3"],
        ["-m", "vae.memorization", "grids", "smoke", "--threads", "3"],
    ]


def test_a_failed_or_partial_grid_is_not_analysed(tmp_path):
    python = program(tmp_path / "python", '#!/bin/sh\necho "$@" >> "$0.asked"\nexit 3\n')
    done = shell("vae/run_memorization.sh", "smoke", cwd=tmp_path, PY=python, JOBS=1)
    assert done.returncode == 3
    assert recorded(python) == [["-m", "vae.cv", "smoke"]]
    partial = recording_python(tmp_path / "other", 0)
    done = shell("vae/run_memorization.sh", "smoke", "--repeat", "1", cwd=tmp_path, PY=partial, JOBS=1)
    assert done.returncode == 0
    assert "when all is: python -m vae.memorization grids" in done.stderr
    assert recorded(partial) == [["-m", "vae.cv", "smoke", "--repeat", "1"]]
