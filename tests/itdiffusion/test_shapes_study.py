"""The 2-D study end to end at its smallest size: tables, resume, settings that reach the code, bad input."""

import dataclasses
import math
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

import infolab.training as training_module
from infolab.config import run_id
from infolab.errors import InterruptedRunError, UserError
from infolab.immse import GaussianReference
from infolab.mixture import GaussianMixture
from infolab.nn.mlp import FourierMLPs
from infolab.noise import generator
from infolab.results import read, read_arrays
from infolab.sweep import run_sweep
from itdiffusion import shapes
from itdiffusion.shapes_evaluate import ShapesEvaluation
from itdiffusion.shapes_model import SHAPES, SWEEPS, Gaussians, ShapesConfig, ShapesModel

REPOSITORY = Path(__file__).resolve().parents[2]
SMOKE = SWEEPS["smoke"][0]


pytestmark = pytest.mark.usefixtures("no_tensorboard")


def run_in(folder, *words):
    run_sweep(
        shapes.EXPERIMENT,
        ["smoke", "--runs-dir", str(folder / "runs"), "--results-dir", str(folder / "results"), *words],
    )
    return folder / "results"


@pytest.fixture(scope="module")
def results(tmp_path_factory, no_tensorboard):
    return run_in(tmp_path_factory.mktemp("smoke"))


def test_a_smoke_run_fills_every_table(results):
    nll = read(results, "itdiffusion/nll")
    models = [config.model_name() for config in SWEEPS["smoke"]]
    assert models == [
        "mlp[ema=0.998,cosine,batch=32,hidden=16,layers=3]",
        "mlp[gaussian-preconditioned,ema=0.998,cosine,batch=32,hidden=16,layers=3]",
    ]
    # Two sets, two networks; continuous at both evaluations and the ODE at the last one.
    assert len(nll) == 2 * 2 * 3
    assert set(zip(nll["estimator"], nll["epoch"], strict=True)) == {("continuous", 1), ("continuous", 2), ("ode", 2)}
    assert np.allclose(nll["excess_nats"], nll["nll_nats"] - nll["reference_nats"])
    assert (nll["excess_se_nats"] > 0).all()
    assert nll.groupby("dataset")["reference_nats"].nunique().eq(1).all()
    curve = read(results, "itdiffusion/mse_curve")
    assert len(curve) == 2 * 2 * SMOKE.points
    assert (curve["epoch"] == 2).all()
    grid = read(results, "itdiffusion/density_grid")
    assert set(grid["model"]) == {models[0]}
    assert len(grid) == 2 * 2 * SMOKE.grid**2
    assert grid["x"].abs().max() == 3.0
    samples = read(results, "itdiffusion/samples")
    assert (len(samples), set(samples["n"])) == (4, {SMOKE.samples})
    files = read_arrays(results, "itdiffusion", "2d")
    assert [arrays["samples"].shape for _, arrays in files] == [(2, SMOKE.samples, 2)] * 2


def test_the_first_axis_of_the_grid_is_x():
    # A law far longer along x: at the same distance from its mean, -log p is larger along y.
    law = GaussianMixture(torch.ones(1), torch.zeros(1, 2), torch.diag(torch.tensor([4.0, 0.25]))[None])
    network = FourierMLPs([0], 2, 4, 4, 2)
    for parameter in network.parameters():
        torch.nn.init.zeros_(parameter)
    reference = GaussianReference(
        torch.zeros(2).double(), torch.tensor([0.25, 4.0]).double(), torch.eye(2).flip(0).double()
    )
    model = ShapesModel(network, Gaussians([reference]), "gaussian")
    config = dataclasses.replace(SMOKE, datasets=("scg",), shown_epochs=1)
    x = law.sample(20, generator(0, "x")).float()[None]
    evaluation = ShapesEvaluation(config, [("scg", 0)], config.laws(), x, [reference])
    study = shapes.Study(model, torch.zeros(1, 2, 1, config.grid, config.grid))
    shapes.add_contours(study, model, evaluation, 0)
    found = {(row.x, row.y): row.nll_nats for row in shapes.grid_rows(config, study, evaluation)}
    assert found[3.0, 0.0] == pytest.approx(-float(law.log_prob(torch.tensor([3.0, 0.0]))), abs=1e-3)
    assert found[0.0, 3.0] == pytest.approx(-float(law.log_prob(torch.tensor([0.0, 3.0]))), abs=1e-2)


