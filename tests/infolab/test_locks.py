"""Locks on files: one holder at a time, given back with the process, and none where the file system has none."""

import builtins
import errno
import fcntl
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from infolab import atomic

REPOSITORY = Path(__file__).resolve().parents[2]
HOLD = (
    "import sys; from pathlib import Path; from infolab.atomic import locked\n"
    "with locked(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
)


@pytest.fixture(autouse=True)
def _unsaid(monkeypatch):
    monkeypatch.setattr(atomic, "_said", False)


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock of `a/lock`; it lets go when its input ends."""
    path = tmp_path / "a" / "lock"
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process, path
        process.kill()


def test_who_does_not_wait_is_told_and_gets_the_lock_when_the_holder_dies(holder, capsys):
    process, path = holder
    with pytest.raises(BlockingIOError), atomic.locked(path, wait=False):
        pytest.fail("two holders")
    process.kill()
    process.wait()
    with atomic.locked(path, wait=False):
        assert path.exists()
    assert capsys.readouterr().err == ""


def test_who_waits_gets_the_lock_when_it_is_given_back(holder):
    process, path = holder
    got = threading.Event()

    def wait():
        with atomic.locked(path):
            got.set()

    waiting = threading.Thread(target=wait)
    waiting.start()
    assert not got.wait(0.3)
    process.stdin.close()
    assert got.wait(30)
    waiting.join()


def test_a_lock_goes_with_its_block_even_by_an_error(tmp_path):
    with pytest.raises(KeyError), atomic.locked(tmp_path / "lock"):
        raise KeyError
    with atomic.locked(tmp_path / "lock", wait=False), atomic.locked(tmp_path / "other", wait=False):
        assert sorted(path.name for path in tmp_path.iterdir()) == ["lock", "other"]


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_said_once(tmp_path, monkeypatch, capsys, number):
    def unsupported(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", unsupported)
    done = []
    for wait in (True, False):
        with atomic.locked(tmp_path / "lock", wait=wait):
            done.append(wait)
    assert done == [True, False]
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"the file system of '{tmp_path / 'lock'}' has no file locks ({os.strerror(number)})" in said


def test_another_error_of_the_file_system_is_none_of_these(tmp_path, monkeypatch):
    def broken(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "flock", broken)
    with pytest.raises(OSError, match="Input/output error"), atomic.locked(tmp_path / "lock"):
        pytest.fail("no lock")


def test_a_system_without_locks_is_said_once(tmp_path, monkeypatch, capsys):
    def without_fcntl(name, *words):
        if name == "fcntl":
            raise ImportError(name)
        return imported(name, *words)

    imported = builtins.__import__
    monkeypatch.setattr(builtins, "__import__", without_fcntl)
    for _ in range(2):
        with atomic.locked(tmp_path / "lock"):
            pass
    assert capsys.readouterr().err.startswith("this system has no file locks: going on without")
