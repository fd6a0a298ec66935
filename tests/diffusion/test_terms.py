"""`python -m diffusion.terms`: the data terms on one's own array."""

import json
import math

import numpy as np
import pytest
import torch

from infolab import bound
from infolab.noise import generator
from infolab.schedules import VP


def run(arguments, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["terms", *arguments])
    bound.main()
    return capsys.readouterr().out


def test_terms_of_an_array(tmp_path, capsys, monkeypatch):
    x = np.random.default_rng(0).normal(size=(300, 3, 2))
    np.save(tmp_path / "x.npy", x)
    out = json.loads(run(["--data", str(tmp_path / "x.npy"), "--T", "0.3", "--json"], capsys, monkeypatch))
    assert {"term1_nats", "mi_nats", "term2", "kl_prior_nats", "m", "d"} <= out.keys()
    assert (out["m"], out["d"]) == (300, 6)
    alpha2 = float(VP().at(torch.tensor(0.3, dtype=torch.float64)).alpha) ** 2
    kl = 0.5 * (alpha2 * (x.reshape(300, 6) ** 2).sum(1) - 6 * alpha2 - 6 * math.log1p(-alpha2))
    assert out["term2"]["value"] == pytest.approx(np.sqrt(kl).mean(), rel=1e-6)
    assert out["term1_nats"]["value"] == -out["mi_nats"]["value"]
    assert out["kl_prior_nats"]["value"] == pytest.approx(kl.mean() - out["mi_nats"]["value"], rel=1e-6)
    assert 0 < out["mi_nats"]["value"] < math.log(300)
    assert 0 < out["mi_nats"]["se"] < 0.1


def test_prior_gap_of_gaussian_data_tends_to_its_closed_form():
    # The noised empirical measure of many 1-D Gaussian points tends to N(0, alpha^2 v + sigma^2).
    v, T = 2.0, 0.6
    x = torch.randn(4000, 1, generator=generator(0, "x"), dtype=torch.float64) * math.sqrt(v)
    x = (x - x.mean()) / x.std() * math.sqrt(v)
    found = bound.data_terms(x, T, VP(), outer=0, draws=8, seed=0)
    level = VP().at(torch.tensor(T, dtype=torch.float64))
    end = float(level.alpha**2 * v + level.sigma**2)
    truth = 0.5 * (end - 1 - math.log(end))
    assert abs(found["kl_prior_nats"]["value"] - truth) < 4 * found["kl_prior_nats"]["se"] + 2e-3


def test_registered_names(capsys, monkeypatch):
    out = run(["--data", "digits", "--T", "0.4", "--outer", "100"], capsys, monkeypatch)
    assert "term1_nats" in out
    assert "1437" in out


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"not an array", "readable"), (np.array([[1.0, np.nan], [0, 0]]), "finite"), (np.array(["a", "b"]), "numbers")],
)
def test_bad_files_are_one_sentence(tmp_path, content, said, capsys, monkeypatch):
    path = tmp_path / "x.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.save(path, content)
    with pytest.raises(SystemExit) as stop:
        run(["--data", str(path)], capsys, monkeypatch)
    assert stop.value.code == 2
    assert said in capsys.readouterr().err


def test_whole_numbers_of_any_size_are_told_apart(tmp_path, capsys, monkeypatch):
    found = []
    for offset in (0, 200_000_000):
        np.save(tmp_path / "x.npy", offset + np.arange(200)[:, None] % 5)
        found.append(json.loads(run(["--data", str(tmp_path / "x.npy"), "--T", "0.01", "--json"], capsys, monkeypatch)))
    assert found[1]["mi_nats"]["value"] == pytest.approx(found[0]["mi_nats"]["value"], rel=1e-6)


@pytest.mark.parametrize(
    "arguments", [["--data", "nowhere"], ["--data", "x.npy"], [], ["--data", "digits", "--T", "0"]]
)
def test_bad_options_exit_with_2(arguments, capsys, monkeypatch):
    with pytest.raises(SystemExit) as stop:
        run(arguments, capsys, monkeypatch)
    assert stop.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1


def test_copies_of_a_point_count_once_at_any_scale():
    """Four points at two places: ln 2; eight atoms, each twice: ln 8; of units in which squares cancel all digits."""
    pairs = torch.tensor([[0.0], [0.0], [1e8], [1e8]], dtype=torch.float64)
    atoms = torch.randn(8, 3, generator=generator(0, "atoms"), dtype=torch.float64).repeat(2, 1)
    for x, truth in ((pairs, math.log(2)), (1e8 * atoms, math.log(8)), (1e8 * (atoms + 1e3), math.log(8))):
        found = bound.data_terms(x, 0.01, VP(), outer=0, draws=4, seed=0)
        assert found["mi_nats"]["value"] == pytest.approx(truth, abs=1e-9)
        assert found["mi_nats"]["se"] < 1e-9
