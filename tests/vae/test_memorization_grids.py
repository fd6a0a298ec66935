"""From a trained grid to its tables: scores, neighbours, near-duplicates, the held-out bound; planted images."""

import dataclasses
import json
import shutil
from unittest.mock import MagicMock

import numpy as np
import pandas as pd
import pytest
import torch
from launching import call
from scipy.special import logsumexp

import vae.images as images_module
from infolab.config import run_id
from infolab.data import ImageSet, load
from infolab.memorization import ScoreSums
from infolab.results import read
from vae import memorization
from vae.config import runs
from vae.cv import SWEEPS
from vae.full import SWEEPS as FULL_SWEEPS
from vae.grids import as_grid, last_networks, networks
from vae.images import load_inputs
from vae.memorization import grid_scores
from vae.objective import fold_of
from vae.run import run_vae

pytestmark = pytest.mark.usefixtures("no_tensorboard")
(GRID,) = SWEEPS["smoke"]


def at(config, folder, **changes):
    return dataclasses.replace(config, runs_dir=folder / "runs", results_dir=folder / "results", **changes)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("grid")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("infolab.training._Board", MagicMock())
        for config in runs(at(GRID, folder)):
            run_vae("smoke", config)
    return folder


@pytest.fixture
def folder(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "copy")


def analyse(folder, monkeypatch, capsys, *words):
    flags = ["--results-dir", folder / "results", "--runs-dir", folder / "runs", *words]
    return call(memorization.main, monkeypatch, capsys, "grids", "smoke", *flags)


def test_a_finished_grid_becomes_four_tables(folder, monkeypatch, capsys):
    code, _, err = analyse(folder, monkeypatch, capsys)
    assert code == 0, err
    assert "no bound with the held-out estimator" in err
    scores = read(folder / "results", "vae/memorization")
    assert len(scores) == 2 * 64
    assert set(scores["epoch"]) == {1, 2}
    assert scores["score_se"].notna().all()  # two repeats
    labels = load("digits", "train").labels.numpy()
    assert (scores["label"] == labels[scores["index"]]).all()
    np.testing.assert_allclose(scores["score"], scores["logpx_in"] - scores["logpx_out"], atol=1e-12)
    neighbours = read(folder / "results", "vae/neighbours")
    assert sorted(neighbours["index"]) == sorted(scores["index"].unique())
    assert set(neighbours["n"]) == {360}
    np.testing.assert_allclose(neighbours["ratio"], neighbours["dist_heldout"] / neighbours["dist_sample"])
    pairs = read(folder / "results", "vae/duplicates")
    assert len(pairs) == 20
    assert set(pairs["index_a"]) <= set(scores["index"])
    # Once the run on all images is there, the same command adds the bound, and does nothing else.
    before = {path: path.stat().st_mtime_ns for path in (folder / "results/vae/memorization").iterdir()}
    run_vae("smoke", at(FULL_SWEEPS["smoke"][0], folder))
    code, _, err = analyse(folder, monkeypatch, capsys)
    assert "finished already" in err
    assert before == {path: path.stat().st_mtime_ns for path in (folder / "results/vae/memorization").iterdir()}
    bounds = read(folder / "results", "vae/bounds")
    held_out = bounds[bounds["mi_estimator"] == "held-out"].sort_values("epoch")
    assert held_out["epoch"].tolist() == [1, 2]
    for row in held_out.itertuples():
        found = scores[scores["epoch"] == row.epoch]["score"].to_numpy()  # in the order of the grid's images
        mean, se = found.mean(), error_of_two_repeats_of_two_folds(folder, row)
        assert (row.mi_nats, row.mi_se) == (pytest.approx(mean), pytest.approx(se))
        assert row.ours_nats == pytest.approx(row.previous_nats + ours_minus_previous(folder, row))
    other = bounds[bounds["mi_estimator"] == "untrained-decoder"].sort_values("epoch")
    np.testing.assert_array_equal(held_out["previous_nats"], other["previous_nats"])
    np.testing.assert_array_equal(held_out["test_nats"], other["test_nats"])


