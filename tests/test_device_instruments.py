"""Every instrument for data of one's own on another device than the CPU: the CPU's numbers, without float64 too."""

import contextlib
import functools
import importlib
import itertools
import json
import sys

import emulated_device
import numpy as np
import pytest
import torch
from device_runs import CPU, DEVICE, EMULATED, NAME, SINGLE

from infolab.metrics.networks import train_extractor
from infolab.mi import Settings, denoiser

WAYS = [DEVICE, pytest.param(SINGLE, marks=pytest.mark.skipif(not EMULATED, reason="only the emulated device does"))]
NOT_COMPARED = ("settings", "seconds")
MAINS = {"infodiffusion.metrics": "infolab.metrics.commands"}

TYPES = []
"""Device and type of what `two_modes` was called with."""


def two_modes(x, t):
    """The score of 0.5 N(-2, 1) + 0.5 N(2, 1), noised."""
    TYPES.append((x.device.type, x.dtype, t.device.type, t.dtype))
    alpha = torch.exp(-(0.1 * t + 19.9 * t * t / 2) / 2)[:, None]
    return -x + 2 * alpha * torch.tanh(2 * alpha * x)


@pytest.fixture(scope="module")
def arrays(tmp_path_factory):
    folder = tmp_path_factory.mktemp("arrays")
    rng = np.random.default_rng(0)
    x = rng.standard_normal((500, 2))  # the fewest pairs that networks are trained on
    y = 0.8 * x + 0.6 * rng.standard_normal(x.shape)
    made = {
        "x": x, "y": y, "y1": y[:, 0], "label": np.sign(x[:, 0]), "few": x[:80], "modes": np.array([-2.0, 2.0]),
        "weights": np.array([3.0, 1.0]),
        "images": rng.integers(0, 256, (24, 1, 28, 28), dtype=np.uint8),
        "others": rng.integers(0, 256, (24, 1, 28, 28), dtype=np.uint8),
    }  # fmt: skip
    for name, array in made.items():
        np.save(folder / f"{name}.npy", array)
    train_extractor(torch.from_numpy(made["images"]), None, "small", steps=1).save(folder / "small.safetensors")
    return folder


@pytest.fixture
def report(arrays, monkeypatch, capsys):
    """(command, how) -> the numbers of the JSON object it prints, by name."""

    def run(command, how):
        module, *words = command.split()
        module = MAINS.get(module, module)
        monkeypatch.chdir(arrays)
        for user in ("infolab.mi.command", "infolab.metrics.probes"):  # no command has a flag for these
            monkeypatch.setattr(
                importlib.import_module(user), "Settings", functools.partial(Settings, points=6, width=16, batch=64)
            )
        monkeypatch.setattr(sys, "argv", [module, *words, "--json", "--device", CPU if how == CPU else NAME])
        with emulated_device.without_float64() if how == SINGLE else contextlib.nullcontext():
            importlib.import_module(module).main()
        return dict(_numbers(json.loads(capsys.readouterr().out)))

    return run


@pytest.fixture(scope="module")
def known():
    """What `report` gives on the CPU, by the name of the command."""
    return {}


def _numbers(record, prefix=""):
    for name, item in record.items():
        if name not in NOT_COMPARED:
            if isinstance(item, dict):
                yield from _numbers(item, f"{prefix}{name}.")
            else:
                yield f"{prefix}{name}", item


COMMANDS = {
    "mi": "itdiffusion.mi --x x.npy --y y.npy --steps 25",
    "mi, one number": "itdiffusion.mi --x x.npy --y y1.npy --steps 25",
    "mi, orthogonal": "itdiffusion.mi --x x.npy --y y.npy --steps 5 --form orthogonal",
    "mi, label": "itdiffusion.mi --x x.npy --y label.npy --steps 25",
    "information": "infodiffusion.metrics information --codes y1.npy --inputs x.npy --steps 5",
    "fid": "infodiffusion.metrics fid --real images.npy --generated others.npy --features small.safetensors "
    "--force --force-features",
    "terms": "diffusion.terms --data few.npy --T 0.4 --draws 2",
    "terms, some examples": "diffusion.terms --data few.npy --T 0.4 --outer 30 --draws 2",
    "kl": "scoregen.kl --score test_device_instruments:two_modes --modes modes.npy --weights weights.npy --steps 20",
}
"""A name and a command that prints one JSON object."""


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("name", COMMANDS)
def test_an_instrument_gives_the_numbers_of_the_cpu(report, known, name, how):
    # The error of the quadrature is next to 0: what is left of it is rounding, of float32 without float64.
    rtol, atol = (1e-4 if EMULATED else 2e-2), (1e-4 if how == SINGLE else 1e-6)
    if name not in known:
        known[name] = report(COMMANDS[name], CPU)
    ours, theirs = report(COMMANDS[name], how), known[name]
    assert ours.keys() == theirs.keys()
    for key, value in theirs.items():
        assert ours[key] == (value if isinstance(value, str) else pytest.approx(value, rel=rtol, abs=atol)), key


@pytest.mark.parametrize("how", WAYS)
def test_a_score_is_called_with_the_best_tensors_the_device_has(report, how):
    TYPES.clear()
    report(COMMANDS["kl"], how)
    dtype = torch.float32 if how == SINGLE else torch.float64
    assert set(TYPES) == {(torch.device(NAME).type, dtype) * 2}


@pytest.mark.skipif(not EMULATED, reason="only the emulated device counts copies")
def test_a_step_of_the_mutual_information_copies_twice_and_does_not_wait(report, monkeypatch):
    steps, step = [], denoiser.Trainer.step
    with emulated_device.counted() as counts:

        def noted(self, loss):
            steps.append((len(counts.copies), len(counts.waits)))
            step(self, loss)

        monkeypatch.setattr(denoiser.Trainer, "step", noted)
        report("itdiffusion.mi --x x.npy --y y.npy --steps 100", DEVICE)
    between = [(b[0] - a[0], b[1] - a[1]) for a, b in itertools.pairwise(steps[50:])]
    assert sorted(between)[len(between) // 2] == (2, 0)


def test_minutes_are_turned_into_steps_on_the_device(report):
    found = report("itdiffusion.mi --x x.npy --y y1.npy --minutes 0.001", DEVICE)
    assert found["steps"] == 50
