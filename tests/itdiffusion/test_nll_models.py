"""`python -m itdiffusion.nll` and what a user's function may do: write into its input, return something else, fail far
out; the NLL of each example, the paired difference of two models, and the ODE."""

import json
import math
import sys

import numpy as np
import pytest
import torch

from infolab import nll
from infolab.exact import mixture_denoiser
from infolab.immse import (
    GaussianReference,
    LogsnrRange,
    continuous_nll,
    make_grid,
    measure_curve,
    nll_by_example,
    paired_difference,
)
from infolab.immse.curve import empty_curve
from infolab.mixture import GaussianMixture
from infolab.noise import generator

LAW = GaussianMixture(torch.ones(2), torch.tensor([[-1.5, 0.0], [1.5, 0.0]]), 0.25)
MODULE = """
import torch
from infolab.mixture import GaussianMixture

LAW = GaussianMixture(torch.ones(2), torch.tensor([[-1.5, 0.0], [1.5, 0.0]]), 0.25)
ATOMS = GaussianMixture(torch.ones(2), torch.tensor([[-1.0, 0.0], [1.0, 0.0]]), 0.0)


def scales(logsnr):
    return torch.sigmoid(logsnr).sqrt()[:, None], torch.sigmoid(-logsnr).sqrt()[:, None]


def eps(z, logsnr):
    return LAW.eps_hat(z, logsnr)


def minus(z, logsnr):
    return -eps(z, logsnr)


def x0(z, logsnr):
    alpha, sigma = scales(logsnr)
    return (z - sigma * eps(z, logsnr)) / alpha


def v(z, logsnr):
    alpha, sigma = scales(logsnr)
    return alpha * eps(z, logsnr) - sigma * x0(z, logsnr)


def minus_v(z, logsnr):
    return -v(z, logsnr)


def score(z, logsnr):
    return -eps(z, logsnr) / scales(logsnr)[1]


def in_place(z, logsnr):
    found = eps(z, logsnr)
    z.mul_(0).add_(7)
    logsnr.zero_()
    return found


def in_place_by_numpy(z, logsnr):
    found = eps(z, logsnr)
    z.numpy()[:] = 7
    return found


def bad_far_out(z, logsnr):
    return eps(z, logsnr) + torch.sigmoid(3 * (logsnr[:, None] - 5))


def half(z, logsnr):
    return 0.8 * eps(z, logsnr)


def frozen(z, logsnr):
    with torch.no_grad():
        return eps(z, logsnr)


def atoms(z, logsnr):
    return ATOMS.eps_hat(z, logsnr)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    (tmp_path / "my_models.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", LAW.sample(400, generator(0, "x")).numpy())
    np.save("y.npy", LAW.sample(2000, generator(1, "x")).numpy())
    yield tmp_path
    sys.modules.pop("my_models", None)


@pytest.fixture
def run(capsys, monkeypatch):
    def call(words):
        monkeypatch.setattr("sys.argv", ["nll", *words.split(), "--json"])
        nll.main()
        printed = capsys.readouterr()
        return json.loads(printed.out), printed.err

    return call


def exact() -> np.ndarray:
    return -LAW.log_prob(torch.from_numpy(np.load("x.npy"))).numpy()


def near(found: dict, truth: float) -> bool:
    return abs(found["value"] - truth) < 4 * found["se"] + found.get("tail", 0.0) + 1e-3


DATA = "--data x.npy --reference y.npy --points 40"


@pytest.mark.parametrize("name", ["in_place", "in_place_by_numpy"])
def test_a_function_that_writes_into_its_input_changes_nothing(run, name):
    expected, _ = run(f"--denoiser my_models:eps {DATA}")
    found, said = run(f"--denoiser my_models:{name} {DATA}")
    assert found["nll_nats"] == expected["nll_nats"]
    assert said == ""


@pytest.mark.parametrize(
    ("name", "reading"),
    [("minus", "-eps"), ("x0", "x0"), ("v", "v"), ("minus_v", "-v"), ("score", "score")],
)
def test_another_output_than_eps_hat_is_named(run, name, reading):
    found, said = run(f"--denoiser my_models:{name} {DATA}")
    assert said.count("it seems to return") == 1, found["nll_nats"]
    assert f"it seems to return {reading} (--predicts={reading})" in said
    right, said = run(f"--denoiser my_models:{name} --predicts={reading} {DATA}")
    assert said == ""
    assert near(right["nll_nats"], exact().mean())


@pytest.mark.parametrize("name", ["eps", "half", "bad_far_out"])
def test_eps_hat_good_or_bad_is_not_suspected(run, name):
    assert "seems to return" not in run(f"--denoiser my_models:{name} {DATA}")[1]


def test_the_models_own_nll_and_the_best_of_it_and_the_gaussian_are_two_numbers(run):
    truth = exact().mean()
    found, said = run(f"--denoiser my_models:bad_far_out {DATA}")
    assert "at the high end" in said
    assert "worse than the Gaussian" in found["logsnr_high_because"]
    assert found["logsnr_low_because"].startswith("beyond it the model and the Gaussian differ")
    # From log-SNR 5 to the end of the range the error is 2 larger, of which half is in the NLL.
    excess = found["logsnr_high"] - 5
    assert abs(found["nll_nats"]["value"] - truth - excess) < 4 * found["nll_nats"]["se"] + 0.1 * excess
    assert near(found["best_nats"], truth)
    good, said = run(f"--denoiser my_models:eps {DATA}")
    assert said == ""
    assert near(good["nll_nats"], truth)
    assert near(good["best_nats"], truth)


def test_the_nll_of_each_example(run):
    found, _ = run(f"--denoiser my_models:eps {DATA} --per-example each.npy")
    each = np.load("each.npy")
    assert (each.shape, each.dtype) == ((400,), np.float64)
    assert each.mean() == pytest.approx(found["nll_nats"]["value"], abs=1e-9)
    assert np.corrcoef(each, exact())[0, 1] > 0.8
    mean_apart, apart = (each - exact()).mean(), (each - exact()).std(ddof=1)
    assert abs(mean_apart) < 4 * apart / 20 + found["nll_nats"]["tail"]


@pytest.mark.parametrize("n", [2, 3])
def test_few_examples_have_the_models_own_number(run, n):
    found, _ = run(f"--denoiser my_models:eps {DATA} --n {n}")
    assert math.isfinite(found["nll_nats"]["value"])
    assert found["best_nats"] is None


def test_the_mass_of_each_example(run, folder):
    signs = torch.randint(2, (301,), generator=generator(2)) * 2 - 1
    np.save("signs.npy", torch.stack([signs, torch.zeros_like(signs)], 1).numpy())
    found, _ = run("--denoiser my_models:atoms --data signs.npy --discrete-step 1 --per-example each.npy")
    each = np.load("each.npy")
    assert each.shape == (301,)
    assert each.mean() == pytest.approx(found["nll_nats"]["value"], abs=1e-9)
    assert near(found["nll_nats"], math.log(2))


def test_two_models_on_the_same_noise(run):
    found, _ = run(f"--denoiser my_models:half --against my_models:eps {DATA}")
    difference = found["difference_nats"]
    assert difference["value"] == pytest.approx(found["nll_nats"]["value"] - found["against_nats"]["value"], abs=1e-9)
    assert difference["value"] > 4 * difference["se"] > 0
    assert difference["se"] < 0.7 * math.hypot(found["nll_nats"]["se"], found["against_nats"]["se"])
    same, _ = run(f"--denoiser my_models:eps --against my_models:in_place {DATA}")
    assert same["difference_nats"] == {"value": 0.0, "se": 0.0, "se_data": 0.0, "se_quadrature": 0.0}


def test_the_paired_error_covers():
    # x ~ N(0, 1); the model N(0, 1) less the model N(0, s^2): by 1/2 (1 - 1/s^2 - log s^2) per example in the mean.
    s2, covered, tries = 1.5, 0, 60
    truth = 0.5 * (1 - 1 / s2 - math.log(s2))
    laws = [GaussianMixture(torch.ones(1), torch.zeros(1, 1), v) for v in (1.0, s2)]
    reference = GaussianReference(torch.zeros(1).double(), torch.ones(1).double(), torch.eye(1).double())
    grid = make_grid(LogsnrRange(0.0, 3.0), 40)
    for seed in range(tries):
        x = torch.randn(100, 1, generator=generator(seed, "cover"))
        curves = [measure_curve(mixture_denoiser(law), x, grid, reference, seed=seed) for law in laws]
        found = paired_difference(*curves)
        covered += abs(found.value - truth) < 1.96 * found.se + 1e-3
    # Binomial(60, 0.95): at least 51 with probability 0.999.
    assert covered >= 51


def test_examples_that_share_groups_are_refused():
    reference = GaussianReference(torch.zeros(1).double(), torch.ones(1).double(), torch.eye(1).double())
    grid, x = make_grid(LogsnrRange(0.0, 1.0), 5), torch.randn(300, 1, generator=generator(0))
    law = GaussianMixture(torch.ones(1), torch.zeros(1, 1), 1.0)
    with pytest.raises(Exception, match="a group for each example"):
        nll_by_example(measure_curve(mixture_denoiser(law), x, grid, reference))
    curve = empty_curve(grid, reference, None, ["raw"], 300)
    apart = measure_curve(mixture_denoiser(law), x, grid, reference, so_far=curve)
    assert float(nll_by_example(apart).mean()) == pytest.approx(continuous_nll(apart).value)


def test_the_ode(run):
    found, said = run("--denoiser my_models:eps --data x.npy --reference y.npy --estimator ode --per-example each.npy")
    assert said == ""
    # Solver tolerance 1e-4, and e^-6 or less of the data's smallest variance as noise at either end.
    np.testing.assert_allclose(np.load("each.npy"), exact(), atol=0.02)
    assert found["nll_nats"]["value"] == pytest.approx(exact().mean(), abs=5e-3)
    assert found["nll_nats"]["se"] == pytest.approx(exact().std(ddof=1) / 20, rel=0.02)


def test_another_origin_changes_nothing_of_the_ode(run, folder):
    (folder / "my_far.py").write_text(
        "import torch\nfrom my_models import LAW\n\nFAR = 1e4\n\n\ndef far(z, logsnr):\n"
        "    alpha = torch.sigmoid(logsnr).sqrt()[:, None]\n    return LAW.eps_hat(z - alpha * FAR, logsnr)\n"
    )
    np.save("far.npy", np.load("x.npy").astype(np.float64) + 1e4)
    np.save("far_y.npy", np.load("y.npy").astype(np.float64) + 1e4)
    near_0, _ = run("--denoiser my_models:eps --data x.npy --reference y.npy --estimator ode --n 100")
    far, _ = run("--denoiser my_far:far --data far.npy --reference far_y.npy --estimator ode --n 100")
    sys.modules.pop("my_far")
    assert far["nll_nats"]["value"] == pytest.approx(near_0["nll_nats"]["value"], abs=2e-3)


def test_the_ode_names_a_wrong_convention_too(run):
    said = run("--denoiser my_models:x0 --data x.npy --reference y.npy --estimator ode --n 50")[1]
    assert "it seems to return x0" in said


def test_a_prediction_with_a_minus_may_be_typed_in_two_words(run):
    found, said = run(f"--denoiser my_models:minus --predicts -eps {DATA}")
    assert said == ""
    assert near(found["nll_nats"], exact().mean())


def test_a_model_worse_than_the_gaussian_is_said_to_be(run):
    assert "the model is worse than the Gaussian of the data" in run(f"--denoiser my_models:half {DATA}")[1]


def test_the_ode_of_discrete_data_is_a_bound(run):
    signs = torch.randint(2, (100,), generator=generator(2)) * 2 - 1
    np.save("signs.npy", torch.stack([signs, signs], 1).numpy())
    found, _ = run("--denoiser my_models:eps --data signs.npy --discrete-step 1 --estimator ode")
    assert found["estimand"].startswith("E[-log P(x)], bounded by dequantisation")
    assert found["nll_nats"]["value"] > math.log(2)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--denoiser my_models:frozen --estimator ode", "no gradient"),
        ("--denoiser my_models:eps --store x.npy", "--store x.npy is what is read"),
        ("--denoiser my_models:eps --per-example ./y.npy", "is what is read"),
        ("--denoiser my_models:eps --per-example each.csv", "ends in .npy"),
        ("--denoiser my_models:eps --estimator ode --against my_models:half", "goes with --estimator i-mmse"),
        ("--denoiser my_models:eps --against nowhere", "nowhere"),
    ],
)
def test_what_does_not_go_together(folder, words, said, capsys, monkeypatch):
    before = {path.name: path.read_bytes() for path in folder.glob("*.npy")}
    monkeypatch.setattr("sys.argv", ["nll", *words.split(), "--data", "x.npy", "--reference", "y.npy"])
    with pytest.raises(SystemExit) as stop:
        nll.main()
    captured = capsys.readouterr()
    assert (stop.value.code, captured.out, captured.err.count("\n")) == (2, "", 1)
    assert said in captured.err
    assert {path.name: path.read_bytes() for path in folder.glob("*.npy")} == before


def test_values_that_no_float_could_hold_as_fractions_are_not_called_whole(run):
    np.save("x.npy", np.load("x.npy") * 1e12)
    np.save("y.npy", np.load("y.npy") * 1e12)
    assert "whole numbers" not in run(f"--denoiser my_models:half {DATA} --no-widen --points 10")[1]


def test_more_dimensions_than_sobols_sequence_has_and_sixteen_bits_a_value(run, folder):
    (folder / "my_normal.py").write_text(
        "import torch\n\ndef normal(z, logsnr):\n    return torch.sigmoid(-logsnr).sqrt()[:, None] * z\n\n"
        "def uniform(z, logsnr):\n    v = 65536.0**2 / 12\n    a, s = torch.sigmoid(logsnr), torch.sigmoid(-logsnr)\n"
        "    return (s.sqrt() / (a * v + s))[:, None] * (z - a.sqrt()[:, None] * 32767.5)\n"
    )
    d = 25_000
    np.save("wide.npy", torch.randn(12, d, generator=generator(4)).numpy())
    np.save("fit.npy", torch.randn(40, d, generator=generator(5)).numpy())
    found, _ = run("--denoiser my_normal:normal --data wide.npy --reference fit.npy --diagonal --points 12 --no-widen")
    sys.modules.pop("my_normal")
    assert found["d"] == d
    truth = 0.5 * (np.load("wide.npy").astype(float) ** 2).sum(1).mean() + 0.5 * d * math.log(2 * math.pi)
    # 12 points are few: what matters is that the range of the spectrum is covered, to a hundredth of a nat a dimension.
    assert abs(found["nll_nats"]["value"] - truth) < 4 * found["nll_nats"]["se"] + 0.02 * d
    levels = torch.randint(65_536, (200, 1), generator=generator(6))
    np.save("levels.npy", levels.numpy().astype(np.int64))
    found, _ = run("--denoiser my_normal:uniform --data levels.npy --discrete-step 1 --points 12")
    # At least log 65,536 but for noise, and by no more than the shape factor of a Gaussian, 1/2 log(pi e / 6) = 0.18.
    excess = found["nll_nats"]["value"] - math.log(65_536)
    assert -4 * found["nll_nats"]["se"] < excess < 0.18 + 4 * found["nll_nats"]["se"] + 0.1


FLOW = """
import torch
from infolab.mixture import GaussianMixture

