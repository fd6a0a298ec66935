"""`python -m scoregen.kl` on a user's own score, good and bad."""

import json
import math
import sys

import numpy as np
import pytest
import torch

from infolab import kl
from infolab.denoise import Denoiser
from infolab.mixture import GaussianMixture
from infolab.schedules import VP

SCORES = """
import torch

def level(t):
    alpha = torch.exp(-(0.1 * t + 19.9 * t * t / 2) / 2)[:, None]
    return alpha, 1 - alpha**2

def scaled(x, t):  # of N(0.4, 1.3^2), noised
    alpha, variance = level(t)
    return -(x - 0.4 * alpha) / (1.69 * alpha**2 + variance)

def two(x, t):  # of 0.5 N(-2, 1) + 0.5 N(2, 1), noised
    alpha, _ = level(t)
    return -x + 2 * alpha * torch.tanh(2 * alpha * x)

def detached(x, t): return scaled(x, t).detach()
def flat(x, t): return scaled(x, t)[:, 0]
def numbers(x, t): return 3.0
def fails(x, t): return x @ x
def wild(x, t): return x * 1e6
"""


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """Run the command in a folder with the module `my_scores_of_kl` and modes.npy."""
    (tmp_path / "my_scores_of_kl.py").write_text(SCORES)
    np.save(tmp_path / "modes.npy", np.array([-2.0, 2.0]))
    np.save(tmp_path / "zero.npy", np.array([[0.0]]))
    np.save(tmp_path / "plane.npy", np.zeros((2, 2)))
    np.save(tmp_path / "weights.npy", np.array([3.0, 1.0]))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["kl.py", *words])
        code = 0
        try:
            kl.main()
        except SystemExit as stop:
            code = stop.code
        out = capsys.readouterr()
        return code, out.out, out.err

    return run


def kl_of_normals(mean, std):
    return math.log(std) + (1 + mean**2) / (2 * std**2) - 0.5


