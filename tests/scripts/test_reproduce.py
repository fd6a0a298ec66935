import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LISTS = sorted(ROOT.glob("*/quick.list"))


@pytest.mark.parametrize("names", LISTS, ids=lambda path: path.parent.name)
def test_reproduce_runs_launchers_that_exist(names):
    wanted = names.read_text().split()
    assert wanted
    assert all((names.parent / name).is_file() for name in wanted)


def test_there_is_something_to_reproduce():
    assert LISTS


@pytest.mark.parametrize(("name", "said"), [("PRESET", "smoke, quick, paper"), ("PAPER", "diffusion")])
def test_an_unknown_name_is_said_once_before_anything_runs(name, said, tmp_path):
    environment = {
        **os.environ,
        "PAPER": "scoregen",
        "RESULTS": str(tmp_path),
        "PY": "false",
        "MAKE": "false",
        name: "no",
    }
    done = subprocess.run(["sh", ROOT / "scripts/reproduce.sh"], capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: unknown {name} 'no': choose one of")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
