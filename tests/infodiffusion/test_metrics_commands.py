"""`python -m infodiffusion.metrics`: one JSON object, named metrics, one sentence for what is wrong."""

import json
import re
import sys

import numpy as np
import pytest
import torch

from infolab.data import load
from infolab.errors import UserError
from infolab.metrics import dci, fid, kid, latent_classification, mig, moments, tad
from infolab.metrics.commands import COMMANDS, main
from infolab.metrics.features import Features


@pytest.fixture
def run(monkeypatch, capsys):
    def call(*words):
        monkeypatch.setattr(sys, "argv", ["metrics", *map(str, words)])
        main()
        return capsys.readouterr()

    return call


@pytest.fixture
def files(tmp_path):
    source = np.random.default_rng(0)
    factors = source.integers(2, size=(120, 2))
    codes = factors + 0.3 * source.normal(size=(120, 2))
    np.save(tmp_path / "codes.npy", codes)
    np.save(tmp_path / "factors.npy", factors)
    return tmp_path, codes, factors


def test_code_metrics_print_what_the_functions_return(run, files):
    folder, codes, factors = files
    given = ("--codes", folder / "codes.npy", "--factors", folder / "factors.npy", "--json")
    found = json.loads(run("mig", *given).out)
    assert found["mig"]["value"] == mig(codes, factors).value
    assert found["mig"]["se"] > 0
    found = json.loads(run("tad", *given).out)
    assert found["tad"]["value"] == tad(codes, factors).tad.value
    assert found["tad_attributes"]["value"] == 2
    found = json.loads(run("auroc", *given).out)
    assert found["auroc"]["value"] == latent_classification(codes, factors).auroc.value
    assert np.asarray(found["single_code_auroc"]).shape == (2, 2)
    found = json.loads(run("dci", *given, "--folds", 1, "--jobs", 1).out)
    expected = dci(codes, factors, folds=1, jobs=1)
    assert found["dci_disentanglement"]["value"] == expected.disentanglement.value
    assert found["dci_disentanglement"]["se"] is None
    assert found["importance"] == expected.importance.tolist()


def test_sample_metrics_and_kept_statistics(run, tmp_path):
    x, y = (torch.randn(60, 3, generator=torch.Generator().manual_seed(seed)).numpy() for seed in (0, 1))
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", y)
    both = ("--real", tmp_path / "x.npy", "--generated", tmp_path / "y.npy")
    found = json.loads(run("kid", *both, "--json").out)
    assert found["kid"]["value"] == kid(Features(torch.tensor(x)), Features(torch.tensor(y))).value
    assert json.loads(run("mmd", *both, "--json").out)["mmd"]["se"] > 0
    with pytest.raises(UserError, match=r"2,048 on each side, use kid.*--force"):
        run("fid", *both)
    run("stats", "--images", tmp_path / "x.npy", "--out", tmp_path / "S.npz", "--ref", "mine")
    found = json.loads(
        run("fid", "--real", tmp_path / "S.npz", "--generated", tmp_path / "y.npy", "--force", "--json").out
    )
    expected = fid(moments(Features(torch.tensor(x))), Features(torch.tensor(y)), force=True)
    assert found["fid"]["value"] == pytest.approx(expected.value)
    assert found["fid"]["name"] == "fid[none,resize=none,ref=mine,n=60]"
    with pytest.raises(UserError, match="only fid takes"):
        run("kid", "--real", tmp_path / "S.npz", "--generated", tmp_path / "y.npy")


def test_a_network_trained_on_a_data_set_measures_its_images(run, tmp_path):
    digits = load("digits", "test")
    np.save(tmp_path / "g.npy", (digits.images.float() * 255 / 16).round().numpy()[:100])
    run("features", "--data", "digits", "--out", tmp_path / "net.safetensors", "--steps", 5)
    given = ("--real", "digits:test", "--generated", tmp_path / "g.npy", "--features", tmp_path / "net.safetensors")
    shown = run("kid", *given, "--force-features")
    assert re.search(r"kid\[small-digits-[0-9a-f]{8},resize=none,ref=test,n=100\]", shown.out)
    assert "standard errors of FID with 360 held-out images: noise 20/40/80: " in shown.err


def test_registered_names_stand_for_codes_and_factors(run):
    found = json.loads(run("mig", "--codes", "digits:test", "--factors", "digits:test", "--json").out)
    assert 0 < found["mig"]["value"] < 1
    assert found["mig"]["n"] == 360