def error_of_two_repeats_of_two_folds(folder, row):
    """sqrt(cov(M_1, M_2) / n + var(T_1, T_2) / 2) from the networks' log p(x)."""
    grid = at(as_grid(GRID), folder)
    scores = np.zeros((2, 64))
    for network in networks(grid, load_inputs(grid, torch.device("cpu"))[0].index.numpy()):
        logpx = network.logpx[network.epochs.tolist().index(row.epoch)].astype(float)
        outside = fold_of(64, 2, row.seed, network.repeat).numpy()[network.rows] == network.fold
        scores[network.repeat, network.rows] += np.where(outside, -logpx, logpx)
    common = max(np.cov(scores)[0, 1], 0.0) / 64
    return (common + scores.mean(1).var(ddof=1) / 2) ** 0.5


def test_rows_of_different_grids_are_never_pooled(folder, monkeypatch, capsys):
    run_vae("smoke", at(FULL_SWEEPS["smoke"][0], folder))
    assert analyse(folder, monkeypatch, capsys)[0] == 0
    tables = folder / "results/vae"
    (scores,) = (tables / "memorization").glob("*.csv")
    expected = read(folder / "results", "vae/bounds")

    def bounds_beside(name, **changes):
        frame = pd.read_csv(scores).assign(score=99.0, **changes)
        frame.to_csv(scores.with_name(f"{name}.csv"), index=False)
        record = json.loads(scores.with_suffix(".json").read_text())
        del record["sha256"]
        scores.with_name(f"{name}.json").write_text(json.dumps(record))
        for path in (tables / "bounds").glob("*"):
            if path.stem == scores.stem:
                path.unlink()
        _, _, err = analyse(folder, monkeypatch, capsys)
        return read(folder / "results", "vae/bounds"), err

    # Other images, or another estimate of log p(x): another grid.
    for name, changes in (("fewer", {"m": 63}), ("imported", {"estimator": "imported"})):
        found, err = bounds_beside(name, **changes)
        assert sorted(found["ours_nats"]) == sorted(expected["ours_nats"]), err
    # The same columns: nobody can tell whose they are.
    found, err = bounds_beside("same")
    assert "held-out" not in set(found["mi_estimator"])
    assert "several grids" in err


def ours_minus_previous(folder, row):
    curves = read(folder / "results", "vae/curves")
    train = curves[(curves["mode"] == "full") & (curves["split"] == "train") & (curves["epoch"] == row.epoch)].iloc[0]
    return train.kl_nats**0.5 + 2 * (max(row.mi_nats, 0) / train.m) ** 0.5


def test_fewer_repeats_are_a_table_of_their_own(folder, monkeypatch, capsys):
    for words in ([], ["--L", "1"]):
        assert analyse(folder, monkeypatch, capsys, *words)[0] == 0
    scores = read(folder / "results", "vae/memorization")
    assert scores.groupby("L")["runs_out"].unique().map(list).to_dict() == {1: [1], 2: [2]}
    assert scores[scores["L"] == 1]["score_se"].isna().all()


def test_an_unfinished_grid_is_refused(folder, monkeypatch, capsys):
    code, _, err = analyse(folder, monkeypatch, capsys, "--L", "3")
    assert code == 2
    assert "2 of the 2 x 3 networks" in err
    assert "repeat 2, fold 0" in err
    assert not (folder / "results/vae/memorization").exists()


def test_scores_come_without_checkpoints_neighbours_do_not(folder, monkeypatch, capsys):
    shutil.rmtree(folder / "runs")
    code, _, err = analyse(folder, monkeypatch, capsys)
    assert code == 0
    assert "no neighbours" in err
    assert len(read(folder / "results", "vae/memorization")) == 128
    assert read(folder / "results", "vae/neighbours").empty