def blank_evaluation(n=400, **settings):
    """An evaluation of the exact denoiser of scg: its Gaussian, and a network that says nothing."""
    config = dataclasses.replace(SWEEPS["quick"][1], datasets=("scg",), seeds=(3,), **settings)
    law = config.laws()["scg"]
    reference = GaussianReference(law.mixture.means[0], law.mixture.eigenvalues[0], law.mixture.eigenvectors[0])
    network = FourierMLPs([3], 2, 4, 4, 2)
    for parameter in network.parameters():
        torch.nn.init.zeros_(parameter)
    model = ShapesModel(network, Gaussians([reference]), "gaussian")
    points = law.sample(n, generator(3, "points"))[None]
    return ShapesEvaluation(config, [("scg", 3)], config.laws(), points, [reference]), model


def test_the_exact_denoiser_has_no_excess_by_curve_or_by_ode():
    evaluation, model = blank_evaluation(points=50, ode_steps=100)
    (row,) = evaluation.nll_rows(evaluation.curves(model), 1)
    assert abs(row.excess_nats) < 1e-3
    assert row.excess_se_nats < 1e-3
    assert row.se_data_nats == pytest.approx(1 / math.sqrt(400), rel=0.15)  # Var log p = d/2 = 1
    (row,) = evaluation.ode_rows(model, 1)
    assert abs(row.excess_nats) < max(2 * row.se_quadrature_nats, 2e-3)
    assert row.excess_se_nats < 2e-3


def test_the_exact_denoisers_samples_are_at_the_floor():
    evaluation, model = blank_evaluation(n=10, samples=400, sampler_steps=200)
    samples = evaluation.samples(model)
    (row,) = evaluation.sample_rows(samples, 1)
    assert abs(row.mmd2 - row.mmd2_heldout) < 3 * math.hypot(row.mmd2_se, row.mmd2_heldout_se)
    wrong = evaluation.sample_rows(samples + 0.5, 1)[0]
    assert wrong.mmd2 > row.mmd2_heldout + 5 * math.hypot(wrong.mmd2_se, row.mmd2_heldout_se)


@pytest.mark.bits
def test_a_run_stopped_in_the_middle_goes_on_to_the_same_bits(tmp_path, results, monkeypatch):
    config = SWEEPS["smoke"][0]
    steps = 0
    original = training_module._one_step

    def stop_after_seven(training, *more):
        nonlocal steps
        steps += 1
        if steps == 8:  # as when a signal comes
            monkeypatch.setattr(training_module.GracefulStop, "wanted", property(lambda self: True))
        return original(training, *more)

    monkeypatch.setattr(training_module, "_one_step", stop_after_seven)
    with pytest.raises(InterruptedRunError):
        run_in(tmp_path, "--checkpoint-seconds", "0")
    monkeypatch.undo()
    run_in(tmp_path)
    for table in ("nll", "density_grid", "samples", "mse_curve"):
        name = f"itdiffusion/{table}/{run_id(config)}.csv"
        assert (tmp_path / "results" / name).read_bytes() == (results / name).read_bytes()


