"""The launchers of the models with a code: from any folder, the modes that their names promise."""

import subprocess

import pytest
from launching import REPOSITORY, call, environment, recorded, recording_python

from infodiffusion.config import MODES
from infodiffusion.run import SEEDS, SWEEPS, WORK, experiment, main, split_modes

FOLDER = REPOSITORY / "infodiffusion"
MODE_OF = {
    "run_train.sh": "train",
    "eval_fid.sh": "eval_fid",
    "calc_fid.sh": "eval_fid,calc_fid",
    "save_latent.sh": "save_latent",
    "latent_quality.sh": "latent_quality",
    "train_classifier.sh": "save_latent,train_classifier",
    "disentangle.sh": "disentangle",
    "eval_disentangle.sh": "save_latent,eval_disentangle",
    "interpolate.sh": "interpolate",
}


def asked(tmp_path, name, *words, **variables):
    """What a launcher asks Python for, from another folder."""
    python = recording_python(tmp_path / "bin" / "python", 3)
    done = subprocess.run(
        ["sh", str(FOLDER / name), *words], cwd=tmp_path, env=environment(PY=python, JOBS="1", **variables),
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return recorded(python)


@pytest.mark.parametrize("name", MODE_OF)
def test_each_launcher_asks_for_its_mode(name, tmp_path):
    calls = asked(tmp_path, name, "quick", "--model", "diff")
    assert calls == [["-m", "infodiffusion.run", "quick", "--model", "diff", "--mode", MODE_OF[name]]]


@pytest.mark.parametrize("dataset", ["sprites", "digits"])
def test_the_studies_go_from_training_to_pictures(dataset, tmp_path):
    calls = asked(tmp_path, f"run_{dataset}.sh", "quick")
    assert all(call[:5] == ["-m", "infodiffusion.run", "quick", "--dataset", dataset] for call in calls)
    modes = [mode for call in calls for mode in call[-1].split(",")]
    assert modes[:2] == ["train", "save_latent"]
    assert {"train_classifier", "eval", "interpolate", "disentangle", "plot_latent"} <= set(modes) <= set(MODES)


def test_what_networks_see_is_its_own_sweep(tmp_path):
    assert asked(tmp_path, "run_sensitivity.sh", "quick") == [["-m", "infodiffusion.sensitivity", "quick"]]


def test_statistics_are_the_metrics_own_command(tmp_path):
    calls = asked(tmp_path, "gen_fid.sh", "--images", "x", "--out", "y.npz")
    assert calls == [["-m", "infodiffusion.metrics", "stats", "--images", "x", "--out", "y.npz"]]


def test_every_mode_has_its_work_and_every_sweep_can_run():
    assert list(WORK) == list(MODES)
    for preset, configs in SWEEPS.items():
        for config in configs:
            if config.epochs:
                config.check()
        assert len(experiment("train").presets[preset]) == sum(config.epochs > 0 for config in configs)
        assert {config.seed for config in experiment("eval").presets[preset]} == {SEEDS[0]}
    scored = experiment("eval_disentangle").presets["quick"]
    assert sum(config.dataset == "sprites" for config in scored) == 9
    assert split_modes(["--mode=a,b", "x"]) == (["a", "b"], ["x"])


def test_modes_run_after_those_that_they_stand_on(tmp_path, monkeypatch, capsys):
    where = ("--results-dir", tmp_path / "results", "--runs-dir", tmp_path / "runs")
    words = ("smoke", "--mode", "plot_latent,save_latent,train_latent_ddim,train,train", "--model", "diff", "--dry-run")
    code, out, err = call(main, monkeypatch, capsys, *words, *where)
    assert code == 0, err
    order = [line.split("=")[1].strip() for line in out.splitlines() if line.strip().startswith("mode =")]
    assert order == ["train", "train_latent_ddim", "save_latent", "plot_latent"]
