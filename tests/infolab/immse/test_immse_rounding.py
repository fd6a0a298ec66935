"""Rounding to the bins of discrete data: the sum over the near bins and the table agree with all bins written out."""

import math
import subprocess
import sys

import pytest
import torch

import infolab.immse.curve as rounding
from infolab.errors import UserError
from infolab.immse import Bins
from infolab.noise import generator


def all_bins(bins, x, a):
    """The definition, with every bin for every value."""
    grid = bins.low + bins.step * torch.arange(bins.count, dtype=torch.float64)
    x = x.clamp(bins.low, bins.high).double()
    weights = torch.softmax(-((x[..., None] - grid) ** 2) * (1 + torch.exp(a)) / 2, -1)
    return (weights * grid).sum(-1)


@pytest.mark.parametrize("bins", [Bins.of_levels(2), Bins.of_levels(17), Bins.of_levels(256), Bins(0.0, 3.0, 5)])
def test_soft_rounding_is_the_softmax_over_all_bins(bins):
    x = bins.low + (bins.high - bins.low) * (1.2 * torch.rand(400, generator=generator(0), dtype=torch.float64) - 0.1)
    for a in torch.linspace(-8, 16, 25, dtype=torch.float64):
        found = bins.soft(x[None], a[None])[0]
        assert float((found - all_bins(bins, x, a)).abs().max()) < 1e-6 * bins.step


def test_soft_rounding_in_float32_and_of_rows_of_several_log_snrs():
    bins = Bins.of_levels(256)
    x = 2.2 * torch.rand(6, 1, 10, 10, generator=generator(1)) - 1.1
    a = torch.tensor([-4.0, 3.0, 9.0, 9.0, 10.0, 3.0])
    found = bins.soft(x, a)
    assert found.dtype == torch.float32
    expected = torch.stack([all_bins(bins, row, level.double()) for row, level in zip(x, a, strict=True)])
    # Half-way between two bins of 1/127.5 a float32 knows its place to 1e-5 of a step, times the slope of the step.
    assert float((found - expected).abs().max()) < 1e-4 * bins.step


def test_hard_rounding_and_clamping():
    bins = Bins(-1.0, 0.5, 5)
    x = torch.tensor([-3.0, -0.76, -0.74, 0.1, 0.9, 7.0])
    assert bins.hard(x).tolist() == [-1.0, -1.0, -0.5, 0.0, 1.0, 1.0]
    assert bins.clamp(x).tolist() == pytest.approx([-1.0, -0.76, -0.74, 0.1, 0.9, 1.0])


def test_grids_of_data():
    x = torch.tensor([[0.25, 1.0], [-0.5, 0.0]])
    assert Bins.of_data(x, 0.25) == Bins(-0.5, 0.25, 7)
    with pytest.raises(UserError, match="not on the grid"):
        Bins.of_data(x, 0.3)
    with pytest.raises(UserError, match="not on the grid"):
        Bins(0.0, 0.25, 5).check(x)
    with pytest.raises(UserError, match="step above 0"):
        Bins.of_data(x, -1.0)
    assert Bins.of_levels(256).high == pytest.approx(1.0)


@pytest.mark.parametrize("count", [1100, 5000])
def test_soft_rounding_of_many_bins_needs_no_table_of_all_of_them(count, monkeypatch):
    def refused(*_):
        raise AssertionError("a table of all bins")

    monkeypatch.setattr(rounding, "_table", refused)
    bins = Bins.of_levels(count)
    x = 2.2 * torch.rand(300, generator=generator(3), dtype=torch.float64) - 1.1
    for a in (-8.0, 0.0, 4.0, 8.0, 2 * math.log(count / 2) - 0.3, 20.0):
        level = torch.tensor([a], dtype=torch.float64)
        found = bins.soft(x[None], level)[0]
        # Hermite's rule on nodes an eighth of the kernel's width apart: h^4/384 of fourth derivatives of order one.
        assert float((found - all_bins(bins, x, level)).abs().max()) < 1e-6 * (1 + math.exp(a)) ** -0.5


def test_sixteen_bits_a_value_take_little_memory(tmp_path):
    """In a process of its own: 65,536 bins at the log-SNRs of a curve, where all nodes and bins were 273 GB."""
    program = (
        "import resource, torch\n"
        "from infolab.immse import Bins\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "x = torch.rand(1000) * 65535\n"
        "for a in (-30.0, -12.0, -3.0, -0.5):\n"
        "    Bins(0.0, 1.0, 65536).soft_at(x, a)\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 0.5  # GB