@pytest.mark.parametrize(
    "change",
    [
        {"batch": 64}, {"lr": 1e-2}, {"lr_schedule": "constant"}, {"ema_decay": 0.0}, {"stratified": True},
        {"logsnr_loc": 1.0}, {"logsnr_scale": 2.0}, {"logsnr_clip": 3.0}, {"hidden": 8}, {"embedding": 8},
        {"input_scale": 10.0}, {"logsnr_multiplier": 5.0}, {"layers": 2}, {"points": 9}, {"ode_steps": 6}, {"n": 240},
        {"seeds": (1,)}, {"precondition": "gaussian"},
    ],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_each_setting_reaches_the_numbers(tmp_path, results, change):
    config = dataclasses.replace(
        SMOKE, datasets=("scg",), contours=False, **change, runs_dir=tmp_path / "runs", results_dir=tmp_path / "results"
    )
    shapes.run_shapes("smoke", config)
    ours, theirs = (
        frame[(frame["dataset"] == "scg") & (frame["epoch"] == 2)]["nll_nats"].to_numpy()
        for frame in (read(tmp_path / "results", "itdiffusion/nll"), plain_rows(results))
    )
    assert not np.array_equal(ours, theirs)


def plain_rows(results):
    frame = read(results, "itdiffusion/nll")
    return frame[frame["model"] == SMOKE.model_name()]


@pytest.mark.bits
def test_a_networks_numbers_do_not_depend_on_its_company(tmp_path, results):
    run_in(tmp_path, "--datasets", "moons", "--no-contours")
    alone, together = (
        read(folder, "itdiffusion/nll").query("dataset == 'moons'").sort_values(["model", "estimator", "epoch"])
        for folder in (tmp_path / "results", results)
    )
    # Another batch of matrix products rounds differently.
    assert np.allclose(alone["nll_nats"], together["nll_nats"], rtol=1e-3)


def test_points_of_a_file_join_the_sets(tmp_path):
    np.save(tmp_path / "dino.npy", np.random.default_rng(0).uniform(0, 100, (20, 2)))
    run_in(tmp_path, "--datasets", "scg", "--points-file", str(tmp_path / "dino.npy"))
    assert set(read(tmp_path / "results", "itdiffusion/nll")["dataset"]) == {"scg", "points"}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--datasets", "dino"], "unknown data set 'dino'"),
        (["--datasets", "two_modes"], "not 2-D"),
        (["--points-file", "nowhere.npy"], "there is no file 'nowhere.npy'"),
        (["--epochs", "3"], "--shown-epochs must divide --epochs"),
        (["--batch", "1000"], "--batch must be at most"),
        (["--embedding", "7"], "--embedding must be even"),
        (["--ema-decay", "1"], "--ema-decay"),
        (["--seeds", "1", "1"], "--seeds"),
        (["--precondition", "gauss"], "unknown preconditioning"),
    ],
)
def test_bad_settings_are_one_sentence_before_anything_is_written(tmp_path, words, says):
    with pytest.raises(UserError, match=says) as caught:
        run_in(tmp_path, *words)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_the_paper_sweep_begins_with_the_published_settings():
    config = SWEEPS["paper"][0]
    assert config == ShapesConfig()
    assert (config.n, config.epochs, config.batch, config.lr) == (8000, 160, 128, 1e-3)
    assert (config.embedding, config.hidden, config.layers, config.logsnr_loc, config.logsnr_scale) == (
        128,
        128,
        3,
        0,
        3,
    )
    assert (config.ema_decay, config.lr_schedule, config.precondition, config.stratified) == (
        0,
        "constant",
        "none",
        False,
    )
    assert (config.grid, config.shown_epochs, len(config.seeds)) == (40, 8, 5)
    assert {"scg", "moons", "line", "circle", "swiss_roll"} < set(SHAPES) == set(config.datasets)


def test_the_launcher_shares_the_sweep_from_any_folder(tmp_path):
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/words\n')
    python.chmod(0o755)
    environment = {**os.environ, "PY": str(python), "JOBS": "2"}
    done = subprocess.run(["sh", str(REPOSITORY / "itdiffusion/run_2d.sh"), "smoke"], cwd=tmp_path, env=environment)
    assert done.returncode == 0
    shares = sorted((tmp_path / "words").read_text().splitlines())
    assert shares == [f"-m itdiffusion.shapes smoke --threads 1 --task {i}/2" for i in range(2)]
