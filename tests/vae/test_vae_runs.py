"""Runs of VAEs from config to tables: whole, resumed, folds together and alone, bounds, bad settings."""

import dataclasses
import math

import numpy as np
import pytest
import torch

import vae.evaluate as measure_module
from infolab.errors import InterruptedRunError
from infolab.estimate import mean_and_se
from infolab.results import read, read_arrays
from infolab.runs import Run
from infolab.storage import Pieces
from vae import cv, full
from vae.config import VAEConfig, runs
from vae.evaluate import LogPxMeasurement, Terms, ours, previous
from vae.images import load_inputs
from vae.objective import members_of
from vae.run import build, make_objective, run_vae

FULL, GHOST = full.SWEEPS["smoke"]
(GRID,) = cv.SWEEPS["smoke"]


pytestmark = pytest.mark.usefixtures("no_tensorboard")


def at(config, folder, **changes):
    return dataclasses.replace(config, runs_dir=folder / "runs", results_dir=folder / "results", **changes)


def content(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in (folder / "results").rglob("*")
        if path.suffix in (".csv", ".npz")
    }


def test_a_full_run_writes_curves_bounds_and_the_log_px_of_each_image(tmp_path):
    config = at(FULL, tmp_path)
    run_vae("smoke", config)
    curves = read(config.results_dir, "vae/curves")
    assert list(zip(curves.epoch, curves.split, strict=True)) == [(1, "train"), (1, "test"), (2, "train"), (2, "test")]
    np.testing.assert_allclose(curves.loss_nats, curves.rec_nats + curves.kl_nats, rtol=1e-9)
    train, test = curves[curves.split == "train"], curves[curves.split == "test"]
    assert set(train.mi_estimator) == {"untrained-decoder"}
    assert test.mi_nats.isna().all()
    assert set(train.logpx_images) == {32}
    assert set(test.logpx_images) == {360}
    # The importance-weighted estimate is at least the ELBO, up to the noise of the latter.
    assert (curves.logpx_nats > -curves.loss_nats - 4 * curves.loss_se).all()
    assert ((curves.ess >= 1) & (curves.ess <= config.n_z)).all()
    ((provenance, arrays),) = read_arrays(config.results_dir, "vae", "full")
    assert provenance["config"]["lr"] == config.lr
    assert arrays["train_logpx"].shape == (1, 2, 32)
    assert arrays["test_logpx"].shape == (1, 2, 360)
    np.testing.assert_allclose(arrays["test_logpx"][0].mean(1), test.logpx_nats, rtol=1e-5)
    bounds = read(config.results_dir, "vae/bounds")
    row, first = bounds.iloc[0], train.iloc[0]
    expected = first.rec_nats + 2 * math.sqrt(first.kl_nats) + 2 * math.sqrt(max(first.mi_nats, 0) / 64)
    assert row.ours_nats == pytest.approx(expected)
    assert row.previous_nats == pytest.approx(first.rec_nats + math.sqrt(first.kl_nats))
    assert row.test_nats == pytest.approx(test.iloc[0].rec_nats + math.sqrt(test.iloc[0].kl_nats))
    assert row.m == 64


def test_a_ghost_run_trains_the_second_decoder_on_the_other_half(tmp_path):
    config = at(GHOST, tmp_path, epochs=40, evaluate_every=40, lr=1e-2)
    run_vae("smoke", config)
    curves = read(config.results_dir, "vae/curves")
    train = curves[curves.split == "train"].iloc[0]
    assert (train.mi_estimator, train.m) == ("ghost", 32)
    # The ghost has learned: it is far closer to the model's decoder than an untrained one is.
    whole = at(FULL, tmp_path, m=64, epochs=40, evaluate_every=40, logpx_every=0, lr=1e-2)
    run_vae("smoke", whole)
    curves = read(config.results_dir, "vae/curves")
    untrained = curves[curves.mi_estimator == "untrained-decoder"].iloc[0]
    assert untrained.mi_nats > 5
    assert 0 < train.mi_nats < untrained.mi_nats
    assert set(read(config.results_dir, "vae/bounds").mi_estimator) == {"ghost", "untrained-decoder"}


