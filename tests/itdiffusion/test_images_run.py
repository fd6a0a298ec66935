"""The image study from config to tables: smoke runs, resume, evaluation of a finished run, torchrun."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from infolab.config import run_id
from infolab.errors import InterruptedRunError, UserError
from infolab.pretrained import load_denoiser
from infolab.results import read, read_arrays, table_path
from infolab.sweep import run_sweep
from itdiffusion import cifar10, digits, patches
from itdiffusion.images import cost, experiment, run_images
from itdiffusion.images_train import ImagesObjective

sys.path.append(str(Path(__file__).resolve().parents[1] / "infolab"))
from data_files import cifar_batches, write_cifar_folder

SMOKE = digits.SWEEPS["smoke"][0]
REPOSITORY = Path(__file__).resolve().parents[2]


def settings(folder: Path, config=SMOKE, **changes):
    places = {"runs_dir": folder / "runs", "results_dir": folder / "results", "threads": 1}
    return dataclasses.replace(config, **places, **changes)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A smoke run on digits, with an evaluation on the way."""
    config = settings(tmp_path_factory.mktemp("images"), epochs=2, evaluate_every=1)
    run_images("smoke", config)
    return config


def nll_of(config, **columns):
    frame = read(config.results_dir, "itdiffusion/nll")
    for name, wanted in columns.items():
        frame = frame[frame[name] == wanted]
    return frame


def test_a_run_writes_every_estimate_of_every_member(finished):
    gaussian, levels = (f"unet[digits-tiny,{head}]" for head in ("gaussian", "levels"))
    last = nll_of(finished, epoch=2)
    kinds = {(row.model, row.estimator, row.rounding) for row in last.itertuples()}
    for model in (gaussian, levels):
        assert {(model, "discrete", how) for how in ("best", "raw", "hard", "soft")} <= kinds
        assert {(model, "dequantized", "none"), (model, "variational", "none")} <= kinds
    ensemble = f"ensemble[{gaussian} + {levels}]"
    assert {(ensemble, "ensemble", "best"), (ensemble, "ensemble", "none")} <= kinds
    assert len(last) == 2 * 7 + 2
    assert set(nll_of(finished)["epoch"]) == {1, 2}
    np.testing.assert_allclose(last["nll_bpd"], last["nll_nats"] / (64 * np.log(2)))


def test_the_ensemble_is_at_most_its_members_up_to_the_errors(finished):
    best = nll_of(finished, epoch=2, rounding="best")
    ensemble = best[best["estimator"] == "ensemble"].iloc[0]
    members = best[best["estimator"] == "discrete"]
    assert len(members) == 2
    assert (ensemble["nll_bpd"] <= members["nll_bpd"] + 2 * (members["se_bpd"] + ensemble["se_bpd"])).all()


def test_a_run_writes_curves_baselines_and_pictures(finished):
    curve = read(finished.results_dir, "itdiffusion/mse_curve")
    assert len(curve[curve["epoch"] == 2]) == 2 * 8
    assert (curve["mse_gaussian"] > 0).all()
    baselines = read(finished.results_dir, "itdiffusion/baselines").set_index("model")["nll_bpd"]
    assert baselines["uniform"] == pytest.approx(np.log2(17))
    assert len(baselines) == 4
    ((_, arrays),) = read_arrays(finished.results_dir, "itdiffusion", "digits")
    assert arrays["samples_0"].shape == (4, 8, 8)
    assert int(arrays["samples_1"].max()) <= 16


def test_a_finished_runs_folder_is_a_denoiser_with_the_same_nll(finished, tmp_path):
    folder = finished.runs_dir / "itdiffusion" / "digits" / run_id(finished)
    denoiser = load_denoiser(f"{folder}@1", (1, 8, 8))
    assert (denoiser.name, denoiser.levels) == ("unet[digits-tiny,levels]", 17)
    again = dataclasses.replace(
        finished, members=(f"{folder}@0", f"{folder}@1"), epochs=0, evaluate_every=0, samples=0,
        results_dir=tmp_path / "results", runs_dir=tmp_path / "runs",
    )  # fmt: skip
    again.check()
    run_images("smoke", again)
    keys = ["model", "estimator", "rounding", "bin_width"]
    theirs, ours = (nll_of(config, epoch=epoch)[[*keys, "nll_nats"]] for config, epoch in ((finished, 2), (again, 0)))
    merged = theirs.merge(ours, on=keys, suffixes=("", "_again"))
    assert len(merged) > 10
    np.testing.assert_allclose(merged["nll_nats"], merged["nll_nats_again"], rtol=1e-5)
    with pytest.raises(UserError, match="members @0 to @1"):
        load_denoiser(f"{folder}@2")
    with pytest.raises(UserError, match="shape"):
        load_denoiser(folder, (3, 32, 32))


@pytest.mark.bits
def test_a_stopped_run_goes_on_to_the_same_tables(finished, tmp_path, monkeypatch):
    config = dataclasses.replace(finished, results_dir=tmp_path / "results", runs_dir=tmp_path / "runs")
    original = ImagesObjective.__call__

    def stopped(self, step, part=0):
        if step == 2:
            os.kill(os.getpid(), signal.SIGUSR1)
        return original(self, step, part)

    monkeypatch.setattr(ImagesObjective, "__call__", stopped)
    with pytest.raises(InterruptedRunError):
        run_images("smoke", config)
    assert not table_path(config.results_dir, "itdiffusion/nll", run_id(config)).exists()
    monkeypatch.setattr(ImagesObjective, "__call__", original)
    run_images("smoke", config)
    for table in ("itdiffusion/nll", "itdiffusion/mse_curve"):
        one, two = (table_path(c.results_dir, table, run_id(c)).read_bytes() for c in (finished, config))
        assert one == two