def test_a_gaussian_score_gives_the_closed_form(call):
    code, out, err = call("--score", "my_scores_of_kl:scaled", "--modes", "zero.npy", "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    alpha = math.exp(-(0.1 + 19.9 / 2) / 2)  # the model starts from N(0, 1), not from the noised law
    ratio = 1.3 / math.sqrt(1.69 * alpha**2 + 1 - alpha**2)
    assert found["kl_nats"]["value"] == pytest.approx(kl_of_normals(0.4 - ratio * alpha * 0.4, ratio), abs=1e-5)
    assert found["kl_nats"]["value"] == pytest.approx(kl_of_normals(0.4, 1.3), abs=2e-3)
    assert found["normalisation"] == pytest.approx(1, abs=1e-4)
    assert found["mass"] == pytest.approx(1, abs=1e-4)
    assert found["kl_nats"]["se_quadrature"] < 1e-4


def test_the_exact_score_of_a_mixture_gives_zero(call):
    code, out, _ = call("--score", "my_scores_of_kl:two", "--modes", "modes.npy", "--json")
    assert code == 0
    assert abs(json.loads(out)["kl_nats"]["value"]) < 1e-4


def test_weights_are_taken(call):
    code, out, _ = call("--score", "my_scores_of_kl:two", "--modes", "modes.npy", "--weights", "weights.npy")
    assert code == 0
    weights, means = torch.tensor([0.75, 0.25]), torch.tensor([[-2.0], [2.0]])
    x = torch.linspace(-12, 12, 4001, dtype=torch.float64)[:, None]
    p, q = (GaussianMixture(w, means, 1.0).log_prob(x) for w in (weights, torch.ones(2)))
    truth = float(torch.trapezoid(p.exp() * (p - q), x[:, 0]))
    assert float(out.split()[1]) == pytest.approx(truth, abs=2e-3)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "--score is missing"),
        (["--score", "my_scores_of_kl:two"], "--modes is missing"),
        (["--score", "my_scores_of_kl", "--modes", "modes.npy"], "expected module:function"),
        (["--score", "my_scores_of_kl:none", "--modes", "modes.npy"], "cannot be imported"),
        (["--score", "my_scores_of_kl:two", "--modes", "lost.npy"], "there is no file 'lost.npy'"),
        (["--score", "my_scores_of_kl:two", "--modes", "plane.npy"], "expected the means of 1-D modes"),
        (["--score", "my_scores_of_kl:two", "--modes", "zero.npy", "--weights", "weights.npy"], "expected (k,)"),
        (["--score", "my_scores_of_kl:two", "--modes", "modes.npy", "--std", "0"], "--std and --T must be positive"),
        (["--score", "my_scores_of_kl:detached", "--modes", "modes.npy"], "has no gradient in x"),
        (["--score", "my_scores_of_kl:flat", "--modes", "modes.npy"], "expected a tensor of x's shape"),
        (["--score", "my_scores_of_kl:numbers", "--modes", "modes.npy"], "expected a tensor of x's shape"),
        (["--score", "my_scores_of_kl:fails", "--modes", "modes.npy"], "failed (RuntimeError"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(call, words, expected):
    code, out, err = call(*words)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert expected in err


def test_a_flow_that_overflows_is_exit_code_3(call):
    code, _, err = call("--score", "my_scores_of_kl:wild", "--modes", "modes.npy")
    assert code == 3
    assert "the probability flow is not finite" in err


def test_the_error_covers_what_fewer_steps_would_change():
    def score(x, t):
        alpha, _ = (VP().at(t).alpha[:, None], None)
        return -x + 6 * alpha * torch.tanh(6 * alpha * x)

    law = GaussianMixture(torch.ones(2), torch.tensor([[-6.0], [6.0]]), 1.0)
    few, many = (
        kl.kl_to_mixture(Denoiser.of_score(score, VP()), law, VP(), steps=steps)["kl_nats"] for steps in (24, 200)
    )
    assert abs(few["value"] - many["value"]) <= few["se_quadrature"] + many["se_quadrature"]


def test_a_large_problem_says_its_cost_and_its_progress_before_it_begins(monkeypatch, capsys):
    """Modes at 0 and 255 of standard deviation 0.01: 4 x 114,750 x 127,581 evaluations, which would take hours."""

    class BegunError(Exception):
        pass

    def score(x, t):
        raise BegunError

    law = GaussianMixture(torch.ones(2), torch.tensor([[0.0], [255.0]]), 0.01**2)
    with pytest.raises(BegunError):
        kl.kl_to_mixture(Denoiser.of_score(score, VP(0.1, 20.0)), law, VP(0.1, 20.0))
    assert "127,581 grid points" in (said := capsys.readouterr().err)
    assert "114,750 steps" in said
    assert "5.9e+10 evaluations" in said
    ticks = []
    monkeypatch.setattr(kl.Progress, "update", lambda self, done, note="": ticks.append(done))
    small = GaussianMixture(torch.ones(1), torch.zeros(1, 1), 1.0)
    kl.kl_to_mixture(Denoiser.of_score(lambda x, t: -x, VP(0.1, 20.0)), small, VP(0.1, 20.0), steps=8)
    assert ticks == list(range(1, 13))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("unit", [0.1, pytest.param(1e-3, marks=pytest.mark.slow)])
def test_narrow_modes_are_resolved(unit):
    """KL(p0 || p_theta) of the exact score is KL(p_T || N(0, 1)), 3e-9 nats for modes this near 0."""
    law = GaussianMixture(torch.ones(2), torch.tensor([[-2.0], [1.0]], dtype=torch.float64) * unit, (0.7 * unit) ** 2)
    level = VP().at

    def score(x, t):
        return law.score_at(x, level(t).alpha, level(t).sigma)

    found = kl.kl_to_mixture(Denoiser.of_score(score, VP()), law, VP())
    assert abs(found["kl_nats"]["value"]) < 2 * found["kl_nats"]["se_quadrature"] < 1e-4
    assert found["normalisation"] == pytest.approx(1, abs=1e-5)
