"""The sinusoidal embedding against its formula."""

import math

import pytest
import torch

from infolab.errors import UserError
from infolab.nn.blocks import sinusoidal_embedding


@pytest.mark.parametrize("dim", [2, 8, 9, 128])
def test_equals_the_formula_entry_by_entry(dim):
    t = torch.tensor([0.0, 0.37, 5.0, 999.5], dtype=torch.float64)
    half = dim // 2
    rows = []
    for value in t.tolist():
        angles = [value / 10_000 ** (k / half) for k in range(half)]
        rows.append([math.cos(a) for a in angles] + [math.sin(a) for a in angles] + [0.0] * (dim % 2))
    torch.testing.assert_close(
        sinusoidal_embedding(t, dim), torch.tensor(rows, dtype=torch.float64), rtol=0, atol=1e-12
    )


def test_float32_and_whole_steps_are_close_to_float64():
    steps = torch.arange(0, 1000, 37)
    exact = sinusoidal_embedding(steps.double(), 64)
    # An angle near 1,000 has a spacing of 6e-5 in float32; product and frequency round once or twice each.
    for t in (steps, steps.float()):
        got = sinusoidal_embedding(t, 64)
        assert got.dtype == torch.float32
        torch.testing.assert_close(got.double(), exact, rtol=0, atol=3e-4)


def test_half_precision_times_are_embedded_in_float32():
    t = torch.tensor([1.0, 2.0, 256.0])
    torch.testing.assert_close(sinusoidal_embedding(t.bfloat16(), 16), sinusoidal_embedding(t, 16), rtol=0, atol=0)


def test_keeps_leading_dimensions_and_respects_the_period():
    t = torch.rand(2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    emb = sinusoidal_embedding(t, 6, max_period=8.0)
    assert emb.shape == (2, 3, 6)
    torch.testing.assert_close(emb[1, 2, 1], torch.cos(t[1, 2] / 2.0))  # 8^(-1/3) = 1/2


@pytest.mark.parametrize(("dim", "period"), [(1, 10.0), (4, 0.0)])
def test_refuses_sizes_without_a_frequency(dim, period):
    with pytest.raises(UserError, match="dim >= 2"):
        sinusoidal_embedding(torch.zeros(1), dim, period)