def test_information_is_that_of_the_pairs(run, tmp_path):
    source = np.random.default_rng(0)
    x = source.normal(size=(500, 1))
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "a.npy", x + source.normal(size=(500, 1)))
    given = ("--codes", tmp_path / "a.npy", "--inputs", tmp_path / "x.npy", "--steps", 10, "--json")
    found = json.loads(run("information", *given).out)["information_nats"]
    assert abs(found["value"] - 0.5 * np.log(2)) < 5 * found["se"]
    assert found["name"] == "information_nats[steps=10]"


def test_information_of_images_with_rare_pixels(run, tmp_path):
    # Some pixels are constant in most of the images; 945 coordinates are many for 4,000 pairs.
    x = load("sprites", "test", data_dir=tmp_path).images.flatten(1).numpy()
    source = np.random.default_rng(0)
    scores = x @ source.normal(size=(x.shape[1], 2))
    np.save(tmp_path / "a.npy", scores / scores.std(0) + source.normal(size=(len(x), 2)))
    said = run("information", "--codes", tmp_path / "a.npy", "--inputs", "sprites:test", "--json")
    found = json.loads(said.out)["information_nats"]
    assert found["name"] == "information_nats[gaussian-part]"
    assert "only the Gaussian part" in said.err
    # A linear code with unit noise in each of two coordinates has about log 2 nats in all, were the pixels Gaussian.
    assert found["value"] == pytest.approx(np.log(2), abs=0.2)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["other"], "unknown command"),
        (["dci"], "--codes is missing"),
        (["mig", "--codes", "digits"], "--factors is missing"),
        (["mig", "--codes", "nothing.npy", "--factors", "digits"], "there is no file"),
        (["mig", "--bin", "3"], "did you mean --bins"),
        (["kid"], "--real is missing"),
        (["fid", "--features", "none.pth"], "there is no file"),
        (["stats", "--images", "digits"], "--out is missing"),
        (["features", "--data", "digits"], "--out is missing"),
        (["stats", "--images", "digits", "--out", "S.txt"], "ends in .npz"),
        (["stats", "--images", "X.npz", "--out", "X.npz"], "is what is read"),
        (["stats", "--images", "digits", "--out", "nowhere/S.npz"], "there is no folder"),
        (["tad", "--codes", "digits", "--factors", "digits"], "0 or 1"),
        (["auroc", "--codes", "digits:test", "--factors", "digits"], "expected"),
        (["information", "--codes", "digits:test", "--inputs", "digits"], "expected pairs"),
        ("information --codes digits --inputs digits --steps 5 --minutes 1".split(), "give one of them"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(run, words, message):
    with pytest.raises(UserError, match=message):
        run(*words)


def test_images_must_be_levels(run, tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).random((10, 1, 8, 8)))
    with pytest.raises(UserError, match=r"whole levels 0 \.\. 255"):
        run("features", "--data", tmp_path / "x.npy", "--out", tmp_path / "n.safetensors")


def test_help_names_every_command(run):
    shown = run("--help").out
    assert all(command in shown for command in COMMANDS)


def test_factors_that_are_left_out_are_said(run, tmp_path):
    source = np.random.default_rng(0)
    factors = np.stack([source.integers(0, 2, 200), np.full(200, 3), source.integers(0, 3, 200)], 1)
    np.save(tmp_path / "A.npy", factors + source.normal(size=(200, 3)))
    np.save(tmp_path / "Y.npy", factors)
    for metric in ("dci", "mig", "auroc"):
        shown = run(metric, "--codes", tmp_path / "A.npy", "--factors", tmp_path / "Y.npy", "--json")
        found = json.loads(shown.out)
        assert found["kept"] == [0, 2]
        assert shown.err == "constant factors, counted from 0, are left out: 1\n"
    assert np.shape(found["single_code_auroc"]) == (3, 1)
    assert len(found["per_factor"]) == 2


def test_large_labels_of_a_file_stay_different(run, files):
    folder, _, factors = files
    given = ("--codes", folder / "codes.npy", "--json", "--factors")
    expected = json.loads(run("mig", *given, folder / "factors.npy").out)
    np.save(folder / "large.npy", factors + 2**53)
    assert json.loads(run("mig", *given, folder / "large.npy").out) == expected
    large, small = (run("tad", "--binarise", *given, folder / f"{name}.npy").out for name in ("large", "factors"))
    assert json.loads(large) == json.loads(small)
