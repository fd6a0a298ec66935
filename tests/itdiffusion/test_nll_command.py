"""`python -m itdiffusion.nll`: one's own denoiser on one's own array."""

import json
import math
import re
import sys

import numpy as np
import pytest
import torch

from infolab import nll
from infolab.errors import UserError
from infolab.mixture import GaussianMixture
from infolab.noise import generator

MODULE = """
import torch
from infolab.mixture import GaussianMixture

POINTS = GaussianMixture(torch.ones(2), torch.tensor([[-1.0, 0.0], [1.0, 0.0]]), 0.0)
TEN = GaussianMixture(torch.ones(10), torch.arange(10.0)[:, None], 0.0)
MODES = GaussianMixture(torch.ones(2), torch.tensor([[-3.0, 0.0], [3.0, 0.0]]), 0.25)


def points(z, logsnr):
    return POINTS.eps_hat(z, logsnr)


def modes(z, logsnr):
    assert z.dtype == logsnr.dtype == torch.float32 and logsnr.shape == z.shape[:1]
    return MODES.eps_hat(z, logsnr)


def ten(z, logsnr):
    return TEN.eps_hat(z, logsnr)


def ten_and_a_normal(z, logsnr):
    normal = torch.sigmoid(-logsnr).sqrt()[:, None] * z[:, 1:]
    return torch.cat([TEN.eps_hat(z[:, :1], logsnr), normal], 1)


def blurred(z, logsnr):
    law = GaussianMixture(torch.ones(10), torch.arange(10.0)[:, None], 0.25)
    return law.eps_hat(z, logsnr)


def poor(z, logsnr):
    return 0.5 * MODES.eps_hat(z, logsnr) + 0.3 * torch.sin(40 * z)


def far_out(z, logsnr):
    law = GaussianMixture(torch.ones(2), torch.tensor([[1e6 - 100.0], [1e6 + 100.0]]).double(), 1.0)
    return law.eps_hat(z.double(), logsnr.double()).float()


def near_only(z, logsnr):
    return torch.where(logsnr[:, None] < 15, MODES.eps_hat(z, logsnr), torch.nan)


def images(z, logsnr):
    return torch.zeros_like(z)


not_a_function = 3
"""

