"""Files to write: never what is read, and refused before anything is computed."""

import pytest

from infolab.arrays import check_out
from infolab.errors import UserError


@pytest.fixture
def read(tmp_path):
    path = tmp_path / "X.npy"
    path.write_bytes(b"data")
    return path


def test_what_is_read_is_not_written(read, tmp_path, monkeypatch):
    (tmp_path / "link.npy").symlink_to(read)
    (tmp_path / "hard.npy").hardlink_to(read)
    monkeypatch.chdir(tmp_path)
    for given in (str(read), "X.npy", "./X.npy", "link.npy", "hard.npy"):
        with pytest.raises(UserError, match="is what is read"):
            check_out(given, "--store", "CURVES.npy", ["mnist", "", str(read)])
    (tmp_path / "images").mkdir()
    with pytest.raises(UserError, match="is what is read"):
        check_out("images/a.npy", "--store", "CURVES.npy", ["images"])


def test_other_names_pass(read, tmp_path):
    assert check_out(str(tmp_path / "Y.npy"), "--store", "CURVES.npy", [str(read)]) == tmp_path / "Y.npy"


def test_names_and_folders_that_cannot_be_written(tmp_path):
    (tmp_path / "a.csv").mkdir()
    for given, message in (
        ("", "--out is missing"),
        (str(tmp_path / "a.txt"), "ends in .csv or .csv.gz, as in --out SCORES.csv"),
        (str(tmp_path / "nowhere" / "a.csv"), "there is no folder"),
        (str(tmp_path / "a.csv"), "is a folder"),
    ):
        with pytest.raises(UserError, match=message):
            check_out(given, "--out", "SCORES.csv")
