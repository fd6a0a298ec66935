"""What metrics are given: values that are not finite, tensors of any kind, images that are no features, two ranges."""

import json

import numpy as np
import pytest
import torch
from launching import call
from PIL import Image

from infolab import metrics
from infolab.errors import UserError, run_main
from infolab.metrics.commands import main
from infolab.metrics.features import Pixels
from infolab.metrics.inputs import read_factors
from infolab.mmd import mmd2, mmd2_of, polynomial_gram

RNG = np.random.default_rng(0)
X = RNG.integers(-8, 9, (80, 3)) / 4 + RNG.integers(0, 2, (80, 3))  # exact in bfloat16
Y = RNG.integers(0, 2, (80, 2))
LEVELS = RNG.integers(0, 256, (40, 1, 6, 6), dtype=np.uint8)
LIBRARY = {
    "fid": lambda x: metrics.fid(metrics.as_features(x), metrics.as_features(X + 1), force=True).value,
    "fid, moments": lambda x: (
        metrics.fid(metrics.moments(metrics.as_features(x)), metrics.as_features(X), force=True).value
    ),
    "kid": lambda x: metrics.kid(metrics.as_features(X), metrics.as_features(x)).value,
    "mmd": lambda x: metrics.mmd(x, X + 1).value,
    "dci": lambda x: metrics.dci(x, Y, jobs=1).informativeness.value,
    "mig": lambda x: metrics.mig(x, Y).value,
    "tad": lambda x: metrics.tad(x, Y).tad.value,
    "auroc": lambda x: metrics.auroc_matrix(x, Y),
    "binarise": lambda x: metrics.binarise(x),
    "probes": lambda x: metrics.latent_classification(x, Y).auroc.value,
    "probes of codes as factors": lambda x: metrics.latent_classification(X, metrics.binarise(x)).auroc.value,
    "information": lambda x: metrics.information(X, x, steps=2).value,
}


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", LIBRARY)
def test_values_that_are_not_finite_are_refused(name, bad):
    x = X.copy()
    x[3, 1] = bad
    for given in (x, torch.from_numpy(x)):
        with pytest.raises(UserError, match="not finite"):
            LIBRARY[name](given)