def test_no_gradient_of_the_ghost_reaches_the_model():
    inputs, _ = load_inputs(GHOST, torch.device("cpu"))
    members = members_of(GHOST, len(inputs))
    trained = build(GHOST, members, inputs)
    objective = make_objective(GHOST, members, inputs, trained)
    objective(0)[1].backward()
    assert all(item.grad is None or not bool(item.grad.any()) for item in trained.vae.parameters())
    assert all(bool(item.grad.any()) for item in trained.ghost.parameters())


@pytest.mark.bits
def test_folds_together_have_the_numbers_of_folds_alone(tmp_path):
    together, alone = tmp_path / "together", tmp_path / "alone"
    for run in runs(at(GRID, together, repeat=1)):
        run_vae("smoke", run)
    for run in runs(at(GRID, alone, repeat=1, together=1)):
        run_vae("smoke", run)
    frames = [
        read(folder / "results", "vae/curves").sort_values(["fold", "split"]).reset_index(drop=True)
        for folder in (together, alone)
    ]
    for name in ("loss_nats", "kl_nats", "logpx_nats", "ess"):
        np.testing.assert_allclose(frames[0][name], frames[1][name], rtol=1e-4)
    ((_, both),) = read_arrays(together / "results", "vae", "cv")
    singles = {int(arrays["folds"][0]): arrays for _, arrays in read_arrays(alone / "results", "vae", "cv")}
    for j, fold in enumerate(both["folds"].tolist()):
        np.testing.assert_allclose(both["train_logpx"][j], singles[fold]["train_logpx"][0], rtol=1e-4)


def test_the_held_out_fold_is_the_test_split_of_the_grid(tmp_path):
    (config, _) = runs(at(GRID, tmp_path))
    run_vae("smoke", config)
    curves = read(config.results_dir, "vae/curves")
    ((_, arrays),) = read_arrays(config.results_dir, "vae", "cv")
    members = members_of(config, 64)
    last = curves[curves.epoch == config.epochs]
    for j, member in enumerate(members):
        out = last[(last.fold == member.fold) & (last.split == "test")].iloc[0]
        np.testing.assert_allclose(arrays["train_logpx"][j, -1, member.held_out].mean(), out.logpx_nats, rtol=1e-5)
        assert out.m == len(member.rows) == 32


@pytest.mark.bits
@pytest.mark.parametrize("config", [FULL, GHOST, runs(GRID)[0]], ids=["full", "ghost", "cv"])
def test_a_run_that_is_stopped_at_every_step_gives_the_same_bytes(tmp_path, config):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    run_vae("smoke", at(config, whole))
    for _ in range(50):
        try:
            run_vae("smoke", at(config, broken, max_minutes=1e-9))
            break
        except InterruptedRunError:
            assert not list((broken / "results").rglob("*.csv"))
    assert content(whole) == content(broken)


@pytest.mark.bits
def test_a_stop_inside_the_measurement_of_log_px_keeps_what_is_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(measure_module, "PIECE", 16)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    config = runs(GRID)[0]
    run_vae("smoke", at(config, whole))
    messages = []
    while not messages or "before 'logpx" not in messages[-1]:
        with pytest.raises(InterruptedRunError) as caught:
            run_vae("smoke", at(config, broken, max_minutes=1e-9))
        messages.append(str(caught.value))
    assert list((broken / "runs").rglob("pieces/logpx-*"))
    calls = []
    real = measure_module.log_px_of
    monkeypatch.setattr(measure_module, "log_px_of", lambda *words: calls.append(words[5]) or real(*words))
    run_vae("smoke", at(config, broken))
    assert calls[0] == 16  # goes on inside the set of images
    assert content(whole) == content(broken)


