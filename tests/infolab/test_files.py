"""What `infolab.files` says of files, and of names to write."""

import struct

import numpy as np
import pytest

from infolab.errors import InterruptedRunError, UserError
from infolab.files import load_npy, load_npz, reading


def test_one_sentence_whatever_is_raised(tmp_path):
    for error, said in (
        (ValueError("a\n  b"), r"\(ValueError: a b\): copy it"),
        (KeyError("mu"), r"\(KeyError: 'mu'\)"),
        (RecursionError(), r"\(RecursionError\)"),
        (struct.error("x" * 500), r"\(error: x{200}\.\.\.\)"),
        (MemoryError(), "more memory than there is"),
        (FileNotFoundError(), "there is no file"),
        (IsADirectoryError(), "is a folder"),
        (PermissionError(), "permissions"),
    ):
        with pytest.raises(UserError, match=said) as refusal, reading(tmp_path / "f", "a whole file", "copy it"):
            raise error
        assert str(tmp_path / "f") in str(refusal.value)
        assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("error", [InterruptedRunError("stopped"), UserError("a better sentence"), KeyboardInterrupt()])
def test_what_is_no_fault_of_the_file_goes_on(tmp_path, error):
    with pytest.raises(type(error)) as raised, reading(tmp_path, "a whole file", "copy it"):
        raise error
    assert raised.value is error


@pytest.mark.parametrize(
    "array", [np.arange(6.0).reshape(2, 3).T, np.float64(3), np.zeros((0, 2)), np.array(["ab", "c"])]
)
def test_arrays_come_back_as_they_were(tmp_path, array):
    np.save(tmp_path / "x.npy", array)
    np.savez_compressed(tmp_path / "x.npz", a=array, b=array)
    for found in (load_npy(tmp_path / "x.npy"), load_npz(tmp_path / "x.npz", ("a",), ("b", "c"))["b"]):
        assert (found.dtype, found.shape, found.tolist()) == (array.dtype, array.shape, array.tolist())
    with pytest.raises(UserError, match="it has no array 'c'"):
        load_npz(tmp_path / "x.npz", ("a", "c"))


def test_a_member_that_the_list_of_an_archive_lost_is_missed(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, a=np.zeros(3), b=np.ones(3))
    content = path.read_bytes()
    entry = content.index(b"PK\x01\x02")
    rest = len(content) - 22 - (entry + 46 + len("a.npy"))  # the comment of the first member swallows the second
    path.write_bytes(content[: entry + 32] + struct.pack("<H", rest) + content[entry + 34 :])
    with pytest.raises(UserError, match="lists 1 members and says that they are 2"):
        load_npz(path, ("a",), ("b",))
