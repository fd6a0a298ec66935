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
