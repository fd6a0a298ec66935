"""Settings of VAE runs and what a sweep makes of them: refusals, kinds, families of data sets, ids, names."""

import dataclasses

import pytest

from infolab.config import run_id
from infolab.errors import UserError
from infolab.sweep import run_sweep
from vae import cv, full
from vae.config import VAEConfig, kind, runs
from vae.run import cost

FULL, GHOST = full.SWEEPS["smoke"]
(GRID,) = cv.SWEEPS["smoke"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"dataset": "digit"}, "unknown data set"),
        ({"model": "mlp"}, "unknown model"),
        ({"mode": "loo"}, "unknown mode"),
        ({"dataset": "patches", "canvas": 0}, "takes grey images"),
        ({"model": "mix-logistics-dc"}, "takes colour images"),
        ({"model": "bernoulli-dc"}, "--canvas 32"),
        ({"lr": float("nan")}, "--lr must be positive"),
        ({"K": 1}, "--K must be at least 2"),
        ({"epochs": 3, "evaluate_every": 2, "logpx_every": 0}, "must divide --epochs"),
        ({"evaluate_every": 2, "logpx_every": 3}, "must be a multiple of"),
        ({"mode": "cv", "logpx_every": 0}, "the grid measures log p"),
        ({"mode": "cv", "folds": (1, 1)}, "different folds"),
        ({"mode": "cv", "folds": (12,)}, "different folds of 0 .. 9"),
        ({"points": "halton"}, "unknown points"),
        ({"hidden": ()}, "at least one layer"),
        ({"n_z": 0}, "--n-z must be at least 1"),
    ],
)
def test_bad_settings_are_refused_in_one_sentence(changes, expected):
    with pytest.raises(UserError, match=expected):
        dataclasses.replace(FULL, **changes).check()


def test_the_grid_is_one_run_for_each_repeat_or_fold_and_its_size_follows_the_flags(capsys):
    def count(*words):
        run_sweep(cv.EXPERIMENT, [*words, "--count"])
        return int(capsys.readouterr().out)

    assert count("paper", "--dataset", "fashion-mnist", "--lr", "0.001") == 10
    assert count("paper", "--dataset", "fashion-mnist", "--lr", "0.001", "--L", "3", "--together", "1") == 30
    assert count("paper", "--dataset", "fashion-mnist", "--lr", "0.001", "--K", "5", "--L", "1", "--together", "1") == 5
    assert count("paper") == 20 + 100 + 100


def test_more_repeats_do_not_change_the_runs_that_are_there():
    few, many = (runs(dataclasses.replace(GRID, L=L)) for L in (2, 5))
    assert [run_id(run) for run in many[:2]] == [run_id(run) for run in few]
    assert len({run_id(run) for run in many}) == 5


def test_a_stand_in_takes_the_settings_of_its_family(capsys):
    run_sweep(full.EXPERIMENT, ["paper", "--dataset", "fashion-mnist", "--count"])
    assert int(capsys.readouterr().out) == 3  # two learning rates and the ghost
    assert {kind(config)[1] for config in full.SWEEPS["paper"]} == {"grey", "colour", "faces"}


@pytest.mark.parametrize(
    ("flags", "count", "model"),
    [
        ("--dataset patches", 1, "diagonal-gaussian-dc"),
        ("--dataset celeba", 1, "constant-gaussian-dc"),
        ("--dataset cifar10 --mode ghost", 1, "diagonal-gaussian-dc"),
        ("--mode ghost", 3, "diagonal-gaussian-dc"),
    ],
)
def test_a_data_set_has_the_settings_of_its_family_alone(capsys, flags, count, model):
    run_sweep(full.EXPERIMENT, ["paper", *flags.split(), "--dry-run"])
    shown = capsys.readouterr().out
    assert shown.count("\nrun ") == count
    assert f"model = {model}" in shown


def test_published_settings():
    mnist = [config for config in cv.SWEEPS["paper"] if config.dataset == "mnist"]
    assert [config.lr for config in mnist] == [1e-3, 1e-4]
    first = mnist[0]
    assert (first.model, first.hidden, first.latent, first.canvas) == ("bernoulli-mlp", (512, 256), 16, 32)
    assert (first.epochs, first.batch, first.seed, first.n_z, first.K, first.L) == (100, 64, 42, 256, 10, 10)
    assert (first.logpx_every, first.logpx_images) == (5, 0)
    colour = {config.dataset: config for config in cv.SWEEPS["paper"] if config.dataset in ("cifar10", "celeba")}
    assert (colour["cifar10"].model, colour["cifar10"].latent, colour["cifar10"].epochs) == (
        "diagonal-gaussian-dc", 64, 100,
    )  # fmt: skip
    assert (colour["celeba"].model, colour["celeba"].latent, colour["celeba"].epochs, colour["celeba"].logpx_every) == (
        "constant-gaussian-dc", 32, 50, 25,
    )  # fmt: skip
    assert cost(runs(first)[0]).parameters == pytest.approx(10 * 1_327_104, rel=0.01)


def test_every_setting_but_where_it_runs_enters_the_id():
    base = VAEConfig()
    for item in dataclasses.fields(VAEConfig):
        value = getattr(base, item.name)
        other = {bool: lambda v: not v, int: lambda v: v + 1, float: lambda v: v + 0.5, str: lambda v: v + "x"}
        other[tuple] = lambda v: (*v, 3)
        if type(value) not in other:
            continue
        changed = dataclasses.replace(base, **{item.name: other[type(value)](value)})
        assert (run_id(changed) == run_id(base)) == (not item.metadata.get("in_id", True))


def test_tables_tell_networks_of_redrawn_pixels_apart():
    assert VAEConfig().model_name == "bernoulli-mlp[512-256-16]"
    assert VAEConfig(redraw=True).model_name == "bernoulli-mlp[512-256-16,redraw]"
    assert VAEConfig(model="bernoulli-dc", redraw=True).model_name == "bernoulli-dc[features=32-16,redraw]"