@pytest.mark.parametrize("name", LIBRARY)
def test_graphs_halves_and_byte_orders_are_the_same_numbers(name):
    expected = LIBRARY[name](X)
    tensor = torch.from_numpy(X)
    kinds = (tensor.bfloat16().requires_grad_(), X.astype(">f8"), tensor.half(), tensor.float())
    # All hold these numbers exactly; what is computed in the features' own precision differs in the last digits.
    for given in kinds[: 1 if name == "information" else None]:  # which trains networks
        np.testing.assert_allclose(LIBRARY[name](given), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", LIBRARY)
@pytest.mark.parametrize("given", [X.astype(str), X.astype(object), X + 1j, torch.from_numpy(X + 1j)])
def test_what_is_no_real_number_is_refused(name, given):
    with pytest.raises(UserError, match="expected real numbers"):
        LIBRARY[name](given)


def test_factors_and_attributes_that_are_not_finite_are_refused():
    factors = Y.astype(float)
    factors[0, 0] = np.nan
    for measure in (metrics.dci, metrics.mig, metrics.latent_classification):
        with pytest.raises(UserError, match="not finite"):
            measure(X, factors)
    for measure in (metrics.tad, metrics.auroc_matrix):
        with pytest.raises(UserError, match="0 or 1"):
            measure(X, factors)
    names = np.array(["a", "b"])[Y]  # classes may have names
    assert metrics.mig(X, names).value == metrics.mig(X, Y).value


def test_moments_that_are_not_finite_are_refused():
    mean, cov = torch.zeros(2), torch.eye(2)
    for bad in ((torch.full((2,), torch.nan), cov), (mean, torch.full((2, 2), torch.inf))):
        with pytest.raises(UserError, match="not finite"):
            metrics.gaussian_fid(*bad, mean, cov)
        with pytest.raises(UserError, match="not finite"):
            metrics.Moments(*bad, 10)
    assert metrics.gaussian_fid(mean.requires_grad_(), cov, torch.ones(2), cov) == 2


def test_the_kernels_themselves_refuse_what_is_not_finite():
    x = torch.from_numpy(X)
    bad = x.clone()
    bad[0, 0] = torch.nan
    for measure in (mmd2, lambda a, b: mmd2_of(polynomial_gram(torch.zeros(x.shape[1], dtype=x.dtype)), a, b)):
        for pair in ((x, bad), (bad, x)):
            with pytest.raises(UserError, match="not finite"):
                measure(*pair)
        assert measure(x.clone().requires_grad_(), x + 1).value == measure(x, x + 1).value
    with pytest.raises(UserError, match="overflows"):
        mmd2_of(polynomial_gram(torch.zeros(x.shape[1], dtype=x.dtype)), 1e120 * x, x)


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Exit code, JSON object (None where nothing is printed) and standard error of a command in a folder of files."""
    monkeypatch.chdir(tmp_path)
    for name, array in {
        "levels": LEVELS, "others": LEVELS[::-1] // 2, "plain": LEVELS[:, 0], "last": LEVELS.transpose(0, 2, 3, 1),
        "unit": LEVELS / 255, "bits": LEVELS // 128, "black": LEVELS * 0,
        "flat": LEVELS.reshape(40, -1), "flat_unit": LEVELS.reshape(40, -1) / 255, "codes": X,
    }.items():  # fmt: skip
        np.save(f"{name}.npy", array)
    (tmp_path / "folder").mkdir()
    for number, image in enumerate(LEVELS):
        Image.fromarray(image[0]).save(tmp_path / "folder" / f"x_{number:02}.png")

    def ends(words):
        code, out, err = call(lambda: run_main(main), monkeypatch, capsys, *words.split(), "--json")
        assert (code == 0) == bool(out)
        return code, json.loads(out) if out else None, err

    return ends


@pytest.mark.parametrize("source", ["levels.npy", "plain.npy", "last.npy", "unit.npy", "folder", "digits:test"])
@pytest.mark.parametrize("command", ["fid", "kid", "mmd"])
def test_images_are_no_features(run, command, source):
    for words in (f"--real {source} --generated flat.npy", f"--real flat.npy --generated {source}"):
        code, _, err = run(f"{command} {words}")
        assert code == 2
        assert err.count("\n") == 1
        assert f"{source} holds images" in err
        assert "--features pixels" in err


def test_images_are_no_features_of_kept_statistics(run, tmp_path):
    code, _, err = run("stats --images levels.npy --out S.npz")
    assert (code, "--features pixels" in err) == (2, True)
    assert not (tmp_path / "S.npz").exists()


def test_pixels_are_levels_over_255_however_the_images_lie(run):
    as_given = {kind: LEVELS.reshape(40, -1) / 255 for kind in ("levels.npy", "plain.npy", "last.npy", "folder")}
    other = (LEVELS[::-1] // 2).reshape(40, -1) / 255
    for source, x in as_given.items():
        code, found, err = run(f"kid --real {source} --generated others.npy --features pixels")
        assert (code, err) == (0, "")
        expected = metrics.kid(metrics.as_features(x.astype(np.float32)), metrics.as_features(other.astype(np.float32)))
        assert found["kid"]["value"] == pytest.approx(expected.value, rel=1e-6)
        assert found["kid"]["name"] == "kid[pixels,resize=none,ref=train,n=40]"
    assert Pixels()(torch.tensor([[[[0, 51, 255]]]], dtype=torch.uint8)).tolist() == [[0, pytest.approx(0.2), 1]]


def test_statistics_of_pixels_are_kept_by_that_name(run):
    assert run("stats --images levels.npy --out S.npz --features pixels")[1]["extractor"] == "pixels"
    words = "--real S.npz --generated others.npy --force"
    found = run(f"fid {words} --features pixels")[1]["fid"]
    both = run("fid --real levels.npy --generated others.npy --force --features pixels")[1]["fid"]
    assert found["value"] == pytest.approx(both["value"])
    assert found["value"] < 36  # at most 1 for each of the 36 pixels, where levels gave hundreds of thousands
    code, _, err = run("fid --real S.npz --generated flat.npy --force")
    assert (code, "take the same --features" in err) == (2, True)


@pytest.mark.parametrize("command", ["fid", "kid", "mmd"])
def test_images_of_two_ranges_are_refused(run, command):
    for real, generated, low in (("levels", "bits", "--generated"), ("bits", "levels", "--real")):
        code, _, err = run(f"{command} --real {real}.npy --generated {generated}.npy --features pixels --force")
        assert code == 2
        assert f"{low} has values 0 .. 1" in err
        assert f"multiply those of {low} by 255" in err
    code, _, err = run(f"{command} --real levels.npy --generated unit.npy --features pixels --force")
    assert (code, "multiply them by 255 and round" in err) == (2, True)
    # A black sample is a sample, and two sets of bits are of one range, of which the user is warned.
    assert run(f"{command} --real levels.npy --generated black.npy --features pixels --force")[0] == 0
    code, _, err = run(f"{command} --real bits.npy --generated bits.npy --features pixels --force")
    assert (code, err.count("has no level above 1")) == (0, 2)


def test_features_of_two_ranges_are_said(run):
    code, _, err = run("kid --real flat.npy --generated flat_unit.npy")
    assert code == 0
    assert err.startswith("warning: --generated has values 0 .. 1 and --real 0 .. 255")
    assert run("kid --real codes.npy --generated codes.npy")[2] == ""
    assert run("kid --real flat.npy --generated flat.npy")[2] == ""


def test_factors_may_be_names_of_classes(tmp_path, monkeypatch, capsys):
    names = np.array(["NA", "cat", "007"])[np.arange(60) % 3]
    np.save(tmp_path / "names.npy", names)
    assert np.array_equal(read_factors(str(tmp_path / "names.npy"), tmp_path), names)
    codes = np.random.default_rng(0).normal(size=(60, 2)) + (np.arange(60) % 3)[:, None]
    numbers = np.unique(names, return_inverse=True)[1]
    assert metrics.mig(codes, names).value == metrics.mig(codes, numbers).value