def test_cifar10s_own_files_are_read(tmp_path):
    write_cifar_folder(tmp_path / "data" / "cifar-10-batches-py", cifar_batches(n=6))
    config = settings(tmp_path, cifar10.SWEEPS["smoke"][0], data_dir=tmp_path / "data", batch=15)
    run_images("smoke", config)
    found = nll_of(config)
    assert set(found["estimator"]) == {"variational", "dequantized", "discrete"}
    assert set(found["d"]) == {3072}


def test_folders_of_images_are_read_and_have_a_continuous_nll(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (100, 8, 8), dtype=np.uint8)
    for split, images in (("train", pixels[:90]), ("test", pixels[90:])):
        (tmp_path / split).mkdir()
        for index, image in enumerate(images):
            Image.fromarray(image).save(tmp_path / split / f"noise_{index}.png")
    folders = {"train_folder": str(tmp_path / "train"), "test_folder": str(tmp_path / "test")}
    config = settings(
        tmp_path, members=("noise",), dataset="noise", batch=30, test_images=0, continuous=True, **folders
    )
    config.check()
    run_images("smoke", config)
    found = nll_of(config).set_index(["estimator", "rounding"])["nll_bpd"]
    assert {"continuous", "variational", "dequantized", "discrete"} == set(found.index.get_level_values(0))
    assert found["discrete", "best"] > 7  # 8 bits of noise in each pixel


def test_a_pretrained_network_is_tuned_and_found_again(tmp_path):
    diffusers = pytest.importorskip("diffusers")
    small = {"sample_size": 8, "block_out_channels": (32, 32), "layers_per_block": 1}
    blocks = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2}
    diffusers.UNet2DModel(**small, **blocks).save_pretrained(tmp_path / "data" / "pretrained" / "ddpm-cifar10-32")
    pixels = np.random.default_rng(0).integers(0, 256, (60, 8, 8, 3), dtype=np.uint8)
    for split, images in (("train", pixels[:50]), ("test", pixels[50:])):
        (tmp_path / split).mkdir()
        for index, image in enumerate(images):
            Image.fromarray(image).save(tmp_path / split / f"noise_{index}.png")
    config = settings(
        tmp_path, members=("ddpm",), dataset="cifar10", data_dir=tmp_path / "data", batch=10, lr=1e-3, ema_decay=0.0,
        train_folder=str(tmp_path / "train"), test_folder=str(tmp_path / "test"), test_images=0,
    )  # fmt: skip
    before = dataclasses.replace(config, epochs=0)
    for one in (before, config, dataclasses.replace(before, members=("ddpm", "tuned:ddpm"))):
        one.check()
        run_images("smoke", one)
    found = nll_of(config, estimator="dequantized")
    assert set(found["model"]) == {"ddpm[ddpm-cifar10-32]"}
    values = {epoch: set(rows["nll_nats"].round(3)) for epoch, rows in found.groupby("epoch")}
    assert len(values[0]) == 2  # before tuning, twice the same, and the tuned one by its run
    (tuned,) = values[1]
    assert min(abs(value - tuned) for value in values[0]) < 1e-2
    assert tuned < max(values[0])


def test_images_constant_somewhere_have_no_continuous_nll(tmp_path):
    with pytest.raises(UserError, match="no continuous NLL"):
        run_images("smoke", settings(tmp_path, continuous=True))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"members": ("nose",)}, "nose"),
        ({"members": ("iddpm",)}, "copy it there"),
        ({"members": ("tuned:iddpm",)}, "fine-tuned 'iddpm'"),
        ({"members": ("noise", "noise")}, "each once"),
        ({"epochs": 0}, "from scratch"),
        ({"train_folder": "x"}, "both"),
        ({"points": 3}, "points"),
        ({"scale": -1.0}, "scale"),
        ({"ema_decay": 1.0}, "ema-decay"),
        ({"network": "huge"}, "network"),
    ],
)
def test_bad_settings_are_refused_before_anything_is_written(tmp_path, changes, words):
    with pytest.raises(UserError, match=words):
        settings(tmp_path, data_dir=tmp_path, **changes).check()
    assert not list(tmp_path.iterdir())


def test_every_preset_is_valid_and_has_a_cost(tmp_path):
    for module in (digits, patches, cifar10):
        for configs in module.SWEEPS.values():
            for config in configs:
                if all(member in ("noise", "gaussian", "levels") for member in config.members):
                    config.check()
                assert cost(config).flops > 0
    assert {run_id(config) for config in digits.SWEEPS["paper"]} & {run_id(c) for c in digits.SWEEPS["quick"]} == set()


def test_members_from_scratch_are_a_sweep_of_their_own(capsys):
    run_sweep(experiment("x", cifar10.SWEEPS), ["paper", "--members", "noise", "--count"])
    assert capsys.readouterr().out == "1\n"


@pytest.mark.slow
def test_two_processes_by_torchrun_give_the_run_of_one(tmp_path):
    flags = ["smoke", "--members", "gaussian", "levels", "--epochs", "2", "--threads", "1"]
    results = {}
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        launcher = [sys.executable, "-m"]
        if processes > 1:
            launcher += ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
        places = ["--runs-dir", str(folder / "runs"), "--results-dir", str(folder / "results")]
        subprocess.run(
            [*launcher, "itdiffusion.digits", *flags, *places],
            cwd=REPOSITORY, check=True, timeout=600, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        )  # fmt: skip
        results[processes] = read(folder / "results", "itdiffusion/nll")
        (provenance,) = (folder / "results" / "itdiffusion" / "nll").glob("*.json")
        assert json.loads(provenance.read_text())["processes"] == processes
    np.testing.assert_allclose(results[1]["nll_nats"], results[2]["nll_nats"], rtol=2e-3)
