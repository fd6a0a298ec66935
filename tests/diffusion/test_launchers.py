"""The launchers of the paper: each runs its own sweep; what is wrong with the flags is said once."""

import pytest
from image_studies import STUDIES, ran_images
from launching import REPOSITORY, call, ids, ids_in, shell

from diffusion import choose_T, penalty_digits, penalty_toy, toy
from infolab.results import read

PENALTIES = {"penalty_toy": penalty_toy, "penalty_digits": penalty_digits}
SCRIPTS_OF = {"toy": toy, "choose_T": choose_T, **PENALTIES, **STUDIES}
LAUNCHERS = sorted(path.stem.removeprefix("run_") for path in (REPOSITORY / "diffusion").glob("run_*.sh"))


@pytest.mark.parametrize("name", LAUNCHERS)
def test_a_dry_run_names_the_runs_of_the_sweep(name, monkeypatch, capsys):
    code, text, _ = call(SCRIPTS_OF[name].main, monkeypatch, capsys, "smoke", "--dry-run")
    assert code == 0
    assert ids_in(text) == ids(SCRIPTS_OF[name].SWEEPS["smoke"])


@pytest.mark.parametrize("name", ["cifar10", "mnist"])
def test_the_tasks_of_an_array_are_the_runs_of_the_launchers_sweep(name, tmp_path):
    whole = ids(STUDIES[name].SWEEPS["paper"])
    tasks = [
        ran_images(STUDIES[name], tmp_path, "paper", "--task", f"{task}/{len(whole)}") for task in range(len(whole))
    ]
    assert [len(task) for task in tasks] == [1] * len(whole)
    assert sorted(task[0] for task in tasks) == sorted(whole)


@pytest.mark.parametrize(
    ("launcher", "words", "told"),
    [
        ("diffusion/run_digits.sh", ["quik"], "unknown preset 'quik'"),
        ("itdiffusion/run_patches.sh", ["--epoch", "3"], "--epochs"),
        ("infodiffusion/run_sprites.sh", ["smoke", "--lr", "x"], "--lr"),
        ("infodiffusion/run_train.sh", ["smoke", "--mode", "sing"], "unknown mode 'sing'"),
    ],
)
def test_what_all_processes_of_a_launcher_refuse_is_said_once(launcher, words, told, tmp_path):
    done = shell(launcher, *words, cwd=tmp_path, JOBS=3)
    assert done.returncode == 2
    assert told in done.stderr
    assert done.stderr.count("\n") == 1


def test_run_digits_for_real_from_another_folder(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    flags = ["--runs-dir", tmp_path / "runs", "--results-dir", tmp_path / "results"]
    done = shell("diffusion/run_digits.sh", "smoke", *flags, cwd=tmp_path / "elsewhere", JOBS=2)
    assert done.returncode == 0, done.stderr
    rows = read(tmp_path / "results", "diffusion/image_bound")
    assert set(rows.split) == {"few_shot", "full"}
    assert len(rows) == 8
    assert list((tmp_path / "elsewhere").iterdir()) == []