LAW = GaussianMixture(torch.ones(2), torch.tensor([[-1.5, 0.0], [1.5, 0.0]]), 0.25)


def parts(x_t, alpha, sigma):
    c = torch.hypot(alpha, sigma)[:, None]
    eps = LAW.eps_hat(x_t / c, 2 * (alpha / sigma).log())
    return (x_t - sigma[:, None] * eps) / alpha[:, None], eps


def velocity(x_t, t):
    x0, eps = parts(x_t, 1 - t, t)
    return eps - x0


def velocity_noise_first(x_t, t):
    x0, eps = parts(x_t, t, 1 - t)
    return x0 - eps


def edm(x_t, sigma):
    return parts(x_t, torch.ones_like(sigma), sigma)[0]


def cosine_v(x_t, t):
    alpha, sigma = torch.cos(t * torch.pi / 2), torch.sin(t * torch.pi / 2)
    x0, eps = parts(x_t, alpha, sigma)
    return alpha[:, None] * eps - sigma[:, None] * x0
"""


@pytest.mark.parametrize(
    ("name", "flags"),
    [
        ("velocity", "--predicts flow --schedule flow"),
        ("velocity_noise_first", "--predicts flow --schedule flow-noise-first"),
        ("edm", "--predicts edm --schedule edm"),
        ("cosine_v", "--predicts v --schedule cosine"),
    ],
)
def test_a_model_in_its_own_convention(run, folder, name, flags):
    (folder / "my_flows.py").write_text(FLOW)
    expected, _ = run(f"--denoiser my_models:eps {DATA}")
    found, said = run(f"--denoiser my_flows:{name} {flags} {DATA}")
    assert said == ""
    # float32 at log-SNRs up to 12, where x0_hat gives eps_hat to 6e-8 e^6.
    assert found["nll_nats"]["value"] == pytest.approx(expected["nll_nats"]["value"], abs=2e-3)
    told_wrongly = flags.replace("flow ", "-flow ", 1) if "flow " in flags else flags.replace("edm ", "eps ", 1)
    if name != "cosine_v":
        said = run(f"--denoiser my_flows:{name} {told_wrongly.replace('--predicts ', '--predicts=')} {DATA}")[1]
        assert "it seems to return" in said
    sys.modules.pop("my_flows")