@pytest.mark.bits
def test_old_measurements_do_not_survive_a_forced_run(tmp_path):
    config = at(FULL, tmp_path)
    run_vae("smoke", config)
    first = content(tmp_path)
    (folder,) = (tmp_path / "runs").glob("*/*/*")
    assert not (folder / "pieces").exists()  # what is in the tables is kept there alone
    for split in ("train", "test"):
        for epoch in (1, 2):
            planted = {"logpx": torch.zeros(3, 400, dtype=torch.float64)}
            Pieces(folder, "log p(x)")(f"logpx-{epoch:05d}-000-{split}-0000000", lambda planted=planted: planted)
    run_vae("smoke", dataclasses.replace(config, force=True))
    assert content(tmp_path) == first


def test_the_second_encoder_is_a_setting_of_a_run(tmp_path):
    config = at(FULL, tmp_path, proposal="full-covariance", points="sobol", epochs=1)
    run_vae("smoke", config)
    assert set(read(config.results_dir, "vae/curves").proposal) == {"full-covariance/sobol"}


@pytest.mark.parametrize("model", ["mix-logistics-dc", "diagonal-gaussian-dc", "constant-gaussian-dc", "bernoulli-dc"])
def test_convolutional_models_run(tmp_path, model):
    dataset = "sprites" if model == "bernoulli-dc" else "patches"
    config = at(
        VAEConfig(dataset=dataset, model=model, features=2, latent=2, m=20, epochs=1, evaluate_every=1, flip=True),
        tmp_path,
    )
    inputs, test = load_inputs(config, torch.device("cpu"))
    config = dataclasses.replace(config, logpx_every=1, n_z=2, logpx_images=16)
    few = test.take(torch.arange(20))
    members = members_of(config, len(inputs))
    trained = build(config, members, inputs)
    objective = make_objective(config, members, inputs, trained)
    assert bool(torch.isfinite(objective(0)).all())
    with torch.no_grad():
        measurement = LogPxMeasurement(Run("vae", "full", "smoke", config), config, inputs, few, members)
        measurement.run.folder.mkdir(parents=True)
        (found,) = measurement.measure(trained.vae.eval(), 1)
    assert bool(torch.isfinite(found["test"].value).all())
    assert len(found["train"].value) == 16


def test_bounds_are_their_formulas():
    train = Terms(80.0, 0.3, 16.0, 0.8, math.hypot(0.3, 0.8))  # REC and KL uncorrelated
    assert ours(train, 400.0, 40.0, 100) == (pytest.approx(80 + 8 + 4), pytest.approx(math.hypot(0.3, 0.2, 0.2)))
    assert previous(train) == (84.0, pytest.approx(math.hypot(0.3, 0.1)))
    assert ours(train, -1.0, 1.0, 100)[0] == 88.0


def test_the_error_of_a_bound_knows_that_its_terms_are_correlated():
    """Against the error of the linearised bound of each image."""
    g = torch.Generator().manual_seed(0)
    kl = 16 + 4 * torch.randn(500, generator=g, dtype=torch.float64)
    rec = 80 - 2 * kl + torch.randn(500, generator=g, dtype=torch.float64)
    (rec_mean, rec_se), (kl_mean, kl_se), (_, loss_se) = map(mean_and_se, (rec, kl, rec + kl))
    _, expected = mean_and_se(rec + kl / math.sqrt(kl_mean))
    train = Terms(rec_mean, rec_se, kl_mean, kl_se, loss_se)
    assert ours(train, -1.0, 1.0, 100)[1] == pytest.approx(expected)
    assert expected < 0.95 * math.hypot(rec_se, kl_se / math.sqrt(kl_mean))
    # Rounding must not make a variance negative.
    assert previous(Terms(80.0, 0.1, 0.25, 0.1, 0.0)) == (80.5, 0.0)
