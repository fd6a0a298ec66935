import importlib
import json
import sys

import numpy as np
import pytest

from infolab.__main__ import COMMANDS, main

OLD = (
    "itdiffusion.nll",
    "itdiffusion.mi",
    "diffusion.terms",
    "scoregen.kl",
    "vae.memorization",
    "infodiffusion.metrics",
)
"""What was there before `infolab COMMAND`, and goes on."""


def call(monkeypatch, capsys, function, *words):
    monkeypatch.setattr(sys, "argv", list(words))
    try:
        function()
        code = 0
    except SystemExit as stop:
        code = stop.code or 0
    return code, *capsys.readouterr()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_its_flags_under_its_own_name(command, monkeypatch, capsys):
    code, out, _ = call(monkeypatch, capsys, main, "infolab", command, "--help")
    assert code == 0
    assert f"infolab {command}" in " ".join(out.split())
    assert "--json" in out or command == "data"  # which has it behind doctor and download


def test_an_unknown_command_and_an_unknown_flag_are_one_sentence(monkeypatch, capsys):
    assert call(monkeypatch, capsys, main, "infolab")[0] == 0
    code, out, error = call(monkeypatch, capsys, main, "infolab", "nl")
    assert (code, out, error.count("\n")) == (2, "", 1)
    assert "nll" in error
    code, _, error = call(monkeypatch, capsys, main, "infolab", "nll", "--lernrate", "1")
    assert (code, error.count("\n")) == (2, 1)
    assert "infolab nll --help" in error


def test_the_old_names_print_the_same(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model_of_command.py").write_text("def eps(z, logsnr):\n    return 0 * z\n")
    np.save("x.npy", np.random.default_rng(0).standard_normal((60, 2)))
    words = ("--denoiser", "model_of_command:eps", "--data", "x.npy", "--points", "8", "--json")
    new = call(monkeypatch, capsys, main, "infolab", "nll", *words)
    old = call(monkeypatch, capsys, importlib.import_module("itdiffusion.nll").main, "itdiffusion.nll", *words)
    assert new[0] == 0
    assert json.loads(new[1]) == json.loads(old[1])
    assert all(callable(importlib.import_module(module).main) for module in OLD)
