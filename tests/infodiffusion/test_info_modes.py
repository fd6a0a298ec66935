"""The ten modes in a chain on sprites, from a fresh checkpoint: each one's named output, its shape, count and range."""

import json

import numpy as np
import pandas as pd
import pytest
from launching import call

from infodiffusion import checkpoint
from infodiffusion.config import MODES, InfoConfig
from infodiffusion.run import main
from infolab import results as tables
from infolab.data import builtin

A_DIM, N, M, TEST = 4, 4, 64, 60
CHAIN = (
    "train", "eval", "eval_fid", "save_latent", "disentangle", "interpolate", "latent_quality", "train_latent_ddim",
    "plot_latent", "save_original_img",
)  # fmt: skip
PICTURES = {
    "eval": {"samples": (N, 32, 32), "train": (N, 32, 32)},
    "disentangle": {"traversals": (A_DIM, 11, 32, 32), "original": (1, 32, 32)},
    "interpolate": {
        "strip": (10, 32, 32), "original": (2, 32, 32), "with_x_T": (2, 32, 32), "without_x_T": (2, 32, 32),
    },
    "latent_quality": {"samples": (N, 32, 32), "original": (1, 32, 32)},
    "plot_latent": {"codes": (TEST, 2), "labels": (TEST,), "prior_draws": (TEST, 2)},
}  # fmt: skip
ARRAYS = {
    "eval_fid": {"generated": (N, 1, 32, 32)},
    "save_latent": {
        "codes_train": (M, A_DIM), "codes_test": (TEST, A_DIM), "factors_train": (M, 5), "factors_test": (TEST, 5),
        "labels_train": (M,), "labels_test": (TEST,),
    },
    "save_original_img": {"original": (N, 1, 32, 32)},
}  # fmt: skip


@pytest.fixture(scope="module")
def _few_sprites():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builtin, "N_SPLIT", {"train": 100, "test": TEST})
        checkpoint._loaded.cache_clear()
        yield
    checkpoint._loaded.cache_clear()


@pytest.fixture(scope="module")
def done(tmp_path_factory, _few_sprites):
    """The folder in which the chain has run, one process after the other as a user would."""
    folder = tmp_path_factory.mktemp("chain")
    for mode in CHAIN:
        code, err = run(folder, mode)
        assert code == 0, f"{mode}: {err}"
    return folder


def run(folder, mode, *words):
    class Silent:
        def readouterr(self):
            return "", ""

    with pytest.MonkeyPatch.context() as patch:
        where = ("--results-dir", folder / "results", "--runs-dir", folder / "runs")
        code, _, err = call(main, patch, Silent(), "smoke", "--model", "diff", "--mode", mode, *where, *words)
    return code, err


def pictures_of(folder, mode):
    """The arrays of a mode's pictures, found by the experiment in their provenance."""
    for path in (folder / "results/infodiffusion/images").glob("*.json"):
        if json.loads(path.read_text())["experiment"] == f"{mode}-sprites":
            with np.load(path.with_suffix(".npz")) as file:
                return {name: file[name] for name in file.files}
    raise AssertionError(f"no pictures of {mode}")


@pytest.mark.parametrize("mode", PICTURES)
def test_pictures(done, mode):
    arrays = pictures_of(done, mode)
    for name, shape in PICTURES[mode].items():
        assert arrays[name].shape == shape
        assert arrays[name].std() > 0, f"{name} is constant"
    assert str(arrays["model"]) == "diff[patch=2,velocity,4x1-2,a=4,mmd=0.1]"


@pytest.mark.parametrize("mode", ARRAYS)
def test_arrays(done, mode):
    (folder,) = (done / "runs/infodiffusion" / f"{mode}-sprites").iterdir()
    for name, shape in ARRAYS[mode].items():
        array = np.load(folder / f"{name}.npy", allow_pickle=False)
        assert array.shape == shape
        assert array.std() > 0, f"{name} is constant"
    if mode in ("eval_fid", "save_original_img"):
        assert len(list((folder / "images").glob("*.png"))) == N


def test_every_mode_of_the_public_code_is_in_the_chain_and_has_left_its_rows(done):
    assert set(CHAIN) == set(list(MODES)[:10])
    losses = tables.read(done / "results", "infodiffusion/training")
    assert sorted(losses["what"]) == ["codes", "images"]
    assert (losses["data_loss"] > 0).all()
    outputs = tables.read(done / "results", "infodiffusion/outputs")
    assert set(outputs["mode"]) == set(PICTURES) | set(ARRAYS)
    assert (outputs["sd"] > 0).all()


def test_codes_are_those_of_the_trained_encoder_and_different_from_the_untrained_ones(done, tmp_path):
    assert run(tmp_path, "save_latent", "--epochs", 0)[0] == 0
    (trained,) = (done / "runs/infodiffusion/save_latent-sprites").iterdir()
    (untrained,) = (tmp_path / "runs/infodiffusion/save_latent-sprites").iterdir()
    first, second = (np.load(folder / "codes_test.npy") for folder in (trained, untrained))
    assert first.shape == second.shape
    assert np.abs(first - second).max() > 1e-4