def test_the_networks_of_a_repeat_are_those_that_were_trained(folder):
    grid = as_grid(at(GRID, folder))
    inputs, _ = load_inputs(grid, "cpu")
    ((folds, vae),) = last_networks(grid, inputs, repeat=1)
    curves = read(folder / "results", "vae/curves")
    for place, fold in enumerate(folds):
        row = curves[(curves["repeat"] == 1) & (curves["fold"] == fold) & (curves["epoch"] == 2)].iloc[0]
        x = inputs.evaluation(0, 64)[None].expand(len(folds), -1, -1, -1, -1)
        kl = vae.encode(x).kl()[place]
        held_in = kl[torch.from_numpy(folds_of_row(grid, inputs) != fold)] if row.split == "train" else None
        assert held_in is not None
        assert float(held_in.mean()) == pytest.approx(row.kl_nats, rel=1e-5)


def folds_of_row(grid, inputs):
    return fold_of(len(inputs), grid.K, grid.seed, 1).numpy()


def test_the_grid_has_the_settings_of_the_sweep():
    for name, configs in SWEEPS.items():
        for config, grid in zip(configs, memorization.GRIDS.presets[name], strict=True):
            assert {key: getattr(grid, key) for key in vars(config)} == vars(config)
            assert len(run_id(grid)) == 12


PAIRS = 10
"""Images at rows 1 .. PAIRS, which stand again at the next PAIRS rows; row 0 is an outlier."""


def planted(n, monkeypatch=None):
    """The first n digits in black and white, with a random pattern first and ten of them twice, uint8 (n, 1, 8, 8)."""
    real = load("digits", "train")
    pixels = (real.images[:n] >= 8).to(torch.uint8) * 16
    pixels[0] = torch.randint(0, 2, (1, 8, 8), generator=torch.Generator().manual_seed(5)) * 16
    pixels[1 + PAIRS : 1 + 2 * PAIRS] = pixels[1 : 1 + PAIRS]
    if monkeypatch is not None:
        changed = ImageSet("digits", "train", pixels, real.levels, real.labels[:n])
        test = load("digits", "test")
        monkeypatch.setattr(images_module, "load", lambda name, split, **_: changed if split == "train" else test)
    return pixels


def test_kernel_density_duplicates_score_low_and_the_outlier_is_first():
    """The scores of a density that remembers each image: log p(x) = logmeanexp over training images of N(x_i, s^2)."""
    n, K, bandwidth = 600, 10, 0.1
    x = planted(n).flatten(1).double().numpy() / 16
    squares = x.sum(1)[:, None] + x.sum(1) - 2 * x @ x.T  # pixels are 0 or 1
    folds, sums = fold_of(n, K, 0, 0).numpy(), ScoreSums(n)
    for fold in range(K):
        inside = folds != fold
        sums.add(logsumexp(-squares[:, inside] / (2 * bandwidth**2), axis=1) - np.log(inside.sum()), inside)
    score = sums.scores().score
    apart = folds[1 : 1 + PAIRS] != folds[1 + PAIRS : 1 + 2 * PAIRS]
    twins = score[1 : 1 + 2 * PAIRS].reshape(2, PAIRS)[:, apart]
    # Without one of the two, half of its density is left: log 2, but for the networks that hold out the other twin.
    assert apart.sum() >= 7
    assert (twins < np.log(2)).all()
    assert (twins > np.log(2) - 0.2).all()
    assert np.median(score) > 10 * np.log(2)
    assert (score > score[0]).sum() < n / 100


@pytest.mark.slow
def test_an_outlier_is_memorized_by_a_vae_and_duplicates_score_low(monkeypatch, tmp_path):
    planted(200, monkeypatch)
    config = at(
        GRID, tmp_path, m=0, K=5, L=1, hidden=(128, 64), latent=8, epochs=100, n_z=64, logpx_every=100,
        evaluate_every=100, seed=1,
    )  # fmt: skip
    inputs, _ = load_inputs(as_grid(config), "cpu")
    for one in runs(config):
        run_vae("test", one)
    scores = np.array([row.score for row in grid_scores(as_grid(config), inputs)])
    twins, rest = scores[1 : 1 + 2 * PAIRS], scores[1 + 2 * PAIRS :]
    assert scores.argmax() == 0
    assert twins.mean() < rest.mean()
