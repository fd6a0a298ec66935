"""Launchers run in this process, on the CPU or on another device, with what each training step cost that device.

The other device is the emulated one, or what the environment's TEST_DEVICE names (`make test-gpu`: cuda).
"""

import contextlib
import importlib
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import MagicMock

import emulated_device
import numpy as np
import pandas as pd
import pytest

import infolab.training

CPU, DEVICE, SINGLE = "cpu", "device", "device, no float64"
NAME = os.environ.get("TEST_DEVICE", emulated_device.NAME)
EMULATED = emulated_device.NAME == NAME
NOT_COMPARED = ("seconds",)


@dataclass
class Done:
    """A command's results, what it said, and the copies and waits of each of its training steps."""

    folder: Path
    said: str = ""
    steps: list[emulated_device.Counts] = field(default_factory=list)

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        found = sorted((self.folder / "results").rglob("*.csv"))
        return {str(path.relative_to(self.folder)): pd.read_csv(path) for path in found}

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        found = {}
        for path in sorted(self.folder.rglob("*.np[yz]")):
            loaded = np.load(path, allow_pickle=False)
            name = str(path.relative_to(self.folder))
            found |= {name: loaded} if path.suffix == ".npy" else {f"{name}:{key}": loaded[key] for key in loaded.files}
        return {name: item for name, item in found.items() if item.dtype.kind in "fiu"}


def run(folder: Path, commands: list[str], how: str, expected: int = 0) -> Done:
    """Run `module words...` for each of the commands, with results and runs in `folder`."""
    done = Done(folder)
    one_step = infolab.training._one_step

    def counted_step(*args):
        with emulated_device.counted() as counts:
            loss = one_step(*args)
        done.steps.append(counts)
        return loss

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(infolab.training, "_Board", MagicMock())
        patch.setattr(infolab.training, "_one_step", counted_step)
        for command in commands:
            module, *words = command.split()
            places = ["--runs-dir", f"{folder}/runs", "--results-dir", f"{folder}/results", "--threads", "1"]
            device = CPU if how == CPU else NAME
            patch.setattr(sys, "argv", [module, *words, "--device", device, *places])
            single = emulated_device.without_float64() if how == SINGLE else contextlib.nullcontext()
            with single:
                assert _exit_code(importlib.import_module(module).main) == expected, command
    return done


def _exit_code(main) -> int:
    try:
        main()
    except SystemExit as stop:
        return stop.code
    return 0


def assert_same_results(found: Done, expected: Done, rtol: float) -> None:
    """Tables to `rtol` (of an error: of the value it belongs to), arrays too, pictures to one grey level."""
    ours, theirs = found.tables, expected.tables
    assert ours
    assert ours.keys() == theirs.keys()
    for name, table in theirs.items():
        assert list(ours[name].columns) == list(table.columns), name
        for column in table.columns.difference(NOT_COMPARED):
            if table[column].dtype.kind in "f":
                np.testing.assert_allclose(
                    ours[name][column], table[column], rtol=rtol, atol=1e-3 * rtol, err_msg=f"{name}, {column}"
                )
            else:
                assert ours[name][column].equals(table[column]), f"{name}, {column}"
    ours, theirs = found.arrays, expected.arrays
    assert ours.keys() == theirs.keys()
    for name, array in theirs.items():
        if array.dtype.kind == "f":
            np.testing.assert_allclose(ours[name], array, rtol=10 * rtol, atol=10 * rtol, err_msg=name)
        else:
            apart = np.abs(ours[name].astype(np.int64) - array.astype(np.int64))
            assert apart.max(initial=0) <= 1, name
