"""A user's arrays and functions are read, or refused in one sentence."""

import numpy as np
import pytest
import torch

from infolab.arrays import load_function, read_array
from infolab.errors import UserError


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [("uint8", torch.float32), ("float32", torch.float32), ("float64", torch.float64), ("int64", torch.float64)],
)
def test_numbers_are_read_with_their_shape(tmp_path, dtype, expected):
    np.save(tmp_path / "x.npy", np.arange(24).reshape(4, 3, 2).astype(dtype))
    found = read_array(tmp_path / "x.npy")
    assert found.dtype == expected
    assert torch.equal(found.long().flatten(), torch.arange(24))
    assert found.shape == (4, 3, 2)


def test_large_whole_numbers_stay_different(tmp_path):
    np.save(tmp_path / "x.npy", 2**30 + np.arange(50))
    assert len(read_array(tmp_path / "x.npy").unique()) == 50


def test_whole_numbers_that_float64_does_not_hold_are_kept_whole_or_refused(tmp_path):
    path = tmp_path / "x.npy"
    for array in (np.array([2**53, 2**53 + 1]), np.array([-(2**63), 5]), np.array([2**64 - 1, 1], dtype=np.uint64)):
        np.save(path, array)
        assert read_array(path, whole=True).numpy().tolist() == array.tolist()
        if array.min() > 0:
            with pytest.raises(UserError, match=r"beyond 2\^53"):
                read_array(path)
    np.save(path, np.array([2**60, -(2**63)]))  # float64 holds these
    assert read_array(path).tolist() == [2.0**60, -(2.0**63)]
    np.save(path, np.array([np.longdouble("1e400"), 1]))
    with pytest.raises(UserError, match="range of float64"):
        read_array(path)


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.array([1.0, np.nan]), "finite"),
        (np.array(["a", "b"]), "numbers"),
        (np.zeros((1, 2)), "at least 2"),
        (np.zeros((0, 2)), "shape"),
        (np.float64(3.0), "shape"),
    ],
)
def test_other_arrays_are_refused(tmp_path, array, said):
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(UserError, match=said):
        read_array(tmp_path / "x.npy")


def test_files_that_are_not_arrays_are_refused(tmp_path):
    (tmp_path / "x.npy").write_text("text")
    with pytest.raises(UserError, match="readable"):
        read_array(tmp_path / "x.npy")
    with pytest.raises(UserError, match="no file"):
        read_array(tmp_path / "y.npy")
    np.savez(tmp_path / "z.npz", a=np.zeros(3))
    with pytest.raises(UserError, match="several arrays"):
        read_array(tmp_path / "z.npz")


def test_functions_by_name():
    assert load_function("math:sqrt", "--f")(9) == 3
    assert load_function("os:path.basename", "--f")("a/b") == "b"
    for name, said in (("math", "module:function"), ("math:nothing", "imported"), ("math:pi", "not a function")):
        with pytest.raises(UserError, match=said):
            load_function(name, "--f")
