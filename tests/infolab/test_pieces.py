"""Pieces of an evaluation: kept, found again, bound to what they are of, and stopped at once."""

import signal

import pytest
import torch
from torch import nn

from infolab.errors import InterruptedRunError
from infolab.signals import time_limit
from infolab.storage import Pieces, drop_pieces


def value(number):
    return lambda: {"value": torch.tensor(float(number))}


def never():
    raise AssertionError("computed again")


def test_a_piece_is_computed_once_and_the_fresh_one_is_the_kept_one(tmp_path):
    made = Pieces(tmp_path, "x")("matrix", lambda: {"m": torch.arange(6.0, requires_grad=True).view(2, 3).T})
    read = Pieces(tmp_path, "x")("matrix", never)
    assert made["m"].stride() == read["m"].stride() == (2, 1)
    assert not made["m"].requires_grad
    assert torch.equal(made["m"], read["m"])


def test_pieces_of_other_weights_are_made_again(tmp_path):
    network = nn.Linear(2, 2)
    assert float(Pieces(tmp_path, network)("sum", value(1))["value"]) == 1
    assert float(Pieces(tmp_path, network)("sum", never)["value"]) == 1
    with torch.no_grad():
        network.weight[0, 0] += 1e-6
    assert float(Pieces(tmp_path, network)("sum", value(2))["value"]) == 2


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b"", lambda b: b[:-1] + bytes([b[-1] ^ 1])])
def test_a_damaged_piece_is_made_again(tmp_path, damage):
    Pieces(tmp_path, "x")("sum", value(1))
    (path,) = (tmp_path / "pieces").iterdir()
    path.write_bytes(damage(path.read_bytes()))
    assert float(Pieces(tmp_path, "x")("sum", value(5))["value"]) == 5


def test_a_signal_ends_a_piece_at_once_and_earlier_ones_stay(tmp_path):
    def interrupted():
        signal.raise_signal(signal.SIGUSR1)
        raise AssertionError("went on")

    pieces = Pieces(tmp_path, "x")
    pieces("first", value(1))
    with pytest.raises(InterruptedRunError, match="SIGUSR1 in 'second' of an evaluation") as error:
        pieces("second", interrupted)
    assert error.value.signal == signal.SIGUSR1
    assert [path.stem for path in (tmp_path / "pieces").iterdir()] == ["first"]


def test_every_start_gets_one_piece_done_however_short_its_time(tmp_path):
    names = ["a", "b", "c"]
    for start in range(3):
        pieces = Pieces(tmp_path, "x")
        with time_limit(1e-9):
            for name in names[: start + 1]:
                pieces(name, value(1) if name == names[start] else never)
            if start < 2:
                with pytest.raises(InterruptedRunError, match="the time limit before"):
                    pieces(names[start + 1], never)


def test_dropped_pieces_are_gone(tmp_path):
    Pieces(tmp_path, "x")("a", value(1))
    drop_pieces(tmp_path)
    assert list(tmp_path.iterdir()) == []
    drop_pieces(tmp_path)
