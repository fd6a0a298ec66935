"""Grid and golden section: the least value of known functions, several at a time."""

import math

import torch

from diffusion.choose_T import grid_then_golden

GRID = [0.2, 0.6, 1.0, 1.4, 2.0]


def test_minima_of_known_functions_side_by_side():
    centres = torch.tensor([0.31, 0.6, 1.237], dtype=torch.float64)
    asked = []

    def function(x):
        asked.append(x)
        return (x - centres).abs() ** 1.5

    best, scanned = grid_then_golden(function, 3, GRID, 1e-3)
    assert (best - centres).abs().max() <= 1e-3
    assert [x for x, _ in scanned] == GRID
    for x, values in scanned:
        torch.testing.assert_close(values, (x - centres).abs() ** 1.5)
    # The widest first interval, from 1 to 2, is 1 long, and every further call shortens it by the golden ratio.
    assert len(asked) == len(GRID) + 2 + math.ceil(math.log(1 / 1e-3) / math.log((1 + math.sqrt(5)) / 2)) - 1


def test_a_minimum_at_the_edge_and_an_unsorted_grid():
    best, _ = grid_then_golden(lambda x: torch.stack([x[0], -x[1]]), 2, [2.0, 0.2, 1.0], 1e-2)
    assert best.tolist() == [0.2, 2.0]


def test_what_was_seen_on_the_grid_is_never_lost():
    def spike(x):  # a hole at a grid point that golden section, between its neighbours, cannot see
        return torch.where((x - 1.0).abs() < 1e-9, -1.0, (x - 1.3) ** 2)

    best, _ = grid_then_golden(spike, 1, GRID, 1e-3)
    assert best.tolist() == [1.0]