BITS = """
import torch
from infolab.mixture import GaussianMixture

FOUR = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])


def bits(z, logsnr):
    points = torch.cat([FOUR, torch.full((4, z.shape[1] - 2), 3.0)], 1)
    return GaussianMixture(torch.ones(4), points, 0.0).eps_hat(z, logsnr)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "my_denoiser.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    law = GaussianMixture(torch.ones(2), torch.tensor([[-3.0, 0.0], [3.0, 0.0]]), 0.25)
    np.save(tmp_path / "x.npy", law.sample(300, generator(0, "x")).numpy())
    np.save(tmp_path / "y.npy", law.sample(500, generator(1, "x")).numpy())
    signs = torch.randint(2, (200,), generator=generator(2)) * 2 - 1
    np.save(tmp_path / "signs.npy", torch.stack([signs, torch.zeros_like(signs)], 1).numpy())
    yield tmp_path
    sys.modules.pop("my_denoiser", None)


def run(arguments, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["nll", *arguments])
    nll.main()
    return capsys.readouterr()


def refused(flags, capsys, monkeypatch):
    """The one sentence with which flags are refused, on standard error, with exit code 2 and nothing printed."""
    with pytest.raises(SystemExit) as stop:
        run(flags.split(), capsys, monkeypatch)
    captured = capsys.readouterr()
    assert (stop.value.code, captured.out, captured.err.count("\n")) == (2, "", 1)
    return captured.err


def test_a_density(folder, capsys, monkeypatch):
    flags = "--denoiser my_denoiser:modes --data x.npy --reference y.npy --points 40 --json"
    printed = run(flags.split(), capsys, monkeypatch)
    out = json.loads(printed.out)
    assert printed.err == ""
    law = GaussianMixture(torch.ones(2), torch.tensor([[-3.0, 0.0], [3.0, 0.0]]), 0.25)
    truth = math.log(2) + math.log(2 * math.pi * math.e * 0.25)
    found = out["nll_nats"]
    assert abs(found["value"] - truth) < 4 * found["se"] + found["tail"] + 1e-3
    assert found["se"] == pytest.approx(math.hypot(found["se_data"], found["se_quadrature"]))
    assert out["nll_bpd"]["value"] == pytest.approx(found["value"] / (2 * math.log(2)))
    assert (out["n"], out["d"]) == (300, 2)
    assert out["evaluations"] > 300 * 40
    assert out["estimand"] == "E[-log p(x)], a density"
    gaussian = torch.distributions.MultivariateNormal(torch.zeros(2, dtype=torch.float64), law.cov())
    exact = -gaussian.log_prob(torch.from_numpy(np.load("x.npy"))).mean()
    assert abs(out["reference_nats"]["value"] - float(exact)) < 0.1


def test_data_that_single_precision_would_blur_stays_double(folder, capsys, monkeypatch):
    (folder / "away.py").write_text(
        "import torch\nimport my_denoiser\n\n\ndef modes(z, logsnr):\n"
        "    assert z.dtype == logsnr.dtype == torch.float64\n"
        "    return my_denoiser.MODES.eps_hat(z - 1e6 * logsnr.sigmoid().sqrt()[:, None], logsnr)\n"
    )
    np.save(folder / "away.npy", np.load(folder / "x.npy") + 1e6)
    flags = "--points 20 --json --data"
    near = json.loads(run(f"--denoiser my_denoiser:modes {flags} x.npy".split(), capsys, monkeypatch).out)
    printed = run(f"--denoiser away:modes {flags} away.npy".split(), capsys, monkeypatch)
    # The near one is computed in float32; the warning of whole numbers is not for large values.
    assert json.loads(printed.out)["nll_nats"]["value"] == pytest.approx(near["nll_nats"]["value"], abs=1e-5)
    assert printed.err == ""
    assert "float32 blurs it" in refused("--checkpoint nowhere --data away.npy", capsys, monkeypatch)
    np.save(folder / "large.npy", (1e9 * np.load(folder / "x.npy")).astype(np.float32))
    large = run("--denoiser my_denoiser:images --data large.npy --points 5".split(), capsys, monkeypatch)
    assert "whole numbers" not in large.err


def test_a_mass_with_its_bound(folder, capsys, monkeypatch):
    flags = "--denoiser my_denoiser:points --data signs.npy --discrete-step 1 --dequantized --json --store curves.npy"
    out = json.loads(run(flags.split(), capsys, monkeypatch).out)
    found = out["nll_nats"]
    assert abs(found["value"] - math.log(2)) < 4 * found["se"] + found["tail"]
    assert out["bin_width"] == 1
    assert out["estimand"].startswith("E[-log P(x)], a mass on bins of width 1")
    assert out["dequantized_nats"]["value"] > math.log(2)
    assert np.load("curves.npy").shape == (200, 4, 100)


@pytest.fixture
def integers(folder):
    ten = torch.randint(10, (400, 1), generator=generator(3)).float()
    np.save("ten.npy", ten.numpy())
    np.save("mixed.npy", torch.cat([ten, torch.randn(400, 1, generator=generator(4))], 1).numpy())


@pytest.mark.parametrize(
    "flags",
    [
        "--denoiser my_denoiser:ten --data ten.npy",
        "--denoiser my_denoiser:ten --data ten.npy --no-widen",
        "--denoiser my_denoiser:ten_and_a_normal --data mixed.npy",
    ],
)
def test_discrete_data_has_no_density_and_no_number(integers, flags, capsys, monkeypatch):
    said = refused(flags, capsys, monkeypatch)
    assert "the data has no density" in said
    assert "--discrete-step" in said


def test_discrete_data_with_its_step_is_a_mass(integers, capsys, monkeypatch):
    flags = "--denoiser my_denoiser:ten --data ten.npy --discrete-step 1 --json"
    found = json.loads(run(flags.split(), capsys, monkeypatch).out)["nll_nats"]
    assert abs(found["value"] - math.log(10)) < 4 * found["se"] + found["tail"]


def test_a_smooth_denoiser_has_a_density_wherever_the_data_lies(integers, capsys, monkeypatch):
    flags = "--denoiser my_denoiser:blurred --data ten.npy --json"
    found = json.loads(run(flags.split(), capsys, monkeypatch).out)["nll_nats"]
    x = np.load("ten.npy")
    apart = np.square(x - np.arange(10)) / 0.25
    exact = -np.log(np.exp(-apart / 2).sum(1) / 10).mean() + 0.5 * math.log(2 * math.pi * 0.25)
    # The denoiser of another law measures the cross-entropy of that law.
    assert abs(found["value"] - exact) < 4 * found["se"] + found["tail"] + 1e-3


@pytest.mark.parametrize("name", ["poor", "near_only"])
def test_a_poor_denoiser_of_continuous_data_is_not_refused(folder, name, capsys, monkeypatch):
    flags = f"--denoiser my_denoiser:{name} --data x.npy --reference y.npy --points 20 --no-widen --json"
    found = json.loads(run(flags.split(), capsys, monkeypatch).out)["nll_nats"]
    truth = math.log(2) + math.log(2 * math.pi * math.e * 0.25)
    assert found["value"] > truth - 4 * found["se"] - found["tail"]


def test_fine_modes_far_from_zero_are_not_taken_for_atoms(folder, capsys, monkeypatch):
    signs = torch.randint(2, (300, 1), generator=generator(6)) * 2 - 1
    np.save("far.npy", (1e6 + 100 * signs + torch.randn(300, 1, generator=generator(7))).numpy())
    flags = "--denoiser my_denoiser:far_out --data far.npy --no-widen --points 10 --json"
    assert json.loads(run(flags.split(), capsys, monkeypatch).out)["n"] == 300


def test_constant_columns_add_nothing_to_a_mass(folder, capsys, monkeypatch):
    bits = torch.randint(2, (400, 2), generator=generator(5)).double()
    np.save("bits.npy", torch.cat([bits, torch.full((400, 30), 3.0)], 1).numpy())
    np.save("narrow.npy", bits.numpy())
    (folder / "my_bits.py").write_text(BITS)
    printed = {
        name: json.loads(
            run(f"--denoiser my_bits:bits --data {name}.npy --discrete-step 1 --json".split(), capsys, monkeypatch).out
        )
        for name in ("bits", "narrow")
    }
    sys.modules.pop("my_bits")
    for out in printed.values():
        found = out["nll_nats"]
        assert abs(found["value"] - 2 * math.log(2)) < 4 * found["se"] + found["tail"]
        assert out["reference_nats"]["value"] > 2 * math.log(2) - 4 * out["reference_nats"]["se"]
    wide, narrow = (printed[name]["reference_nats"]["value"] for name in ("bits", "narrow"))
    assert wide == pytest.approx(narrow, abs=1e-9)


def test_the_published_form_and_random_points(folder, capsys, monkeypatch):
    flags = "--denoiser my_denoiser:modes --data x.npy --integrator random --points 30 --loc 0 --scale 3 --no-widen"
    text = run([*flags.split(), "--no-control-variate"], capsys, monkeypatch).out
    assert "nll_nats" in text
    assert "random" in text
    assert re.search(r"logsnr_low +-12\n", text)


def test_registered_images_are_read_on_the_networks_scale(folder, capsys, monkeypatch):
    flags = "--denoiser my_denoiser:images --data digits --n 50 --points 10 --json"
    out = json.loads(run(flags.split(), capsys, monkeypatch).out)
    assert (out["n"], out["d"], out["bin_width"]) == (50, 64, 0.125)


def test_a_law_by_name_and_a_warning_where_the_range_cuts(folder, capsys, monkeypatch):
    flags = "--denoiser my_denoiser:modes --data scg --n 100 --points 10 --loc 6 --scale 0.2 --no-widen"
    printed = run(flags.split(), capsys, monkeypatch)
    assert "100" in printed.out
    narrow = "--denoiser my_denoiser:modes --data x.npy --points 10 --loc -1 --scale 0.2 --no-widen"
    assert "outside the log-SNR range" in run(narrow.split(), capsys, monkeypatch).err


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("--data x.npy", "either --denoiser"),
        ("--denoiser my_denoiser:modes --checkpoint a --data x.npy", "either --denoiser"),
        ("--denoiser my_denoiser:modes", "--data is missing"),
        ("--denoiser my_denoiser --data x.npy", "module:function"),
        ("--denoiser my_denoiser:missing --data x.npy", "cannot be imported"),
        ("--denoiser my_denoiser:not_a_function --data x.npy", "is not a function"),
        ("--denoiser my_denoiser:modes --data nowhere.npy", "there is no file"),
        ("--denoiser my_denoiser:modes --data somewhere", "unknown data"),
        ("--denoiser my_denoiser:modes --data x.npy --discrete-step 0.5", "not on the grid"),
        ("--denoiser my_denoiser:modes --data x.npy --loc 1", "go together"),
        ("--denoiser my_denoiser:modes --data x.npy --dequantized", "--discrete-step"),
        ("--denoiser my_denoiser:modes --data signs.npy", "has no density"),
        ("--denoiser my_denoiser:modes --data x.npy --n 1", "at least 2"),
        ("--denoiser my_denoiser:modes --data x.npy --points 2", "at least 3"),
        ("--denoiser my_denoiser:modes --data digits --reference y.npy", "training split"),
        ("--denoiser my_denoiser:modes --data x.npy --device abacus", "device 'abacus' is not available here"),
        ("--denoiser my_denoiser:modes --data x.npy --device cuda:99", "device 'cuda:99' is not available here"),
        ("--checkpoint a --data x.npy --device abacus", "device 'abacus' is not available here"),
    ],
)
def test_what_does_not_fit_is_one_sentence(folder, flags, said, capsys, monkeypatch):
    assert said in refused(flags, capsys, monkeypatch)


def test_shapes_must_agree(folder):
    np.save("wide.npy", np.zeros((5, 3)))
    with pytest.raises(UserError, match="one shape"):
        nll.nll_report(nll.NllConfig(denoiser="my_denoiser:modes", data="x.npy", reference="wide.npy"))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("def f(z, logsnr):\n    return z.numpy()", "returned ndarray, no torch tensor: expected eps_hat"),
        ("def f(z, logsnr):\n    return None", "returned NoneType"),
        ("def f(z):\n    return z", "takes 1 positional argument but 2 were given"),
        ("def f(z, logsnr):\n    raise KeyError('weights')", "KeyError: 'weights'"),
    ],
)
def test_what_goes_wrong_in_the_users_function_is_one_sentence(body, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.py").write_text(body)
    monkeypatch.delitem(sys.modules, "broken", raising=False)
    np.save("x.npy", np.random.default_rng(0).normal(size=(100, 2)))
    assert said in refused("--denoiser broken:f --data x.npy", capsys, monkeypatch)
