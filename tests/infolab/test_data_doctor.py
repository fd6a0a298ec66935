"""The data doctor's table, and the commands of `python -m infolab.data`."""

import sys

import pytest
from data_files import cifar_batches, idx_bytes, write_cifar_archive, write_idx

from infolab.data import NAMES, places
from infolab.data.__main__ import examine, main, table
from infolab.errors import run_main


@pytest.fixture(autouse=True)
def _no_system_folders(monkeypatch):
    monkeypatch.setattr("infolab.data.idx.SYSTEM", {"mnist": (), "fashion-mnist": ()})


def test_finds_own_missing_and_damaged_files(tmp_path):
    write_idx(tmp_path / "MNIST/raw", zipped=True)
    write_cifar_archive(tmp_path / "cifar-10-python.tar.gz", cifar_batches())
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(b"damaged")
    findings = {finding.name: finding for finding in examine(tmp_path)}
    assert findings["digits"].status == "built in"
    assert findings["mnist"].status == "found"
    assert findings["mnist"].where == str(tmp_path / "MNIST/raw")
    assert "not the published files" in findings["mnist"].checksum
    assert findings["fashion-mnist"].status == "missing"
    assert "dataset-fashion-mnist" in findings["fashion-mnist"].remedy
    assert findings["cifar10"].status == "damaged"
    text = table(list(findings.values()))
    assert "cifar10: " in text.splitlines()[-1]
    assert all(any(line.startswith(name) for line in text.splitlines()) for name in NAMES)


def test_published_contents_are_called_official(tmp_path, monkeypatch):
    arrays = write_idx(tmp_path, zipped=True)
    sums = {path.name.removesuffix(".gz"): "" for path in tmp_path.iterdir()}
    assert sums.keys() == arrays.keys()
    contents = {stem: places.md5(idx_bytes(array)) for stem, array in arrays.items()}
    monkeypatch.setattr("infolab.data.places.IDX_CONTENTS", {"mnist": contents, "fashion-mnist": sums})
    findings = {finding.name: finding for finding in examine(tmp_path)}
    assert findings["mnist"].checksum == "official contents"
    archived = {path.name: places.file_md5(path) for path in tmp_path.iterdir()}
    monkeypatch.setattr("infolab.data.__main__.archives", lambda _: archived)
    findings = {finding.name: finding for finding in examine(tmp_path)}
    assert findings["mnist"].checksum == "official archives"
    assert findings["fashion-mnist"].status == "missing"  # these are mnist's


def test_toy_distributions_are_listed(tmp_path):
    from infolab.toy import TOYS

    assert set(TOYS) <= {finding.name for finding in examine(tmp_path)}


def test_checksums_are_torchvisions():
    assert places.archives("mnist").keys() == {f"{stem}.gz" for stem in places.IDX_CONTENTS["mnist"]}
    assert places.archives("fashion-mnist")["train-images-idx3-ubyte.gz"] == "8d4fb7e6c68d591d4c3dfef9ec88bf0d"
    assert places.archives("cifar10") == {"cifar-10-python.tar.gz": "c58f30108f718f92721af3b95e74349a"}
    assert set(places.cifar10_batches()) == {*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"}


def command(monkeypatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["infolab.data", *arguments])
    try:
        run_main(main)
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def test_commands_end_with_the_documented_codes(tmp_path, monkeypatch, capsys):
    assert command(monkeypatch, "doctor", "--data-dir", str(tmp_path)) == 0
    assert capsys.readouterr().out.split()[:2] == ["name", "status"]
    assert command(monkeypatch, "download", "imagenet", "--data-dir", str(tmp_path)) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_help_lists_the_sets(monkeypatch, capsys):
    assert command(monkeypatch, "--help") == 0
    listing = capsys.readouterr().out
    assert all(name in listing for name in NAMES)
