"""Checkpoints: the same tensors back, damaged files set aside, a full disk survived."""

import errno
import os

import pytest
import torch

from infolab.storage import is_complete, load_latest, save_checkpoint


def tensors(seed=0):
    source = torch.Generator().manual_seed(seed)
    return {
        "model/weight": torch.randn(3, 2, generator=source),
        "model/double": torch.randn(2, generator=source, dtype=torch.float64),
        "model/half": torch.randn(2, generator=source).bfloat16(),
        "optimizer/0/step": torch.tensor(7.0),
        "model/mask": torch.tensor([True, False]),
        "model/none": torch.empty(0),
    }


def same(left, right):
    return left.keys() == right.keys() and all(
        left[name].dtype == right[name].dtype and torch.equal(left[name], right[name]) for name in left
    )


@pytest.mark.bits
def test_there_and_back_to_the_last_bit(tmp_path):
    state = {"rows": [{"value": 0.1 + 0.2, "name": "σ", "empty": None}], "seconds": 1.5, "complete": False}
    save_checkpoint(tmp_path, 12, tensors(), state)
    step, read, read_state, damaged = load_latest(tmp_path)
    assert (step, read_state, damaged) == (12, state, [])
    assert same(read, tensors())


def test_nothing_there_is_none(tmp_path):
    assert load_latest(tmp_path) is None
    assert load_latest(tmp_path / "missing") is None


def test_only_the_last_two_are_kept(tmp_path):
    for step in (5, 90, 100, 1000):
        save_checkpoint(tmp_path, step, tensors(step), {})
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "checkpoint-000000100.safetensors",
        "checkpoint-000001000.safetensors",
    ]
    assert load_latest(tmp_path)[0] == 1000


@pytest.mark.parametrize("keep_bytes", [0, 4, 100, -1])
def test_a_truncated_file_is_set_aside_and_the_one_before_it_is_used(tmp_path, keep_bytes):
    save_checkpoint(tmp_path, 1, tensors(1), {"n": 1})
    last = save_checkpoint(tmp_path, 2, tensors(2), {"n": 2})
    last.write_bytes(last.read_bytes()[:keep_bytes])
    step, read, state, damaged = load_latest(tmp_path)
    assert (step, state, damaged) == (1, {"n": 1}, [last.name])
    assert same(read, tensors(1))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "checkpoint-000000001.safetensors",
        "checkpoint-000000002.safetensors.corrupt",
    ]


def test_when_all_are_damaged_they_are_named_and_the_run_starts_over(tmp_path):
    path = save_checkpoint(tmp_path, 3, tensors(), {})
    path.write_bytes(b"not a checkpoint")
    assert load_latest(tmp_path) == (0, {}, {}, [path.name])


def test_every_flipped_bit_is_noticed_or_harmless(tmp_path):
    path = save_checkpoint(tmp_path, 10, {"w": torch.arange(6.0).view(2, 3)}, {"n": 1})
    whole = path.read_bytes()
    original = load_latest(tmp_path)
    unnoticed = []
    for place in range(len(whole)):
        for bit in range(8):
            broken = bytearray(whole)
            broken[place] ^= 1 << bit
            path.write_bytes(broken)
            step, read, state, damaged = load_latest(tmp_path)
            # The order of JSON's white space, say, may change without a change of content.
            if not damaged and not (step == 10 and state == original[2] and same(read, original[1])):
                unnoticed.append((place, bit))
    assert unnoticed == []


def test_a_full_disk_leaves_the_older_checkpoints_whole(tmp_path, monkeypatch):
    save_checkpoint(tmp_path, 1, tensors(1), {})
    save_checkpoint(tmp_path, 2, tensors(2), {})

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            save_checkpoint(tmp_path, 3, tensors(3), {})
    assert len(list(tmp_path.iterdir())) == 2
    step, read, _, damaged = load_latest(tmp_path)
    assert (step, damaged) == (2, [])
    assert same(read, tensors(2))


def test_a_checkpoint_runs_no_code(tmp_path):
    # A pickle in the place of a checkpoint is damaged, not loaded.
    torch.save({"w": torch.zeros(1)}, tmp_path / "checkpoint-000000001.safetensors")
    assert load_latest(tmp_path)[3] == ["checkpoint-000000001.safetensors"]


def test_is_complete_asks_the_newest_one(tmp_path):
    assert not is_complete(tmp_path)
    save_checkpoint(tmp_path, 1, tensors(), {"complete": True})
    assert is_complete(tmp_path)
    last = save_checkpoint(tmp_path, 2, tensors(), {"complete": False})
    assert not is_complete(tmp_path)
    last.write_bytes(b"damaged")
    assert not is_complete(tmp_path)