@pytest.mark.usefixtures("_few_sprites")
def test_sampling_in_two_phases_and_from_the_codes_diffusion(tmp_path):
    # Large steps, so that two updates already move the networks: three samplers, three sets of images.
    fast = ("--lr", 0.03, "--ema-decay", 0)
    for words in (("train",), ("train", "--model", "vanilla"), ("train_latent_ddim",)):
        assert run(tmp_path, *words, *fast)[0] == 0
    for sampling in ("prior", "two-phase", "latent"):
        assert run(tmp_path, "eval_fid", "--sampling", sampling, "--no-write-png", *fast)[0] == 0
    folders = (tmp_path / "runs/infodiffusion/eval_fid-sprites").iterdir()
    drawn = [np.load(folder / "generated.npy").astype(float) for folder in folders]
    assert len(drawn) == 3
    assert all(np.abs(drawn[i] - drawn[j]).max() > 0 for i, j in ((0, 1), (0, 2), (1, 2)))


@pytest.mark.usefixtures("_few_sprites")
def test_samples_of_a_diffae_by_a_prior_are_said_not_to_be_its_own(tmp_path, capsys):
    weights = ("--mmd-weight", 0)
    for mode in ("train", "train_latent_ddim"):
        assert run(tmp_path, mode, *weights)[0] == 0
    assert run(tmp_path, "eval", *weights)[0] == 0
    assert "use --sampling latent" in capsys.readouterr().err
    assert run(tmp_path, "eval", *weights, "--sampling", "latent")[0] == 0
    assert "follow no prior" not in capsys.readouterr().err


@pytest.mark.usefixtures("_few_sprites")
def test_a_mode_without_its_training_says_which_command_to_run(tmp_path, monkeypatch, capsys):
    where = ("--results-dir", tmp_path / "results", "--runs-dir", tmp_path / "runs")
    for words, told in (
        (("--mode", "eval", "--model", "diff"), "--model diff --mode train first"),
        (("--mode", "plot_latent", "--model", "diff"), "--mode save_latent first"),
        (("--mode", "calc_fid", "--model", "diff"), "--mode eval_fid first"),
        (("--mode", "sing"), "unknown mode 'sing'"),
        ((), "give --mode"),
    ):
        code, _, err = call(main, monkeypatch, capsys, "smoke", *words, *where)
        assert code == 2
        (sentence,) = (line for line in err.splitlines() if ": device: " not in line)
        assert told in sentence
    assert not (tmp_path / "results" / "infodiffusion" / "outputs").exists()


def test_evaluations_score_the_saved_codes(done):
    assert run(done, "eval_disentangle")[0] == 0
    assert run(done, "train_classifier")[0] == 0
    rows = tables.read(done / "results", "infodiffusion/quality")
    named = rows["metric"].str.split("[").str[0]
    assert {"dci_disentanglement", "dci_completeness", "dci_informativeness", "mig", "tad", "auroc"} <= set(named)
    bounded = rows[~named.isin(["tad", "tad_attributes"])]
    assert bounded["value"].between(-0.05, 1).all()
    assert isinstance(rows, pd.DataFrame)


def test_samples_are_compared_with_the_named_folder_by_one_network_of_the_whole_set(done, tmp_path, capsys):
    (originals,) = (done / "runs/infodiffusion/save_original_img-sprites").iterdir()
    for words in ((), ("--reference", originals / "images")):
        code, err = run(done, "calc_fid", *words)
        assert code == 0, err
    rows = tables.read(done / "results", "infodiffusion/quality")
    rows = rows[rows["sampling"] != "none"]
    assert set(rows["images"]) == {"train", "images"}
    assert set(rows["metric"].str.extract(r"ref=(\w+)")[0]) == {"train", "images"}
    # --m 64 of the smoke preset chooses what the model sees, not what the features are made of.
    (network,) = (done / "runs/infodiffusion/features").iterdir()
    assert set(rows["metric"].str.extract(r"\[([\w-]+),")[0]) == {network.stem}
    assert run(done, "calc_fid", "--reference", tmp_path / "absent")[0] == 2
    assert "folder of images" in capsys.readouterr().err


def test_a_network_of_which_nobody_knows_what_it_sees_is_refused_where_the_preset_does_not_force_it(done, capsys):
    # 60 held-out sprites are too few for a table; smoke sets --force-features, which other presets do not.
    capsys.readouterr()
    code, _ = run(done, "calc_fid", "--force", "--no-force-features")
    assert code == 2
    err = capsys.readouterr().err
    assert "nobody measured what small-sprites-" in err
    assert "--force-features" in err
    code, _ = run(done, "calc_fid", "--force")
    assert code == 0
    err = capsys.readouterr().err
    assert "warning: nobody measured what small-sprites-" in err
    assert not InfoConfig().force_features
