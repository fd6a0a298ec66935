"""Files appear whole or not at all, whatever fails on the way."""

import errno
import os
from pathlib import Path

import pytest

from infolab import atomic


def full_disk(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_replaces_the_old_content_and_makes_folders(tmp_path):
    path = tmp_path / "a" / "b.txt"
    atomic.write_text(path, "old")
    atomic.write_text(path, "neu: σ")
    assert path.read_text(encoding="utf-8") == "neu: σ"
    assert [item.name for item in path.parent.iterdir()] == ["b.txt"]


def test_a_full_disk_leaves_the_old_file_whole_and_nothing_beside_it(tmp_path, monkeypatch):
    path = tmp_path / "x.bin"
    atomic.write_bytes(path, b"old")
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        atomic.write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert [item.name for item in tmp_path.iterdir()] == ["x.bin"]


def test_a_failed_rename_leaves_the_old_file_whole(tmp_path, monkeypatch):
    path = tmp_path / "x.bin"
    atomic.write_bytes(path, b"old")
    monkeypatch.setattr(Path, "replace", full_disk)
    with pytest.raises(OSError, match="No space"):
        atomic.write_bytes(path, b"new")
    assert [(item.name, item.read_bytes()) for item in tmp_path.iterdir()] == [("x.bin", b"old")]


def test_content_is_flushed_before_the_rename(tmp_path, monkeypatch):
    events = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (events.append("flush"), fsync(fd)))
    monkeypatch.setattr(Path, "replace", lambda self, to: (events.append("rename"), replace(self, to)))
    atomic.write_bytes(tmp_path / "x", b"1")
    assert events == ["flush", "rename", "flush"]  # the file, its new name, the folder that holds the name


def test_processes_write_different_temporary_files(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(Path, "replace", lambda self, to: seen.append(self.name))
    for pid in (11, 12):
        monkeypatch.setattr(os, "getpid", lambda pid=pid: pid)
        atomic.write_bytes(tmp_path / "x", b"1")
    assert len(set(seen)) == 2
