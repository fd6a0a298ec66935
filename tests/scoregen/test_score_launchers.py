"""The launchers of the score studies: clean shell, from any folder, the whole sweep."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER = REPOSITORY / "scoregen"
LAUNCHERS = sorted(path.name for path in FOLDER.glob("run_*.sh"))


def test_shell_is_clean():
    checker = Path(sys.executable).with_name("shellcheck")
    if not checker.exists():
        pytest.skip("shellcheck is not installed")
    files = sorted(map(str, FOLDER.glob("*.sh")))
    done = subprocess.run([checker, "-x", *files], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", LAUNCHERS)
def test_each_launcher_describes_its_sweep_from_any_folder(name, tmp_path):
    command = ["sh", str(FOLDER / name), "smoke", "--dry-run"]
    environment = {**os.environ, "PY": sys.executable}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert "to do" in done.stdout
    assert list(tmp_path.iterdir()) == []
